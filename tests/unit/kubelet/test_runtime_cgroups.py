"""Which cgroups are made and what is written to them, on machines with cgroup v1, v2 and both."""

import struct
from pathlib import Path
from typing import Any

import pytest

from kubelet.runtime import cgroupfs, cgroups, devices

V2 = "25 30 0:23 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:3 master:1 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "34 31 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "35 31 0:32 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n"
    "36 31 0:33 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n"
)
HYBRID = V1 + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
MIB = 1 << 20


def writes(mountinfo: str, resources: dict[str, Any], *, is_container: bool = False) -> dict[str, str]:
    """What is written, by path below /sys/fs/cgroup and less the group's own name."""
    group = cgroups.group(cgroups.discover(mountinfo), "w/pod", resources, is_container=is_container)
    pairs = [*group["writes"], *group["optional"]]
    return {path.removeprefix("/sys/fs/cgroup/").replace("w/pod/", ""): value for path, value in pairs}


def test_a_machine_with_cgroup_v2_has_one_hierarchy() -> None:
    found = cgroups.discover(V2)
    assert (found.version, found.unified) == (2, "/sys/fs/cgroup")
    assert found.directories("w/pod") == ["/sys/fs/cgroup/w/pod"]


def test_a_machine_with_cgroup_v1_has_a_group_in_each_controllers_hierarchy_once() -> None:
    found = cgroups.discover(V1)
    assert found.version == 1
    assert found.directories("w/pod") == [
        "/sys/fs/cgroup/cpu,cpuacct/w/pod",
        "/sys/fs/cgroup/memory/w/pod",
        "/sys/fs/cgroup/pids/w/pod",
        "/sys/fs/cgroup/devices/w/pod",
    ]


def test_a_unified_hierarchy_beside_v1_serves_for_finding_and_killing_processes() -> None:
    group = cgroups.group(cgroups.discover(HYBRID), "w/pod", {}, is_container=True)
    assert group["unified"] == group["processes"] == "/sys/fs/cgroup/unified/w/pod"
    assert group["unified"] not in group["join"]
    assert group["memory"] == "/sys/fs/cgroup/memory/w/pod"


def test_a_machine_without_cgroups_is_told_so() -> None:
    with pytest.raises(OSError, match="no cgroup hierarchy"):
        cgroups.discover("22 27 0:21 / /proc rw - proc proc rw\n")


def test_limits_on_v1() -> None:
    resources = {
        "memory": {"limit": 64 * MIB, "swap": 64 * MIB, "reservation": 32 * MIB},
        "cpu": {"shares": 512, "quota": 50_000, "period": 100_000},
        "pids": {"limit": 100},
    }
    assert writes(HYBRID, resources) == {
        "memory/memory.limit_in_bytes": str(64 * MIB),
        "memory/memory.memsw.limit_in_bytes": str(64 * MIB),
        "memory/memory.soft_limit_in_bytes": str(32 * MIB),
        "cpu,cpuacct/cpu.shares": "512",
        "cpu,cpuacct/cpu.cfs_period_us": "100000",
        "cpu,cpuacct/cpu.cfs_quota_us": "50000",
        "pids/pids.max": "100",
    }


def test_limits_on_v2() -> None:
    resources = {
        "memory": {"limit": 64 * MIB, "swap": 96 * MIB, "reservation": 32 * MIB},
        "cpu": {"shares": 1024, "quota": 50_000, "period": 100_000, "cpus": "0-1"},
        "pids": {"limit": -1},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MIB}],
        "unified": {"memory.high": "1000"},
    }
    assert writes(V2, resources, is_container=True) == {
        "memory.max": str(64 * MIB),
        "memory.swap.max": str(32 * MIB),
        "memory.low": str(32 * MIB),
        "cpu.weight": "100",
        "cpu.max": "50000 100000",
        "cpuset.cpus": "0-1",
        "pids.max": "max",
        "hugetlb.2MB.max": str(4 * MIB),
        "memory.high": "1000",
        "memory.oom.group": "1",
    }


