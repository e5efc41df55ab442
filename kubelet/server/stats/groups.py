"""The figures of one cgroup, read from its files; cgroups(7), both versions.

Hundreds of groups are read for one answer, so each file is one open, one read and one close.
Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/memory.html,
https://docs.kernel.org/accounting/psi.html
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from kubelet.runtime.cgroups import Hierarchies

# Files of cgroups are shorter.
FILE_BYTES_MAX = 16 * 1024
# What v1 says for "no limit": the largest number of pages.
UNLIMITED_V1 = 1 << 62
_NANOSECONDS_A_TICK = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
RESOURCES_UNDER_PRESSURE = ("cpu", "memory", "io")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time since the beginning, and memory now; the working set is what can't be given back to others.

    `memory_limit` and `swap_limit` are None where there is none.
    """

    cpu_nanoseconds: int
    memory_bytes: int
    working_set_bytes: int
    rss_bytes: int
    page_faults: int = 0
    major_page_faults: int = 0
    swap_bytes: int = 0
    memory_limit: int | None = None
    swap_limit: int | None = None


@dataclass(frozen=True, slots=True)
class Stall:
    """How long tasks have waited: nanoseconds in all, and percent of the last 10, 60 and 300 seconds."""

    total_nanoseconds: int
    averages: tuple[float, float, float]


# By resource: (some tasks waited, all tasks waited).
Pressure = Mapping[str, tuple[Stall, Stall]]


@dataclass(frozen=True, slots=True)
class Detail:
    """What is known beside the usage. Disks are (read bytes, written bytes, reads, writes) by `major:minor`."""

    user_nanoseconds: int
    system_nanoseconds: int
    periods: int
    throttled_periods: int
    throttled_nanoseconds: int
    cache_bytes: int
    mapped_file_bytes: int
    memory_bytes_max: int
    limit_hits: int
    oom_kills: int
    tasks: int
    processes: int
    shares: int
    quota_microseconds: int
    period_microseconds: int
    tasks_max: int | None = None
    disks: Mapping[str, tuple[int, int, int, int]] = field(default_factory=dict)


