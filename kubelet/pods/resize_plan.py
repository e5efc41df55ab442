"""What to write where when a pod that runs gets other resources: pure, from what is wanted and what the kernel has.

A container never gets more than its pod's cgroup has: the pod's grows before its containers and shrinks after them,
and what containers give up is taken before others get it. Memory comes before CPU, and no limit goes below what is
in use, for which the kernel would kill.

Source: https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/1287-in-place-update-pod-resources
"""

from __future__ import annotations

import resource
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apimachinery import quantity
from apimachinery.meta import Object, get_path
from apimachinery.quantity import NANO, Quantity
from kubelet.containers import resources
from kubelet.pods.allocation import KINDS, Resources
from kubelet.pods.pod_spec import Container
from kubelet.runtime.cgroups import Limits, weight_of_shares

UNLIMITED = -1
# Smaller requests and limits all come out as the same in the kernel, which says nothing of them then.
MILLI_CPU_REQUEST_MIN, MILLI_CPU_LIMIT_MIN = 2, 10
_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Running:
    """A container that runs, and what its cgroup holds it to."""

    container: Container
    id: str
    limits: Limits


@dataclass(frozen=True, slots=True)
class Step:
    """OCI `linux.resources` to be set on a container, or on the pod where `container_id` is empty."""

    container_id: str
    resources: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Change:
    """A group to be held to other limits; -1 is none, None is as it is."""

    container_id: str
    now: Limits
    shares: int
    quota: int
    memory: int

    @property
    def memory_grows(self) -> bool:
        return _more(self.memory, self.now.memory)

    @property
    def memory_differs(self) -> bool:
        return self.memory - max(self.memory, 0) % _PAGE_BYTES != self.now.memory

    @property
    def quota_differs(self) -> bool:
        return _milli(self.quota, resources.PERIOD_MICROSECONDS) != _milli(self.now.quota, self.now.period)

    @property
    def shares_differ(self) -> bool:
        return not _is_share(self.shares, self.now)


def differences(pod: Object, one: Running) -> set[str]:
    """The resources (cpu, memory) of which a container has other amounts than its pod was given."""
    change = _change(one.id, one.limits, resources.container_resources(pod, one.container))
    found = {"memory"} if change.memory_differs else set()
    return found | ({"cpu"} if change.quota_differs or change.shares_differ else set())


def needs_restart(container: Container, changed: set[str]) -> bool:
    """Whether a container wants to be started anew when one of these resources changes (`resizePolicy`)."""
    return any(
        policy["resourceName"] in changed and policy["restartPolicy"] == "RestartContainer"
        for policy in container.get("resizePolicy") or ()
    )


def steps(pod: Object, running: Sequence[Running], whole: Limits) -> list[Step]:
    """What to set, in this order; `whole` is what the pod's cgroup is held to."""
    changes = [_change(one.id, one.limits, resources.container_resources(pod, one.container)) for one in running]
    return [*_memory_steps(_whole_change(pod, whole), changes), *_cpu_steps(_whole_change(pod, whole), changes)]


def refusal(pod: Object, running: Sequence[Running], whole: Limits) -> str:
    """Why memory limits can't be lowered now, or ""."""
    listed = [("pod memory limit", _whole_change(pod, whole))] + [
        (
            f'container "{one.container["name"]}" memory limit',
            _change(one.id, one.limits, resources.container_resources(pod, one.container)),
        )
        for one in running
    ]
    problems = [
        f"attempting to set {name} ({change.memory}) below current usage ({change.now.memory_used})"
        for name, change in listed
        if _more(change.now.memory, change.memory)
        and change.memory_differs
        and change.now.memory_used >= change.memory
    ]
    if not problems:
        return ""
    listed_problems = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
    return f"cannot decrease memory limits: {listed_problems}"


