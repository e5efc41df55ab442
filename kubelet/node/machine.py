"""What the machine has and what of it is free, as far as this process may use it.

In a container the machine's figures are not ours: the limits of the cgroups that this process is in count too.
Sources: proc(5), proc_meminfo(5), cgroups(7), sysfs(5), os-release(5), machine-id(5).
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
_HUGEPAGE_FOLDER = re.compile(r"hugepages-(\d+)kB")
_KIB = 1024
_HUGEPAGE_UNITS = ((1 << 20, "Gi"), (1 << 10, "Mi"), (1, "Ki"))


@dataclass(frozen=True, slots=True)
class Machine:
    """What stays the same while this process runs. `hugepages` are bytes by resource name."""

    cpu_milli: int
    memory_bytes: int
    hugepages: Mapping[str, int]
    architecture: str
    kernel_version: str
    os_image: str
    machine_id: str
    system_uuid: str
    boot_id: str


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system: bytes and inodes, all of them and those that are free."""

    bytes: int
    bytes_available: int
    inodes: int
    inodes_free: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What is free now. `node_disk` holds pods' volumes and logs, `image_disk` the images."""

    memory_available_bytes: int
    node_disk: Disk
    image_disk: Disk
    pids_max: int
    pids_available: int


def inspect(root: Path = Path("/")) -> Machine:
    """Look at the machine; `root` is where /proc, /sys and /etc are found."""
    memory = _meminfo(root)["MemTotal"]
    return Machine(
        cpu_milli=min([1000 * len(os.sched_getaffinity(0)), *_cpu_quotas(root)]),
        memory_bytes=min([memory, *(limit for limit, _ in _memory_limits(root))]),
        hugepages=_hugepages(root),
        architecture=_ARCHITECTURES.get(platform.machine(), platform.machine()),
        kernel_version=platform.release(),
        os_image=_os_image(root),
        machine_id=_first(root, "etc/machine-id", "var/lib/dbus/machine-id"),
        system_uuid=_first(root, "sys/class/dmi/id/product_uuid", "etc/machine-id"),
        boot_id=_text(root / "proc/sys/kernel/random/boot_id"),
    )


def usage(node_dir: Path, image_dir: Path, root: Path = Path("/")) -> Usage:
    """Look at what is free now."""
    meminfo = _meminfo(root)
    # As Kubernetes counts: what is free, and pages of files that nobody has read twice, which go at once.
    available = meminfo["MemFree"] + meminfo.get("Inactive(file)", 0)
    processes = _text(root / "proc/loadavg").split()
    running = int(processes[3].partition("/")[2]) if len(processes) > 3 else 0
    possible = pids_max(root)
    return Usage(
        memory_available_bytes=max(0, min([available, *(limit - used for limit, used in _memory_limits(root))])),
        node_disk=_disk(node_dir),
        image_disk=_disk(image_dir),
        pids_max=possible,
        pids_available=max(0, possible - running),
    )


def pids_max(root: Path = Path("/")) -> int:
    """How many processes and threads the machine can have."""
    limits = (_text(root / "proc/sys/kernel" / name) for name in ("pid_max", "threads-max"))
    return min((int(limit) for limit in limits if limit), default=32768)


def _disk(folder: Path) -> Disk:
    found = os.statvfs(folder)
    return Disk(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize, found.f_files, found.f_favail)


def _meminfo(root: Path) -> dict[str, int]:
    """/proc/meminfo, its sizes in bytes."""
    found = {}
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        amount = value.split()
        if amount:
            found[name] = int(amount[0]) * (_KIB if len(amount) > 1 else 1)
    return found


def _cpu_quotas(root: Path) -> Iterator[int]:
    """The CPU bandwidth limits of our cgroups, in thousandths of a CPU."""
    for folder in _own_cgroups(root, "cpu"):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if not quota:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            yield int(quota) * 1000 // int(period)


def _memory_limits(root: Path) -> Iterator[tuple[int, int]]:
    """(limit, use) of each of our cgroups that has a limit; what the page cache could give back is no use."""
    for folder in _memory_groups(root):
        limit, used = _text(folder / "memory.max"), _text(folder / "memory.current")
        reclaimable = "inactive_file"
        if not limit:
            limit, used = _text(folder / "memory.limit_in_bytes"), _text(folder / "memory.usage_in_bytes")
            reclaimable = "total_inactive_file"
        if limit.isdigit():
            stat = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
            yield int(limit), max(0, int(used or 0) - int(stat.get(reclaimable, 0)))


@cache
def _memory_groups(root: Path) -> tuple[Path, ...]:
    """The same while this process runs; to find them takes the list of all mounts, of which pods make many."""
    return tuple(_own_cgroups(root, "memory"))


def _own_cgroups(root: Path, controller: str) -> Iterator[Path]:
    """The cgroups that hold this process, from its own up to the top one that can be seen."""
    memberships: dict[str, str] = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        memberships.update(dict.fromkeys(controllers.split(","), path))
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind not in ("cgroup", "cgroup2"):
            continue
        wanted = "" if kind == "cgroup2" else controller
        if wanted not in ("", *options.split()[-1].split(",")) or wanted not in memberships:
            continue
        path = memberships[wanted]
        mount_root, mount_point = before.split()[3:5]
        # Without a cgroup namespace of its own a container sees the whole path, but only its end is mounted.
        inside = path.removeprefix(mount_root) if mount_root != "/" else path
        top = root / mount_point.lstrip("/")
        here = top / inside.strip("/")
        for folder in (here, *here.parents):
            if folder.is_dir():
                yield folder
            if folder == top:
                break


def _hugepages(root: Path) -> dict[str, int]:
    found = {}
    base = root / "sys/kernel/mm/hugepages"
    for folder in sorted(base.iterdir()) if base.is_dir() else ():
        if match := _HUGEPAGE_FOLDER.fullmatch(folder.name):
            size_kib = int(match[1])
            factor, unit = next((f, u) for f, u in _HUGEPAGE_UNITS if size_kib % f == 0)
            count = int(_text(folder / "nr_hugepages") or 0)
            found[f"hugepages-{size_kib // factor}{unit}"] = count * size_kib * _KIB
    return found


def _os_image(root: Path) -> str:
    for name in ("etc/os-release", "usr/lib/os-release"):
        for line in _text(root / name).splitlines():
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME":
                return value.strip("\"'")
    return "Linux"


def _first(root: Path, *names: str) -> str:
    return next((text for name in names if (text := _text(root / name))), "")


def _text(path: Path) -> str:
    """What a small file says, "" where there is none or it may not be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
