"""What a machine has, as far as this process may use it: cgroup limits of either version count."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubelet.node import machine

MEMINFO = "MemTotal: 8388608 kB\nMemFree: 1048576 kB\nInactive(file): 3145728 kB\nHugePages_Total: 0\n"
V2 = "30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
GIB = 1 << 30


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path, "proc/meminfo", MEMINFO)
    write(tmp_path, "proc/loadavg", "0.1 0.1 0.1 1/900 4711")
    write(tmp_path, "proc/sys/kernel/pid_max", "1000")
    write(tmp_path, "proc/sys/kernel/random/boot_id", "boot-1\n")
    write(tmp_path, "etc/machine-id", "machine-1\n")
    write(tmp_path, "etc/os-release", 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n')
    write(tmp_path, "sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "16\n")
    write(tmp_path, "sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_without_limits_the_machine_is_ours(root: Path) -> None:
    found = machine.inspect(root)
    assert found.memory_bytes == 8 * GIB
    assert found.cpu_milli == 1000 * len(os.sched_getaffinity(0))
    assert found.hugepages == {"hugepages-1Gi": 0, "hugepages-2Mi": 32 << 20}
    assert (found.boot_id, found.machine_id, found.system_uuid) == ("boot-1", "machine-1", "machine-1")
    assert found.os_image == "Debian GNU/Linux 12 (bookworm)"


def test_the_limits_of_our_cgroups_and_of_those_above_count(root: Path) -> None:
    write(root, "proc/self/mountinfo", V2)
    write(root, "proc/self/cgroup", "0::/slice/ours\n")
    write(root, "sys/fs/cgroup/slice/memory.max", f"{2 * GIB}\n")
    write(root, "sys/fs/cgroup/slice/memory.current", f"{GIB}\n")
    write(root, "sys/fs/cgroup/slice/memory.stat", f"anon 5\ninactive_file {GIB // 4}\n")
    write(root, "sys/fs/cgroup/slice/cpu.max", "max 100000\n")
    write(root, "sys/fs/cgroup/slice/ours/memory.max", "max\n")
    write(root, "sys/fs/cgroup/slice/ours/cpu.max", "50000 100000\n")
    found = machine.inspect(root)
    assert (found.cpu_milli, found.memory_bytes) == (500, 2 * GIB)
    assert machine.usage(root, root, root).memory_available_bytes == 2 * GIB - (GIB - GIB // 4)


def test_cgroups_of_the_first_version_count_too(root: Path) -> None:
    write(root, "proc/self/mountinfo", V1)
    write(root, "proc/self/cgroup", "4:memory:/ours\n2:cpu,cpuacct:/ours\n0::/\n")
    write(root, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
    write(root, "sys/fs/cgroup/memory/memory.usage_in_bytes", f"{4 * GIB}\n")
    write(root, "sys/fs/cgroup/memory/ours/memory.limit_in_bytes", f"{GIB}\n")
    write(root, "sys/fs/cgroup/memory/ours/memory.usage_in_bytes", f"{GIB // 2}\n")
    write(root, "sys/fs/cgroup/memory/ours/memory.stat", "total_inactive_file 0\n")
    write(root, "sys/fs/cgroup/cpu,cpuacct/ours/cpu.cfs_quota_us", "150000\n")
    write(root, "sys/fs/cgroup/cpu,cpuacct/ours/cpu.cfs_period_us", "100000\n")
    write(root, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    found = machine.inspect(root)
    assert found.cpu_milli == min(1500, 1000 * len(os.sched_getaffinity(0)))
    assert found.memory_bytes == GIB
    assert machine.usage(root, root, root).memory_available_bytes == GIB // 2


def test_a_container_that_sees_only_the_end_of_its_cgroups_path_finds_its_limits(root: Path) -> None:
    write(root, "proc/self/mountinfo", "30 1 0:26 /docker/ab /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    write(root, "proc/self/cgroup", "0::/docker/ab\n")
    write(root, "sys/fs/cgroup/memory.max", f"{GIB}\n")
    assert machine.inspect(root).memory_bytes == GIB


def test_what_is_free_is_seen(root: Path) -> None:
    found = machine.usage(root, root, root)
    assert found.memory_available_bytes == 4 * GIB
    assert found.pids_available == 100
    assert 0 < found.node_disk.bytes_available <= found.node_disk.bytes
