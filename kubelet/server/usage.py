"""What pods and their containers use now, read from their cgroups; cgroups(7), both versions."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kubelet.runtime import SandboxState, cgroups, plan
from kubelet.runtime.cgroups import Hierarchies


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU time since the beginning, and memory now; the working set is what can't be given back to others."""

    cpu_nanoseconds: int
    memory_bytes: int
    working_set_bytes: int
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """One running container."""

    name: str
    started_at: float
    usage: Usage


@dataclass(frozen=True, slots=True)
class PodUsage:
    """One pod and its running containers."""

    namespace: str
    name: str
    uid: str
    usage: Usage
    containers: tuple[ContainerUsage, ...]


def of_pods(sandboxes: Iterable[SandboxState], cgroup_root: str) -> list[PodUsage]:
    """What all live pods use; a cgroup that goes away meanwhile is left out."""
    hierarchies = cgroups.present()
    found = []
    for sandbox in sandboxes:
        whole = _of_group(hierarchies, plan.group_path(cgroup_root, sandbox.spec)) if sandbox.alive else None
        if whole is None:
            continue
        containers = []
        for state in sandbox.containers:
            usage = _of_group(hierarchies, plan.group_path(cgroup_root, sandbox.spec, state.id))
            if state.status == "running" and usage is not None:
                containers.append(ContainerUsage(state.name, state.started_at or 0.0, usage))
        spec = sandbox.spec
        found.append(PodUsage(spec.pod_namespace, spec.pod_name, spec.pod_uid, whole, tuple(containers)))
    return found


def of_machine() -> Usage:
    """What runs on this machine uses altogether; proc_stat(5), proc_meminfo(5)."""
    user, nice, system, _, _, irq, soft, stolen = map(int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9])
    ticks = user + nice + system + irq + soft + stolen
    memory = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, value = line.partition(":")
        memory[name] = int(value.split()[0]) * 1024
    used = memory["MemTotal"] - memory["MemFree"]
    return Usage(
        cpu_nanoseconds=ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK"),
        memory_bytes=used,
        working_set_bytes=memory["MemTotal"] - memory["MemAvailable"],
        rss_bytes=memory["AnonPages"],
    )


def machine_started_at(now: float) -> float:
    """When the machine started, in seconds since 1970."""
    return now - time.clock_gettime(time.CLOCK_BOOTTIME)


def _of_group(hierarchies: Hierarchies, path: str) -> Usage | None:
    memory = Path(hierarchies.directory("memory", path))
    cpu = Path(hierarchies.directory("cpu" if hierarchies.version == 2 else "cpuacct", path))
    try:
        if hierarchies.version == 2:
            spent = _table(cpu / "cpu.stat")["usage_usec"] * 1000
            used, detail = _number(memory / "memory.current"), _table(memory / "memory.stat")
            reclaimable, rss = detail["inactive_file"], detail["anon"]
        else:
            spent = _number(cpu / "cpuacct.usage")
            used, detail = _number(memory / "memory.usage_in_bytes"), _table(memory / "memory.stat")
            reclaimable, rss = detail["total_inactive_file"], detail["total_rss"]
    except OSError:
        return None
    return Usage(spent, used, max(0, used - reclaimable), rss)


def _number(path: Path) -> int:
    return int(path.read_text())


def _table(path: Path) -> dict[str, int]:
    rows = (line.split() for line in path.read_text().splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) == 2}
