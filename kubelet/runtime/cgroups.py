"""Decides which cgroups there are and what is written to them, from OCI `linux.resources`; cgroups(7).

Both worlds are behind one shape: a group is a path such as `wherry/ab12cd/node-1/burstable/podUID/ID` below
the root of each hierarchy. On v2 there is one hierarchy; on v1 each controller has its own, and a unified one
without controllers may lie beside them ("hybrid"), which then serves for killing all processes at once. A
plan says which directories to make and what to write; cgroupfs.py carries it out, mostly in a pod's supervisor.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kubelet.runtime import devices

# The controllers that a group is made in; others stay where the kubelet is.
CONTROLLERS = ("cpu", "cpuacct", "memory", "pids", "devices", "cpuset", "hugetlb", "freezer")
_V1_ALWAYS = ("cpu", "cpuacct", "memory", "pids", "devices")
_V2_ALWAYS = ("cpuset", "cpu", "io", "memory", "hugetlb", "pids")
PERIOD_MICROSECONDS = 100_000
# What v1 says of a group without a limit: the largest number of pages, in bytes.
_V1_MEMORY_UNLIMITED = 2**62
_PAGE_UNITS = (("GB", 1 << 20), ("MB", 1 << 10), ("KB", 1))

Resources = Mapping[str, Any]
Write = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Hierarchies:
    """What is mounted: version, the mount point of each v1 controller, and of the unified hierarchy ("").

    `page_sizes` are the huge pages that this machine can have, as hugetlb's files name them.
    """

    version: int
    v1: Mapping[str, str] = field(default_factory=dict)
    unified: str = ""
    page_sizes: tuple[str, ...] = ()

    def directories(self, path: str, controllers: Sequence[str] = _V1_ALWAYS) -> list[str]:
        """Where a group lies, in every hierarchy once."""
        roots = [self.unified] if self.unified else []
        if self.version == 1:
            roots += dict.fromkeys(self.v1[name] for name in controllers if name in self.v1)
        return [f"{root}/{path}" for root in roots]

    def directory(self, controller: str, path: str) -> str:
        """Where a controller's files of a group lie, "" if this machine does not have the controller."""
        root = self.unified if self.version == 2 else self.v1.get(controller, "")
        return f"{root}/{path}" if root else ""


def discover(mountinfo: str) -> Hierarchies:
    """Read what is mounted from the text of /proc/self/mountinfo (proc_pid_mountinfo(5))."""
    v1: dict[str, str] = {}
    unified = ""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        mount_point = before.split()[4]
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" and not unified:
            unified = mount_point
        elif kind == "cgroup":
            for option in options.split()[-1].split(","):
                if option in CONTROLLERS:
                    v1.setdefault(option, mount_point)
    if not v1 and not unified:
        raise OSError(0, "no cgroup hierarchy is mounted on this node (expected below /sys/fs/cgroup)")
    return Hierarchies(version=1 if "memory" in v1 or "cpu" in v1 else 2, v1=v1, unified=unified)


def group(hierarchies: Hierarchies, path: str, resources: Resources, *, is_container: bool) -> dict[str, Any]:
    """The plan of one group.

    directories: to make, and later to remove. writes, optional: (file, value), the latter only where the file
    exists. join: v1 directories whose `tasks` a process enters by. unified: where clone3(2) starts it.
    processes: lists the group's processes. memory: counts its OOM kills.
    """
    needed = [*_V1_ALWAYS, *(["cpuset"] if wants_cpuset(resources) else [])]
    if resources.get("hugepageLimits"):
        needed.append("hugetlb")
    directories = hierarchies.directories(path, needed)
    unified = f"{hierarchies.unified}/{path}" if hierarchies.unified else ""
    writes = []
    if hierarchies.version == 2:
        writes += delegation(hierarchies, path if not is_container else path.rpartition("/")[0])
    elif "cpuset" in needed:
        writes += cpuset_defaults(hierarchies, path)
    changes, optional = limits(hierarchies, path, resources)
    writes += changes
    if is_container and hierarchies.version == 2:
        # A container that runs out of memory is killed whole, gets no swap, and only the huge pages that it names.
        optional += [(f"{unified}/{file}", value) for file, value in _v2_closed(hierarchies, resources)]
    elif is_container and "devices" in hierarchies.v1:
        directory = hierarchies.directory("devices", path)
        rules = devices.v1_writes(devices.rules(resources))
        writes += [(f"{directory}/{file}", value) for file, value in rules]
    return {
        "directories": directories,
        "writes": writes,
        "optional": optional,
        "join": [directory for directory in directories if directory != unified],
        "unified": unified,
        "processes": unified or directories[0],
        "memory": hierarchies.directory("memory", path),
        "device_program": device_program(resources) if is_container and hierarchies.version == 2 else None,
    }