def test_no_limit_on_v2_is_spelled_max() -> None:
    assert writes(V2, {"memory": {"limit": -1, "swap": -1}, "cpu": {"quota": -1}}) == {
        "memory.max": "max",
        "memory.swap.max": "max",
        "cpu.max": "max 100000",
    }


def test_groups_on_the_way_down_hand_their_controllers_on(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids rdma\n")
    found = cgroups.Hierarchies(version=2, unified=str(tmp_path))
    control = [
        path.removeprefix(f"{tmp_path}/").removesuffix("cgroup.subtree_control").rstrip("/")
        for path, value in cgroups.group(found, "w/pod/c", {}, is_container=True)["writes"]
        if value == "+cpuset +cpu +io +memory +pids"
    ]
    assert control == ["", "w", "w/pod"]


@pytest.mark.parametrize(("shares", "weight"), [(0, 1), (2, 1), (1024, 100), (262144, 10000), (1 << 30, 10000)])
def test_cpu_shares_become_weights_with_the_normal_one_in_its_place(shares: int, weight: int) -> None:
    assert cgroups.weight_of_shares(shares) == weight


def test_more_shares_never_weigh_less() -> None:
    weights = [cgroups.weight_of_shares(shares) for shares in range(2, 5000)]
    assert weights == sorted(weights)


def test_a_file_name_of_the_unified_map_can_not_lead_elsewhere() -> None:
    with pytest.raises(OSError, match="no file name"):
        writes(V2, {"unified": {"memory.max/../../x": "1"}})


def test_a_limit_that_this_machine_has_no_controller_for_is_refused() -> None:
    with pytest.raises(OSError, match="no pids cgroup controller"):
        writes("".join(line for line in V1.splitlines(True) if "pids" not in line), {"pids": {"limit": 1}})


def test_huge_pages_are_limited_where_there_is_a_controller_for_them() -> None:
    asked = {"hugepageLimits": [{"pageSize": "2MB", "limit": 1 << 21}]}
    assert writes(V1, asked) == {}
    assert writes(V2, asked)["hugetlb.2MB.max"] == str(1 << 21)


def test_a_container_gets_no_swap_and_only_the_huge_pages_that_it_names() -> None:
    machine = cgroups.Hierarchies(version=2, unified="/c", page_sizes=("2MB", "1GB"))
    asked = {"hugepageLimits": [{"pageSize": "2MB", "limit": 1 << 21}]}
    found = dict(cgroups.group(machine, "pod/web", asked, is_container=True)["optional"])
    assert found == {
        "/c/pod/web/hugetlb.2MB.max": str(1 << 21),
        "/c/pod/web/hugetlb.1GB.max": "0",
        "/c/pod/web/memory.swap.max": "0",
        "/c/pod/web/memory.oom.group": "1",
    }


@pytest.mark.parametrize(
    ("mountinfo", "files", "expected"),
    [
        (
            V1,
            {
                "cpu,cpuacct/p/cpu.shares": "512",
                "cpu,cpuacct/p/cpu.cfs_quota_us": "20000",
                "cpu,cpuacct/p/cpu.cfs_period_us": "100000",
                "memory/p/memory.limit_in_bytes": "9223372036854771712",
                "memory/p/memory.usage_in_bytes": "4096",
            },
            cgroups.Limits(shares=512, quota=20_000, memory_used=4096),
        ),
        (
            V2,
            {"p/cpu.weight": "59", "p/cpu.max": "max 100000", "p/memory.max": "1048576", "p/memory.current": "4096"},
            cgroups.Limits(weight=59, memory=MIB, memory_used=4096),
        ),
    ],
)
def test_what_a_group_is_held_to_can_be_read_back(
    mountinfo: str, files: dict[str, str], expected: cgroups.Limits
) -> None:
    found = cgroups.read_limits(
        cgroups.discover(mountinfo), "p", lambda path: files.get(path.removeprefix("/sys/fs/cgroup/"), "")
    )
    assert found == expected


def test_container_sees_the_hierarchies_that_hold_it() -> None:
    shown = cgroups.mounts_for_container(cgroups.discover(HYBRID))
    assert [entry["name"] for entry in shown] == ["cpu,cpuacct", "memory", "pids", "devices", "unified"]
    assert cgroups.mounts_for_container(cgroups.discover(V2))[0]["type"] == "cgroup2"


def test_all_devices_are_denied_before_the_usual_ones_are_allowed() -> None:
    lines = devices.v1_writes(devices.rules({}))
    assert lines[0] == ("devices.deny", "a")
    assert ("devices.allow", "c 1:3 rwm") in lines
    assert ("devices.allow", "c 136:* rwm") in lines


def test_a_privileged_container_may_use_every_device() -> None:
    assert devices.v1_writes(devices.rules({"devices": [{"allow": True, "access": "rwm"}]})) == []


def decide(program: bytes, kind: str, access: str, major: int, minor: int) -> bool:
    """Run a device program in a small eBPF machine."""
    bits = sum({"m": 1, "r": 2, "w": 4}[letter] for letter in access)
    context = struct.pack("=III", bits << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers = [0] * 11
    instructions = [
        (code, where & 15, where >> 4, offset, value)
        for code, where, offset, value in struct.iter_unpack("=BBhi", program)
    ]
    position = 0
    while True:
        code, target, source, offset, value = instructions[position]
        position += 1
        if code == 0x61:
            assert source == 1, "the context is in r1"
            registers[target] = struct.unpack_from("=I", context, offset)[0]
        elif code == 0x54:
            registers[target] &= value & 0xFFFFFFFF
        elif code == 0x74:
            registers[target] >>= value
        elif code == 0xB4:
            registers[target] = value
        elif code == 0xBC:
            registers[target] = registers[source]
        elif code == 0x55:
            position += offset if registers[target] != value else 0
        elif code == 0x15:
            position += offset if registers[target] == value else 0
        elif code == 0x95:
            return bool(registers[0])
        else:
            raise AssertionError(f"no such instruction: {code:#x}")


def test_the_device_program_allows_what_the_rules_do() -> None:
    program = devices.v2_program(devices.rules({}))
    assert decide(program, "c", "rw", 1, 3)
    assert decide(program, "c", "rwm", 136, 77)
    assert not decide(program, "c", "r", 1, 1)
    assert not decide(program, "b", "m", 8, 0)


def test_the_last_device_rule_that_matches_decides() -> None:
    rules = devices.rules(
        {
            "devices": [
                {"allow": True, "type": "b", "major": 8, "minor": 0, "access": "r"},
                {"allow": True, "type": "c", "major": 10, "access": "rw"},
                {"allow": False, "type": "c", "major": 10, "minor": 200, "access": "w"},
            ]
        }
    )
    program = devices.v2_program(rules)
    assert decide(program, "b", "r", 8, 0)
    assert not decide(program, "b", "rw", 8, 0)
    assert decide(program, "c", "rw", 10, 229)
    assert decide(program, "c", "r", 10, 200)
    assert not decide(program, "c", "rw", 10, 200)


def test_everything_may_be_allowed_in_a_program_too() -> None:
    assert decide(devices.v2_program(devices.rules({"devices": [{"allow": True}]})), "b", "rwm", 8, 0)


def test_a_group_with_files_for_values_is_made_in_order(tmp_path: Path) -> None:
    group = tmp_path / "a" / "b"
    plan = {"directories": [str(group)], "writes": [], "optional": [(f"{group}/memory.memsw", "1")]}
    cgroupfs.apply({**plan, "device_program": None})
    assert group.is_dir() and not (group / "memory.memsw").exists()


def test_a_value_that_the_kernel_refuses_is_named() -> None:
    plan = {"directories": [], "writes": [("/dev/full", "1")], "optional": [], "device_program": None}
    with pytest.raises(OSError, match="write '1' to /dev/full: No space left"):
        cgroupfs.apply(plan)


@pytest.mark.parametrize(
    ("file", "text", "kills"),
    [
        ("memory.events", "low 0\noom 2\noom_kill 3\noom_group_kill 1\n", 3),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 1\n", 1),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n", 0),
    ],
)
def test_processes_killed_for_lack_of_memory_are_counted(tmp_path: Path, file: str, text: str, kills: int) -> None:
    (tmp_path / file).write_text(text)
    assert cgroupfs.oom_kills(str(tmp_path)) == kills