class Groups:
    """Reads groups. Every method returns None for a group that is not there (any more)."""

    def __init__(self, hierarchies: Hierarchies) -> None:
        self._hierarchies = hierarchies

    @property
    def unified(self) -> bool:
        """Whether this machine has version 2."""
        return self._hierarchies.version == 2

    def usage(self, path: str) -> Usage | None:
        """What a group uses."""
        try:
            return self._usage_v2(path) if self.unified else self._usage_v1(path)
        except (OSError, KeyError, ValueError):
            return None  # files of a group that is being removed are gone, fail with ENODEV, or end early

    def detail(self, path: str) -> Detail | None:
        """What else is known of a group."""
        try:
            return self._detail_v2(path) if self.unified else self._detail_v1(path)
        except (OSError, KeyError, ValueError):
            return None

    def tasks(self, path: str) -> int | None:
        """How many processes and threads a group holds."""
        return _number(read(f"{self._hierarchies.directory('pids', path)}/pids.current"))

    def pressure(self, path: str) -> Pressure:
        """How long tasks of a group have waited; nothing with version 1, or where the kernel does not count it."""
        if not self.unified:
            return {}
        folder = self._hierarchies.directory("cpu", path)
        texts = ((name, read(f"{folder}/{name}.pressure")) for name in RESOURCES_UNDER_PRESSURE)
        return {name: stalls(text) for name, text in texts if text}

    def _usage_v2(self, path: str) -> Usage:
        folder = self._hierarchies.directory("memory", path)
        used, stat = int(_content(f"{folder}/memory.current")), table(_content(f"{folder}/memory.stat"))
        return Usage(
            cpu_nanoseconds=table(_content(f"{folder}/cpu.stat"))["usage_usec"] * 1000,
            memory_bytes=used,
            working_set_bytes=max(0, used - stat["inactive_file"]),
            rss_bytes=stat["anon"],
            page_faults=stat["pgfault"],
            major_page_faults=stat["pgmajfault"],
            swap_bytes=_number(read(f"{folder}/memory.swap.current")) or 0,
            memory_limit=_number(read(f"{folder}/memory.max")),
            swap_limit=_number(read(f"{folder}/memory.swap.max")),
        )

    def _usage_v1(self, path: str) -> Usage:
        folder = self._hierarchies.directory("memory", path)
        used, stat = int(_content(f"{folder}/memory.usage_in_bytes")), table(_content(f"{folder}/memory.stat"))
        limit = _number(read(f"{folder}/memory.limit_in_bytes")) or UNLIMITED_V1
        return Usage(
            cpu_nanoseconds=int(_content(f"{self._hierarchies.directory('cpuacct', path)}/cpuacct.usage")),
            memory_bytes=used,
            working_set_bytes=max(0, used - stat["total_inactive_file"]),
            rss_bytes=stat["total_rss"],
            page_faults=stat["total_pgfault"],
            major_page_faults=stat["total_pgmajfault"],
            swap_bytes=stat.get("total_swap", 0),
            memory_limit=limit if limit < UNLIMITED_V1 else None,
        )

    def _detail_v2(self, path: str) -> Detail:
        folder = self._hierarchies.directory("memory", path)
        cpu, stat = table(_content(f"{folder}/cpu.stat")), table(_content(f"{folder}/memory.stat"))
        events = table(_content(f"{folder}/memory.events"))
        quota, _, period = read(f"{folder}/cpu.max").partition(" ")
        return Detail(
            user_nanoseconds=cpu["user_usec"] * 1000,
            system_nanoseconds=cpu["system_usec"] * 1000,
            periods=cpu.get("nr_periods", 0),
            throttled_periods=cpu.get("nr_throttled", 0),
            throttled_nanoseconds=cpu.get("throttled_usec", 0) * 1000,
            cache_bytes=stat["file"],
            mapped_file_bytes=stat["file_mapped"],
            memory_bytes_max=_number(read(f"{folder}/memory.peak")) or 0,
            limit_hits=events["max"],
            oom_kills=events["oom_kill"],
            tasks=_number(read(f"{folder}/pids.current")) or 0,
            tasks_max=_number(read(f"{folder}/pids.max")),
            processes=read(f"{folder}/cgroup.procs").count("\n"),
            shares=shares_of_weight(_number(read(f"{folder}/cpu.weight")) or 0),
            quota_microseconds=_number(quota) or 0,
            period_microseconds=_number(period) or 0,
            disks=disks(read(f"{folder}/io.stat")),
        )

    def _detail_v1(self, path: str) -> Detail:
        where = self._hierarchies.directory
        memory, cpu, pids = where("memory", path), where("cpu", path), where("pids", path)
        stat, ticks = (
            table(_content(f"{memory}/memory.stat")),
            table(_content(f"{where('cpuacct', path)}/cpuacct.stat")),
        )
        throttled, quota = table(read(f"{cpu}/cpu.stat")), _number(read(f"{cpu}/cpu.cfs_quota_us"))
        return Detail(
            user_nanoseconds=ticks["user"] * _NANOSECONDS_A_TICK,
            system_nanoseconds=ticks["system"] * _NANOSECONDS_A_TICK,
            periods=throttled.get("nr_periods", 0),
            throttled_periods=throttled.get("nr_throttled", 0),
            throttled_nanoseconds=throttled.get("throttled_time", 0),
            cache_bytes=stat["total_cache"],
            mapped_file_bytes=stat["total_mapped_file"],
            memory_bytes_max=_number(read(f"{memory}/memory.max_usage_in_bytes")) or 0,
            limit_hits=_number(read(f"{memory}/memory.failcnt")) or 0,
            oom_kills=table(read(f"{memory}/memory.oom_control")).get("oom_kill", 0),
            tasks=_number(read(f"{pids}/pids.current")) or 0,
            tasks_max=_number(read(f"{pids}/pids.max")),
            processes=read(f"{memory}/cgroup.procs").count("\n"),
            shares=_number(read(f"{cpu}/cpu.shares")) or 0,
            quota_microseconds=quota if quota is not None and quota > 0 else 0,
            period_microseconds=_number(read(f"{cpu}/cpu.cfs_period_us")) or 0,
        )


def table(text: str) -> dict[str, int]:
    """Lines of a name and a number."""
    words = text.split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def disks(text: str) -> dict[str, tuple[int, int, int, int]]:
    """io.stat: `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`."""
    found = {}
    for line in text.splitlines():
        device, *pairs = line.split()
        counts = {name: int(value) for name, _, value in (pair.partition("=") for pair in pairs)}
        found[device] = (
            counts.get("rbytes", 0),
            counts.get("wbytes", 0),
            counts.get("rios", 0),
            counts.get("wios", 0),
        )
    return found


def stalls(text: str) -> tuple[Stall, Stall]:
    """A file of pressure: `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same of `full`."""
    found = {"some": Stall(0, (0.0, 0.0, 0.0)), "full": Stall(0, (0.0, 0.0, 0.0))}
    for line in text.splitlines():
        kind, *pairs = line.split()
        values = dict(pair.split("=") for pair in pairs)
        averages = (float(values["avg10"]), float(values["avg60"]), float(values["avg300"]))
        found[kind] = Stall(int(values["total"]) * 1000, averages)
    return found["some"], found["full"]


def shares_of_weight(weight: int) -> int:
    """cpu.weight (1 to 10000) as cpu.shares (2 to 262144), along a straight line, as cAdvisor shows it."""
    return 2 + (weight - 1) * 262142 // 9999 if weight else 0


def read(path: str) -> str:
    """All of a file, in as many pieces as the kernel gives it; "" where there is none or it is not to be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        pieces = []
        while piece := os.read(descriptor, FILE_BYTES_MAX):
            pieces.append(piece)
        return b"".join(pieces).decode(errors="replace")
    except OSError:
        return ""
    finally:
        os.close(descriptor)


def _content(path: str) -> str:
    """All of a file of a cgroup, which the kernel gives in one piece. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, FILE_BYTES_MAX).decode()
    finally:
        os.close(descriptor)


def _number(text: str) -> int | None:
    """The number of a file; None for none, `max`, and what is below zero."""
    text = text.strip()
    return int(text) if text.isdigit() else None
