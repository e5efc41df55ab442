"""How Endpoints that somebody writes by hand become EndpointSlices: pure decisions.

Of each set of ports, and of each family of addresses, there is one slice.

Source: https://kubernetes.io/docs/concepts/services-networking/service/#endpoints-mirroring,
kubernetes/pkg/controller/endpointslicemirroring
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from apimachinery.meta import Object, labels, name, namespace, owner_reference
from apimachinery.meta import annotations as annotations_of
from apimachinery.resources import ENDPOINTS, ENDPOINTSLICES
from controllers.endpoint_slice_plan import (
    MANAGED_BY,
    SERVICE_NAME,
    PortsKey,
    SlicePlan,
    endpoint_key,
    in_place_of,
    ports_key,
    recycle,
)
from controllers.service_endpoints import LEADER, TRIGGER_TIME, canonical, family_of

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP_MIRROR = "endpointslice.kubernetes.io/skip-mirror"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_KIND = {"apiVersion": ENDPOINTS.api_version, "kind": ENDPOINTS.kind}


@dataclass(frozen=True, slots=True)
class Warned:
    """An event about Endpoints that can't be mirrored as a whole."""

    reason: str
    message: str


@dataclass(slots=True)
class Mirrored:
    """The slices that Endpoints make, by family and ports: their ports, and their endpoints by identity."""

    groups: dict[tuple[str, PortsKey], tuple[list[Object], dict[Any, Object]]] = field(default_factory=dict)
    warned: list[Warned] = field(default_factory=list)


def should_mirror(endpoints: Object | None) -> bool:
    """Whether Endpoints may be mirrored at all: not by a label, and not if they are a leader's lock."""
    if endpoints is None:
        return False
    return labels(endpoints).get(SKIP_MIRROR) != "true" and LEADER not in annotations_of(endpoints)


def plan_mirror(endpoints: Object, slices: Iterable[Object], addresses_max: int) -> tuple[SlicePlan, list[Warned]]:
    """What makes these slices, its own, mirror Endpoints."""
    mirrored = mirror(endpoints, addresses_max)
    existing: dict[tuple[str, PortsKey], list[Object]] = {}
    for one in sorted(slices, key=name):
        existing.setdefault((one["addressType"], ports_key(one.get("ports") or ())), []).append(one)
    plan = SlicePlan()
    for group, (ports, wanted) in mirrored.groups.items():
        found = existing.pop(group, [])
        if not wanted:
            plan.delete += found
            continue
        new = _slice(endpoints, group[0], ports, list(wanted.values()))
        plan.delete += found[1:]
        if not found:
            plan.create.append(new)
        elif not _says_the_same(found[0], new):
            plan.update.append(in_place_of(found[0], new))
    plan.delete += [one for found in existing.values() for one in found]
    recycle(plan)
    if endpoints["metadata"].get("deletionTimestamp"):
        plan.create = []
    return plan, mirrored.warned


def mirror(endpoints: Object, addresses_max: int) -> Mirrored:
    """What Endpoints say, in the words of slices; of each subset so many addresses at most."""
    mirrored = Mirrored()
    invalid = too_many = 0
    for subset in endpoints.get("subsets") or ():
        ports = [_port(port) for port in subset.get("ports") or ()]
        added = 0
        for address, ready in _addresses(subset):
            endpoint = _endpoint(address, ready)
            if endpoint is None:
                invalid += 1
            elif added == addresses_max:
                too_many += 1
            else:
                group = (family_of(endpoint["addresses"][0]), ports_key(ports))
                mirrored.groups.setdefault(group, (ports, {}))[1][endpoint_key(endpoint)] = endpoint
                added += 1
    if invalid:
        message = f"Skipped {invalid} invalid IP addresses when mirroring to EndpointSlices"
        mirrored.warned.append(Warned("InvalidIPAddress", message))
    if too_many:
        message = (
            f"A max of {addresses_max} addresses can be mirrored to EndpointSlices per Endpoints subset. "
            f"{invalid + too_many} addresses were skipped"
        )
        mirrored.warned.append(Warned("TooManyAddressesToMirror", message))
    return mirrored


def _addresses(subset: Object) -> Iterator[tuple[Object, bool]]:
    for key, ready in (("addresses", True), ("notReadyAddresses", False)):
        for address in subset.get(key) or ():
            yield address, ready


def _port(port: Object) -> Object:
    found = {"name": port.get("name") or "", "port": port["port"], "protocol": port.get("protocol") or "TCP"}
    return {**found, **({"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {})}


def _endpoint(address: Object, ready: bool) -> Object | None:
    """None for what is no IP address."""
    ip = canonical(address.get("ip") or "")
    if not ip:
        return None
    kept = {key: address[key] for key in ("targetRef", "nodeName", "hostname") if address.get(key)}
    return {"addresses": [ip], "conditions": {"ready": ready}, **kept}


def _slice(endpoints: Object, family: str, ports: list[Object], found: list[Object]) -> Object:
    told = {key: value for key, value in annotations_of(endpoints).items() if key not in (TRIGGER_TIME, LAST_APPLIED)}
    own = {**labels(endpoints), SERVICE_NAME: name(endpoints), MANAGED_BY: MANAGER}
    return {
        "apiVersion": ENDPOINTSLICES.api_version,
        "kind": ENDPOINTSLICES.kind,
        "metadata": {
            "generateName": f"{name(endpoints)}-",
            "namespace": namespace(endpoints),
            "labels": own,
            "annotations": told,
            "ownerReferences": [owner_reference({**endpoints, **_KIND})],
        },
        "addressType": family,
        "endpoints": found,
        "ports": ports,
    }


def _says_the_same(one: Object, new: Object) -> bool:
    """Whatever the order of its endpoints."""
    return (
        labels(one) == labels(new)
        and annotations_of(one) == annotations_of(new)
        and one["metadata"].get("ownerReferences") == new["metadata"]["ownerReferences"]
        and _by_key(one) == _by_key(new)
    )


def _by_key(one: Object) -> Mapping[Any, Object]:
    return {endpoint_key(endpoint): endpoint for endpoint in one.get("endpoints") or ()}
