"""What the machine, the pods and their containers use at one moment, and which share of the CPUs between two."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kubelet.runtime import SandboxState, plan
from kubelet.server.stats.groups import Groups, Usage, read, table

# Of what has run for less than this nobody can say how much of a CPU it takes.
SPAN_SECONDS_MIN = 0.4
NODE = ""


@dataclass(frozen=True, slots=True)
class ContainerUsage:
    """One running container; `group` is the path of its cgroup."""

    id: str
    name: str
    started_at: float
    group: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class PodUsage:
    """One pod and its running containers. `network_pid` is a process in its network, 0 if that is the node's."""

    namespace: str
    name: str
    uid: str
    group: str
    network_pid: int
    tasks: int
    usage: Usage
    containers: tuple[ContainerUsage, ...]


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment: `time` in seconds since 1970, `moment` on a clock that never jumps."""

    time: float
    moment: float
    machine: Usage
    pods: tuple[PodUsage, ...]


@dataclass(frozen=True, slots=True)
class Rates:
    """Billionths of CPUs in use between two samples, by container id, pod UID, and NODE."""

    window_seconds: float = 0.0
    nanocores: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Target:
    """One pod to look at."""

    namespace: str
    name: str
    uid: str
    group: str
    network_pid: int
    # (id, name, when it started, group)
    containers: tuple[tuple[str, str, float, str], ...]


def targets(sandboxes: Iterable[SandboxState], cgroup_root: str) -> list[Target]:
    """The pods that live, and their containers that run."""
    found = []
    for sandbox in sandboxes:
        if not sandbox.alive:
            continue
        spec = sandbox.spec
        containers = tuple(
            (state.id, state.name, state.started_at or 0.0, plan.group_path(cgroup_root, spec, state.id))
            for state in sandbox.containers
            if state.status == "running"
        )
        pid = 0 if spec.host_network else sandbox.supervisor_pid
        group = plan.group_path(cgroup_root, spec)
        found.append(Target(spec.pod_namespace, spec.pod_name, spec.pod_uid, group, pid, containers))
    return found


def sample(groups: Groups, wanted: Iterable[Target], *, now: float, moment: float) -> Sample:
    """Look at all of them now; a group that goes away meanwhile is left out."""
    pods = []
    for target in wanted:
        whole = groups.usage(target.group)
        if whole is None:
            continue
        containers = tuple(
            ContainerUsage(container_id, name, started_at, group, usage)
            for container_id, name, started_at, group in target.containers
            if (usage := groups.usage(group)) is not None
        )
        tasks = groups.tasks(target.group) or 0
        identity = (target.namespace, target.name, target.uid, target.group, target.network_pid)
        pods.append(PodUsage(*identity, tasks, whole, containers))
    return Sample(now, moment, of_machine(), tuple(pods))


def rates(earlier: Sample, later: Sample) -> Rates:
    """How fast CPU time went between two samples; what began in between counts from its start."""
    window = later.moment - earlier.moment
    if window < SPAN_SECONDS_MIN:
        return Rates()
    before = _spent(earlier)
    found = {}
    for pod in later.pods:
        for container in pod.containers:
            span = later.time - container.started_at
            if container.id in before:
                span = window
            elif not SPAN_SECONDS_MIN <= span <= window:
                continue
            found[container.id] = _rate(container.usage.cpu_nanoseconds - before.get(container.id, 0), span)
        if pod.uid in before:
            found[pod.uid] = _rate(pod.usage.cpu_nanoseconds - before[pod.uid], window)
        elif pod.containers and all(container.id in found for container in pod.containers):
            found[pod.uid] = sum(found[container.id] for container in pod.containers)
    found[NODE] = _rate(later.machine.cpu_nanoseconds - earlier.machine.cpu_nanoseconds, window)
    return Rates(window, found)


def _spent(taken: Sample) -> dict[str, int]:
    found = {pod.uid: pod.usage.cpu_nanoseconds for pod in taken.pods}
    for pod in taken.pods:
        found |= {container.id: container.usage.cpu_nanoseconds for container in pod.containers}
    return found


def _rate(nanoseconds: int, span: float) -> int:
    return max(0, round(nanoseconds / span))


def of_machine() -> Usage:
    """What runs on this machine uses altogether; proc_stat(5), proc_meminfo(5), /proc/vmstat."""
    user, nice, system, _, _, irq, soft, stolen = map(int, read("/proc/stat").split(maxsplit=9)[1:9])
    ticks = user + nice + system + irq + soft + stolen
    memory, faults = _memory(read("/proc/meminfo")), table(read("/proc/vmstat"))
    return Usage(
        cpu_nanoseconds=ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK"),
        memory_bytes=memory["MemTotal"] - memory["MemFree"],
        working_set_bytes=memory["MemTotal"] - memory["MemAvailable"],
        rss_bytes=memory["AnonPages"],
        page_faults=faults.get("pgfault", 0) - faults.get("pgmajfault", 0),
        major_page_faults=faults.get("pgmajfault", 0),
        swap_bytes=memory.get("SwapTotal", 0) - memory.get("SwapFree", 0),
        memory_limit=memory["MemTotal"],
        swap_limit=memory.get("SwapTotal", 0),
    )


def machine_started_at(now: float) -> float:
    """When the machine started, in seconds since 1970."""
    return now - time.clock_gettime(time.CLOCK_BOOTTIME)


def _memory(text: str) -> dict[str, int]:
    """/proc/meminfo, in bytes."""
    found = {}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        found[name] = int(value.split()[0]) * 1024
    return found


def newest_at_least(samples: Sequence[Sample], age_seconds: float, moment: float) -> Sample | None:
    """The youngest sample of at least this age, else the oldest that there is."""
    old = [taken for taken in samples if moment - taken.moment >= age_seconds]
    return old[-1] if old else (samples[0] if samples else None)