def limits(
    hierarchies: Hierarchies, path: str, resources: Resources
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """(file, value) for the limits of a group: those that must succeed, and those for files that may be missing."""
    changes, optional = (changes_v2 if hierarchies.version == 2 else changes_v1)(resources)
    resolved: tuple[list[tuple[str, str]], list[tuple[str, str]]] = ([], [])
    for wanted, found in zip((changes, optional), resolved, strict=True):
        for controller, file, value in wanted:
            directory = hierarchies.directory(controller, path)
            if directory:
                found.append((f"{directory}/{file}", value))
            elif wanted is changes:
                raise OSError(0, f"{file} can't be set: this node has no {controller} cgroup controller")
    return resolved


def _v2_closed(hierarchies: Hierarchies, resources: Resources) -> list[tuple[str, str]]:
    named = {page["pageSize"] for page in resources.get("hugepageLimits") or ()}
    pages = [(f"hugetlb.{size}.max", "0") for size in hierarchies.page_sizes if size not in named]
    swap = [] if "swap" in (resources.get("memory") or {}) else [("memory.swap.max", "0")]
    return [("memory.oom.group", "1"), *swap, *pages]


def wants_cpuset(resources: Resources) -> bool:
    """True when a container is bound to certain CPUs or memory nodes."""
    cpu = resources.get("cpu") or {}
    return bool(cpu.get("cpus") or cpu.get("mems"))


def delegation(hierarchies: Hierarchies, path: str) -> list[tuple[str, str]]:
    """v2: each group on the way down must hand its controllers on (cgroup.subtree_control)."""
    directory = hierarchies.unified
    try:
        with open(f"{directory}/cgroup.controllers") as file:
            present = file.read().split()
    except OSError:
        present = []
    value = " ".join(f"+{name}" for name in _V2_ALWAYS if name in present)
    writes = []
    for part in ["", *path.split("/")]:
        directory = f"{directory}/{part}" if part else directory
        if value:
            writes.append((f"{directory}/cgroup.subtree_control", value))
    return writes


def cpuset_defaults(hierarchies: Hierarchies, path: str) -> list[tuple[str, str]]:
    """v1: a new cpuset is empty and takes no process until it has CPUs and memory nodes (cpuset(7))."""
    writes = []
    root = hierarchies.v1["cpuset"]
    directory = root
    for part in path.split("/"):
        directory = f"{directory}/{part}"
        for file in ("cpuset.cpus", "cpuset.mems"):
            with open(f"{root}/{file}") as whole:
                writes.append((f"{directory}/{file}", whole.read().strip()))
    return writes


def changes_v1(resources: Resources) -> tuple[list[Write], list[Write]]:
    """(controller, file, value) for v1: those that must succeed, and those for files that may be missing."""
    changes: list[Write] = []
    optional: list[Write] = []
    memory = resources.get("memory") or {}
    if memory.get("limit") is not None:
        changes.append(("memory", "memory.limit_in_bytes", str(memory["limit"])))
    if memory.get("swap") is not None:
        optional.append(("memory", "memory.memsw.limit_in_bytes", str(memory["swap"])))
    if memory.get("reservation") is not None:
        changes.append(("memory", "memory.soft_limit_in_bytes", str(memory["reservation"])))
    cpu = resources.get("cpu") or {}
    if cpu.get("shares"):
        changes.append(("cpu", "cpu.shares", str(cpu["shares"])))
    if cpu.get("period"):
        changes.append(("cpu", "cpu.cfs_period_us", str(cpu["period"])))
    if cpu.get("quota") is not None:
        changes.append(("cpu", "cpu.cfs_quota_us", str(cpu["quota"])))
    if cpu.get("cpus"):
        changes.append(("cpuset", "cpuset.cpus", cpu["cpus"]))
    if cpu.get("mems"):
        changes.append(("cpuset", "cpuset.mems", cpu["mems"]))
    pids = resources.get("pids") or {}
    if pids.get("limit") is not None:
        changes.append(("pids", "pids.max", number_or_max(pids["limit"])))
    for page in resources.get("hugepageLimits") or []:
        optional.append(("hugetlb", f"hugetlb.{page['pageSize']}.limit_in_bytes", str(page["limit"])))
    return changes, optional


def changes_v2(resources: Resources) -> tuple[list[Write], list[Write]]:
    """(controller, file, value) for v2: those that must succeed, and those for files that may be missing."""
    changes: list[Write] = []
    optional: list[Write] = []
    memory = resources.get("memory") or {}
    limit = memory.get("limit")
    if limit is not None:
        changes.append(("memory", "memory.max", number_or_max(limit)))
    if memory.get("swap") is not None:
        swap = memory["swap"] if memory["swap"] < 0 or limit is None else memory["swap"] - max(limit, 0)
        optional.append(("memory", "memory.swap.max", number_or_max(swap)))
    if memory.get("reservation") is not None:
        changes.append(("memory", "memory.low", number_or_max(memory["reservation"])))
    cpu = resources.get("cpu") or {}
    if cpu.get("shares"):
        changes.append(("cpu", "cpu.weight", str(weight_of_shares(cpu["shares"]))))
    if cpu.get("quota") is not None or cpu.get("period"):
        quota = number_or_max(cpu.get("quota") or -1)
        changes.append(("cpu", "cpu.max", f"{quota} {cpu.get('period') or PERIOD_MICROSECONDS}"))
    if cpu.get("cpus"):
        changes.append(("cpuset", "cpuset.cpus", cpu["cpus"]))
    if cpu.get("mems"):
        changes.append(("cpuset", "cpuset.mems", cpu["mems"]))
    pids = resources.get("pids") or {}
    if pids.get("limit") is not None:
        changes.append(("pids", "pids.max", number_or_max(pids["limit"])))
    for page in resources.get("hugepageLimits") or []:
        optional.append(("hugetlb", f"hugetlb.{page['pageSize']}.max", str(page["limit"])))
    for file, value in (resources.get("unified") or {}).items():
        if "/" in file:
            raise OSError(0, f"linux.resources.unified: {file!r} is no file name")
        changes.append((file.partition(".")[0], file, value))
    return changes, optional


def device_program(resources: Resources) -> str:
    """v2 has no files for devices: an eBPF program decides, sent as hexadecimal."""
    return devices.v2_program(devices.rules(resources)).hex()


def number_or_max(value: int) -> str:
    """cgroup v2 and pids spell "no limit" as max; OCI as -1."""
    return "max" if value < 0 else str(value)


def weight_of_shares(shares: int) -> int:
    """cpu.shares (2 to 262144, normal 1024) as cpu.weight (1 to 10000, normal 100).

    The curve of opencontainers/cgroups since 0.0.5: it goes through (2, 1), (1024, 100) and (262144, 10000).
    """
    if shares <= 2:
        return 1
    if shares >= 262144:
        return 10000
    exponent = math.log2(shares)
    return math.ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def mounts_for_container(hierarchies: Hierarchies) -> list[dict[str, str]]:
    """What /sys/fs/cgroup shows inside a container: the hierarchies that it has a group of its own in."""
    if hierarchies.version == 2:
        return [{"name": "", "type": "cgroup2", "source": "cgroup", "data": ""}]
    by_mount: dict[str, list[str]] = {}
    for controller in _V1_ALWAYS:
        if controller in hierarchies.v1:
            by_mount.setdefault(hierarchies.v1[controller], []).append(controller)
    shown = [
        {"name": ",".join(names), "type": "cgroup", "source": "cgroup", "data": ",".join(names)}
        for names in by_mount.values()
    ]
    if hierarchies.unified:
        shown.append({"name": "unified", "type": "cgroup2", "source": "cgroup", "data": ""})
    return shown


def present() -> Hierarchies:
    """The hierarchies of this machine."""
    with open("/proc/self/mountinfo") as file:
        found = discover(file.read())
    try:
        pages = sorted(os.listdir("/sys/kernel/mm/hugepages"))
    except FileNotFoundError:
        pages = []
    sizes = tuple(page_size(int(name.removeprefix("hugepages-").removesuffix("kB"))) for name in pages)
    return replace(found, page_sizes=sizes)


def page_size(kibibytes: int) -> str:
    """A size of huge pages as hugetlb's files name it: `2MB`."""
    unit, factor = next((unit, factor) for unit, factor in _PAGE_UNITS if kibibytes % factor == 0)
    return f"{kibibytes // factor}{unit}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the files of a group say. A limit of -1 is none.

    `shares` and `weight` are the group's part of the CPU, as v1 and v2 have it; the other one is 0. `quota` is in
    microseconds a `period`, `memory` and `memory_used` are bytes.
    """

    shares: int = 0
    weight: int = 0
    quota: int = -1
    period: int = PERIOD_MICROSECONDS
    memory: int = -1
    memory_used: int = 0


def read_limits(hierarchies: Hierarchies, path: str, read: Callable[[str], str]) -> Limits:
    """A group's limits as they are now; `read` gives a file's text, "" where there is none."""
    cpu, memory = hierarchies.directory("cpu", path), hierarchies.directory("memory", path)
    if hierarchies.version == 2:
        quota, _, period = read(f"{cpu}/cpu.max").partition(" ")
        return Limits(
            weight=_number(read(f"{cpu}/cpu.weight"), 0),
            quota=_number(quota, -1),
            period=_number(period, PERIOD_MICROSECONDS),
            memory=_number(read(f"{memory}/memory.max"), -1),
            memory_used=_number(read(f"{memory}/memory.current"), 0),
        )
    limit = _number(read(f"{memory}/memory.limit_in_bytes"), -1)
    return Limits(
        shares=_number(read(f"{cpu}/cpu.shares"), 0),
        quota=_number(read(f"{cpu}/cpu.cfs_quota_us"), -1),
        period=_number(read(f"{cpu}/cpu.cfs_period_us"), PERIOD_MICROSECONDS),
        memory=limit if limit < _V1_MEMORY_UNLIMITED else -1,
        memory_used=_number(read(f"{memory}/memory.usage_in_bytes"), 0),
    )


def _number(text: str, otherwise: int) -> int:
    """A file's number; "max" and what is not there are something else."""
    try:
        return int(text)
    except ValueError:
        return otherwise
