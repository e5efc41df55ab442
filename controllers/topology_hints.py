"""Hints that share a service's endpoints out among zones by what their nodes have of CPU: pure decisions.

This is what the annotation `service.kubernetes.io/topology-mode: Auto` asks for. No endpoint gets more than a fifth
more traffic than without hints; where that can't be had there are none at all, and it is said why.

Source: https://kubernetes.io/docs/concepts/services-networking/topology-aware-routing/,
kubernetes/staging/src/k8s.io/endpointslice/topologycache
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from apimachinery.meta import Object, get_path, labels, name
from apimachinery.quantity import milli_value
from controllers.pods import is_ready

ZONE = "topology.kubernetes.io/zone"
OVERLOAD_MAX = 0.2
ENABLED = "Topology Aware Hints has been enabled"
DISABLED = "Topology Aware Hints has been disabled"
NO_NODE_INFORMATION = "Insufficient Node information: allocatable CPU or zone not specified on one or more nodes"
NO_ZONE = "One or more endpoints do not have a zone specified"
NO_HINTS = "No hints allocated for zones"
TOO_FEW = "Insufficient number of endpoints"
OVERLOADED = "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
# Whoever moves fewer than half an endpoint makes nothing better.
_WORTH_GIVING = 0.5
_CONTROL_PLANE = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")


@dataclass(frozen=True, slots=True)
class Allocation:
    """How many endpoints a zone should have."""

    desired: float
    maximum: int


def cpu_of(node: Object) -> str:
    """What pods may have of a node's CPU."""
    return str(get_path(node, "status", "allocatable", "cpu", default="0"))


def zone_ratios(nodes: Iterable[Object]) -> dict[str, float]:
    """Each zone's share of the CPU of all nodes that are ready; empty if there is no telling, or one zone alone."""
    cpus: Counter[str] = Counter()
    for node in nodes:
        if any(label in labels(node) for label in _CONTROL_PLANE) or not is_ready(node):
            continue
        zone, cpu = labels(node).get(ZONE), milli_value(cpu_of(node))
        if not zone or not cpu:
            return {}
        cpus[zone] += cpu
    total = sum(cpus.values())
    return {zone: cpu / total for zone, cpu in sorted(cpus.items())} if len(cpus) > 1 else {}


def allocate(ratios: Mapping[str, float], count: int) -> tuple[dict[str, Allocation], str]:
    """How many of so many endpoints each zone should have; none, and why, if that can't be had."""
    if not ratios:
        return {}, NO_NODE_INFORMATION
    counts = f"({count} endpoints, {len(ratios)} zones)"
    if len(ratios) > count:
        return {}, f"{TOO_FEW} {counts}"
    desired = {zone: ratio * count for zone, ratio in ratios.items()}
    minimum = {zone: math.ceil(wanted / (1 + OVERLOAD_MAX)) for zone, wanted in desired.items()}
    spare = count - sum(minimum.values())
    if spare < 0:
        return {}, f"{OVERLOADED} {counts}"
    return {zone: Allocation(max(desired[zone], least), least + spare) for zone, least in minimum.items()}, ""


def add_hints(
    changed: Sequence[Object], untouched: Sequence[Object], ratios: Mapping[str, float]
) -> tuple[list[Object], str]:
    """Give the endpoints of slices that are written anyway, in place, hints.

    Of the others, whose hints stay if they are of any use, those are returned that have to be written too; and why
    there are no hints, "" if there are.
    """
    count = sum(_is_ready(endpoint) for one in (*changed, *untouched) for endpoint in one["endpoints"])
    allocations, why = allocate(ratios, count)
    if why:
        return without_hints(changed, untouched), why
    allocated: Counter[str] = Counter()
    wrong = []
    # Always in one order: which slices keep their hints would else depend on which were written last.
    for one in sorted(untouched, key=name):
        hinted = _hinted(one, allocated, allocations)
        if hinted is None:
            wrong.append(one)
        else:
            allocated += hinted
    mended = [{**one} for one in wrong]
    for one in (*changed, *mended):
        if any(_is_ready(endpoint) and not endpoint.get("zone") for endpoint in one["endpoints"]):
            return without_hints(changed, untouched), NO_ZONE
        one["endpoints"] = [_with_hint(endpoint, endpoint.get("zone")) for endpoint in one["endpoints"]]
        allocated.update(endpoint["zone"] for endpoint in one["endpoints"] if _is_ready(endpoint))
    if not allocated:
        return without_hints(changed, untouched), NO_HINTS
    _redistribute((*changed, *mended), *moves(allocations, allocated))
    return [new for old, new in zip(wrong, mended, strict=True) if old["endpoints"] != new["endpoints"]], ""


def without_hints(changed: Sequence[Object], untouched: Sequence[Object]) -> list[Object]:
    """Take the hints from slices that are written anyway, in place, and return the others without theirs."""
    hinted = [{**one} for one in untouched if any("hints" in endpoint for endpoint in one["endpoints"])]
    for one in (*changed, *hinted):
        one["endpoints"] = [_with_hint(endpoint, None) for endpoint in one["endpoints"]]
    return hinted


def moves(allocations: Mapping[str, Allocation], allocated: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """How many endpoints each zone should give to others, and get from them."""
    surplus = {zone: allocated.get(zone, 0) - wanted.desired for zone, wanted in allocations.items()}
    giving: Counter[str] = Counter()
    receiving: Counter[str] = Counter()
    while True:
        most, least = max(surplus, key=lambda zone: surplus[zone]), min(surplus, key=lambda zone: surplus[zone])
        gives, needs = surplus[most], -surplus[least]
        if max(gives, needs) < 1 or min(gives, needs) < _WORTH_GIVING:
            return giving, receiving
        giving[most] += 1
        receiving[least] += 1
        surplus[most] -= 1
        surplus[least] += 1


def _redistribute(slices: Sequence[Object], giving: Counter[str], receiving: Counter[str]) -> None:
    takers = sorted(receiving.elements(), reverse=True)
    for one in slices:
        for number, endpoint in enumerate(one["endpoints"]):
            if takers and _is_ready(endpoint) and giving[endpoint["zone"]] > 0:
                giving[endpoint["zone"]] -= 1
                one["endpoints"][number] = _with_hint(endpoint, takers.pop())


def _hinted(one: Object, allocated: Counter[str], allocations: Mapping[str, Allocation]) -> Counter[str] | None:
    """The hints of a slice by zone; None if they must change."""
    found: Counter[str] = Counter()
    for endpoint in one["endpoints"]:
        if not _is_ready(endpoint):
            continue
        zones = [hint["name"] for hint in get_path(endpoint, "hints", "forZones", default=())]
        if not zones or any(zone not in allocations for zone in zones):
            return None
        found.update(zones)
    if any(many + allocated[zone] > allocations[zone].maximum for zone, many in found.items()):
        return None
    return found


def _with_hint(endpoint: Object, zone: str | None) -> Object:
    bare = {key: value for key, value in endpoint.items() if key != "hints"}
    return {**bare, "hints": {"forZones": [{"name": zone}]}} if zone and _is_ready(endpoint) else bare


def _is_ready(endpoint: Object) -> bool:
    return bool(get_path(endpoint, "conditions", "ready"))
