"""What stands behind a reason, in figures and names: how much is asked and left, which taint, which label; pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from apimachinery.meta import labels
from scheduler.plugins import node_affinity, node_resources_fit, taint_toleration
from scheduler.pods import CPU, PODS, HostPort, Usage
from scheduler.snapshot import Snapshot

_UNITS = ((2**40, "Ti"), (2**30, "Gi"), (2**20, "Mi"), (2**10, "Ki"))


def detail(plugin: str, reason: str, demand: Any, snapshot: Snapshot, row: int) -> str:
    """What is behind a plugin's reason on one node; "" if nothing can be told."""
    tell = _TELLERS.get(plugin)
    return tell(reason, demand, snapshot, row) if tell is not None else ""


def _resources(reason: str, demand: Usage, snapshot: Snapshot, row: int) -> str:
    if reason == node_resources_fit.REASON_PODS:
        return f"{snapshot.requested(PODS)[row]} of {snapshot.allocatable(PODS)[row]}"
    resource = reason.removeprefix("Insufficient ")
    has = int(snapshot.allocatable(resource)[row])
    left = has - int(snapshot.requested(resource)[row])
    asked, rest, whole = (quantity(resource, number) for number in (demand.request(resource), left, has))
    return f"asks for {asked}, {rest} of {whole} left"


def _taints(_: str, demand: taint_toleration.Tolerations, snapshot: Snapshot, row: int) -> str:
    taints = snapshot.taints.get(row) or ()
    return ", ".join(
        f"{taint.key}={taint.value}:{taint.effect}" if taint.value else f"{taint.key}:{taint.effect}"
        for taint in taints
        if taint.effect in taint_toleration.FORBIDDING and not taint_toleration.tolerates(demand, taint)
    )


def _affinity(reason: str, demand: node_affinity.Demand, snapshot: Snapshot, row: int) -> str:
    if reason != node_affinity.REASON:
        return ""
    here = np.array([row], dtype=np.intp)
    terms = [demand.selector, *(demand.required or ())] if len(demand.required or ()) <= 1 else [demand.selector]
    missed = [one for term in terms for one in term if not one.holds(snapshot, here)[0]]
    return ", ".join(_requirement(one, snapshot, row) for one in missed)


def _requirement(one: node_affinity.Requirement, snapshot: Snapshot, row: int) -> str:
    wanted = f"{one.key} {one.operator}" + (f" [{', '.join(one.values)}]" if one.values else "")
    if one.field:
        return wanted
    node = snapshot.node(row)
    value = labels(node).get(one.key) if node is not None else None
    return f"{wanted}, here {'not set' if value is None else repr(value)}"


def _ports(_: str, demand: tuple[HostPort, ...], snapshot: Snapshot, row: int) -> str:
    taken = [port for port in demand if row in snapshot.rows_with_port(port)]
    return ", ".join(f"{port.port}/{port.protocol}" for port in taken)


def quantity(resource: str, number: int) -> str:
    """An amount in a column's unit as people write it."""
    if resource == CPU:
        return f"{number // 1000}" if number % 1000 == 0 else f"{number}m"
    if resource == "memory" or resource == "ephemeral-storage" or resource.startswith("hugepages-"):
        for size, unit in _UNITS:
            if abs(number) >= size:
                return f"{number / size:.1f}".removesuffix(".0") + unit
    return str(number)


_TELLERS: dict[str, Callable[[str, Any, Snapshot, int], str]] = {
    node_resources_fit.NAME: _resources,
    "TaintToleration": _taints,
    node_affinity.NAME: _affinity,
    "NodePorts": _ports,
}