def actual(container: Container, limits: Limits) -> Resources:
    """A running container's resources as its status shows them: CPU and memory limit by what the kernel has."""
    asked = container.get("resources") or {}
    found: Resources = {kind: dict(asked[kind]) for kind in KINDS if asked.get(kind)}
    if "limits" in found:
        limit = _milli(limits.quota, limits.period)
        if limit > MILLI_CPU_LIMIT_MIN or (limit >= 0 and _milli_cpu(asked, "limits") > MILLI_CPU_LIMIT_MIN):
            found["limits"]["cpu"] = quantity.canonical(f"{limit}m")
        wanted = quantity.value(get_path(asked, "limits", "memory", default=0))
        if limits.memory >= 0 and wanted - wanted % _PAGE_BYTES != limits.memory:
            found["limits"]["memory"] = str(Quantity(limits.memory * NANO, "binary"))
    if "requests" in found:
        request = _requested(_milli_cpu(asked, "requests"), limits)
        if max(request, _milli_cpu(asked, "requests")) > MILLI_CPU_REQUEST_MIN:
            found["requests"]["cpu"] = quantity.canonical(f"{request}m")
    return found


def _memory_steps(whole: _Change, changes: Sequence[_Change]) -> Iterator[Step]:
    own = [_set_memory(whole)] if whole.memory != UNLIMITED and whole.memory_differs else []
    if whole.memory_grows:
        yield from own
    # What shrinks comes first, so that there is room for the others.
    for change in sorted(changes, key=lambda change: change.memory_grows):
        if change.memory_differs:
            yield _set_memory(change)
    if not whole.memory_grows:
        yield from own


def _cpu_steps(whole: _Change, changes: Sequence[_Change]) -> Iterator[Step]:
    quota = [_set_quota(whole)] if whole.quota != UNLIMITED and whole.quota_differs else []
    shares = [Step("", {"cpu": {"shares": whole.shares}})] if whole.shares_differ else []
    quota_grows = _more(whole.quota, whole.now.quota)
    if quota_grows:
        yield from quota
    yield from shares
    for change in sorted(changes, key=lambda change: _more(change.quota, change.now.quota)):
        if change.quota_differs or change.shares_differ:
            yield Step(change.container_id, {"cpu": {"shares": change.shares, **_set_quota(change).resources["cpu"]}})
    if not quota_grows:
        yield from quota


def _set_memory(change: _Change) -> Step:
    return Step(change.container_id, {"memory": {"limit": change.memory, "swap": change.memory}})


def _set_quota(change: _Change) -> Step:
    cpu = {"quota": change.quota, "period": resources.PERIOD_MICROSECONDS}
    return Step(change.container_id, {"cpu": cpu})


def _change(container_id: str, now: Limits, wanted: Mapping[str, Any]) -> _Change:
    return _Change(
        container_id=container_id,
        now=now,
        shares=wanted["cpu"]["shares"],
        quota=get_path(wanted, "cpu", "quota", default=UNLIMITED),
        memory=get_path(wanted, "memory", "limit", default=UNLIMITED),
    )


def _whole_change(pod: Object, now: Limits) -> _Change:
    return _change("", now, resources.pod_resources(pod, pids_max=0))


def _more(limit: int, than: int) -> bool:
    return than != UNLIMITED and (limit == UNLIMITED or limit > than)


def _milli(quota: int, period: int) -> int:
    """Thousandths of a CPU; -1 is no limit."""
    return quota * 1000 // period if quota >= 0 else UNLIMITED


def _milli_cpu(asked: Mapping[str, Any], kind: str) -> int:
    return quantity.milli_value(get_path(asked, kind, "cpu", default=0))


def _is_share(shares: int, limits: Limits) -> bool:
    """On v2 many shares have the same weight."""
    return limits.weight == weight_of_shares(shares) if limits.weight else limits.shares == shares


def _requested(asked_milli_cpu: int, limits: Limits) -> int:
    """The request that a group's part of the CPU stands for: what was asked for if that comes out the same."""
    if _is_share(resources.shares(asked_milli_cpu), limits):
        return asked_milli_cpu
    shares = limits.shares
    if limits.weight:
        possible = range(resources.SHARES_MIN, resources.SHARES_MAX)
        shares = possible[bisect_left(possible, limits.weight, key=weight_of_shares)]
    return -(-shares * 1000 // resources.SHARES_PER_CPU)
