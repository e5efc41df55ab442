"""How the endpoints of a Service are shared out among EndpointSlices: pure decisions.

Endpoints with the same ports share slices of one address family, a limited number each. As few slices as can be are
written: what stays where it is stays, changed slices are filled first, then one that has room for all that is left,
then new ones. Slices that are not needed any more become what would otherwise be created.

Source: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/,
kubernetes/staging/src/k8s.io/endpointslice/reconciler.go
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apimachinery.meta import (
    Object,
    deletion_requested,
    get_path,
    labels,
    name,
    namespace,
    owner_reference,
    resource_version,
    uid,
)
from apimachinery.meta import (
    annotations as annotations_of,
)
from apimachinery.resources import ENDPOINTSLICES
from controllers.pods import is_ready, node_name
from controllers.service_endpoints import (
    HEADLESS,
    address_families,
    addresses,
    endpoint_ports,
    family_of,
    host_name,
    is_endpoint,
    is_headless,
    names_ports,
    publishes_not_ready,
    target_reference,
    with_trigger_time,
)
from controllers.topology_hints import add_hints

MANAGED_BY, SERVICE_NAME = "endpointslice.kubernetes.io/managed-by", "kubernetes.io/service-name"
MANAGER = "endpointslice-controller.k8s.io"
TOPOLOGY_MODES = ("service.kubernetes.io/topology-aware-hints", "service.kubernetes.io/topology-mode")
SAME_NODE = "PreferSameNode"
SAME_ZONE = ("PreferClose", "PreferSameZone", SAME_NODE)
ENDPOINTS_PER_SLICE = 100

_RESERVED_LABELS = (MANAGED_BY, SERVICE_NAME, HEADLESS)
_SERVICE_KIND = {"apiVersion": "v1", "kind": "Service"}

# The zone of a node: "" if it is in none, None if there is no such node.
ZoneOf = Callable[[str], str | None]
PortsKey = tuple[tuple[str, int, str, str], ...]


@dataclass(slots=True)
class SlicePlan:
    """The slices to write, in this order."""

    create: list[Object] = field(default_factory=list)
    update: list[Object] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    # By family why there are no hints that were asked for; "" if there are.
    hints: dict[str, str] = field(default_factory=dict)

    def add(self, other: SlicePlan) -> None:
        """Do what the other plan says, too."""
        self.create += other.create
        self.update += other.update
        self.delete += other.delete
        self.hints |= other.hints


def plan_slices(
    service: Object,
    pods: Sequence[Object],
    slices: Iterable[Object],
    zone_of: ZoneOf,
    *,
    ratios: Mapping[str, float] | None = None,
    trigger_time: str = "",
    endpoints_max: int = ENDPOINTS_PER_SLICE,
) -> SlicePlan:
    """What makes these slices of a service, its own, hold the endpoints that these pods are.

    `ratios` are the zones' shares of all CPU, for services whose hints go by these.
    """
    families = address_families(service)
    plan, existing = SlicePlan(), list(slices)
    plan.delete += [one for one in existing if one["addressType"] not in families]
    for family in families:
        of_family = [one for one in existing if one["addressType"] == family]
        part, strangers = _plan_family(service, pods, of_family, zone_of, family, endpoints_max)
        if topology_mode_is_auto(service):
            written = {name(one) for one in (*part.update, *part.delete, *strangers)}
            untouched = [one for one in of_family if name(one) not in written]
            more, part.hints[family] = add_hints([*part.create, *part.update], untouched, ratios or {})
            part.update += more
        recycle(part)
        part.delete += strangers
        plan.add(part)
    if deletion_requested(service):
        plan.create = []  # the garbage collector would find them too late
    plan.create = [_annotated(one, trigger_time) for one in plan.create]
    plan.update = [_annotated(one, trigger_time) for one in plan.update]
    return plan


def _annotated(one: Object, trigger_time: str) -> Object:
    return {
        **one,
        "metadata": {**one["metadata"], "annotations": with_trigger_time(annotations_of(one), trigger_time)},
    }


def _plan_family(
    service: Object, pods: Sequence[Object], slices: list[Object], zone_of: ZoneOf, family: str, endpoints_max: int
) -> tuple[SlicePlan, list[Object]]:
    """What to write, but for hints; and the slices of services of the same name that are gone."""
    owned = [one for one in slices if is_owned_by(one, service)]
    strangers = [one for one in slices if not is_owned_by(one, service)]
    existing: dict[PortsKey, list[Object]] = {}
    for one in sorted(owned, key=name):
        existing.setdefault(ports_key(one.get("ports") or ()), []).append(one)
    plan = SlicePlan()
    wanted = _wanted(service, pods, zone_of, family)
    for key, (ports, endpoints) in wanted.items():
        empty = new_slice(service, family, ports)
        plan.add(_share_out(service, empty, existing.get(key, []), endpoints, endpoints_max))
    plan.delete += [one for key, found in existing.items() if key not in wanted for one in found]
    if len(plan.delete) == len(owned) and not plan.create:
        placeholder = new_slice(service, family, [])
        if len(plan.delete) == 1 and _says_the_same(plan.delete[0], placeholder):
            plan.delete = []
        else:
            plan.create = [placeholder]
    return plan, strangers


def _wanted(
    service: Object, pods: Iterable[Object], zone_of: ZoneOf, family: str
) -> dict[PortsKey, tuple[list[Object], dict[Any, Object]]]:
    """By ports: the endpoints of a family, by what identifies them."""
    wanted: dict[PortsKey, tuple[list[Object], dict[Any, Object]]] = {}
    all_alike = not names_ports(service)
    ports: list[Object] | None = None
    key: PortsKey = ()
    for pod in pods:
        if not is_endpoint(pod):
            continue
        if ports is None or not all_alike:
            ports = endpoint_ports(service, pod)
            key = ports_key(ports)
        _, endpoints = wanted.setdefault(key, (ports, {}))
        zone = zone_of(node_name(pod))
        if zone is None and not publishes_not_ready(service):
            continue  # nobody can say where that is: the pod is about to be collected, or its node to be made
        endpoint = endpoint_of(pod, service, family, zone or "")
        if endpoint["addresses"]:
            endpoints[endpoint_key(endpoint)] = endpoint
    return wanted


def endpoint_of(pod: Object, service: Object, family: str, zone: str) -> Object:
    """What a slice says of a pod; without addresses if it has none of this family."""
    serving, terminating = is_ready(pod), deletion_requested(pod)
    ready = publishes_not_ready(service) or (serving and not terminating)
    endpoint: Object = {
        "addresses": [address for address in addresses(pod) if family_of(address) == family],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": target_reference(pod),
    }
    named = {"nodeName": node_name(pod), "zone": zone, "hostname": host_name(pod, service)}
    endpoint |= {key: value for key, value in named.items() if value}
    if ready and (hints := _hints(service, endpoint)):
        endpoint["hints"] = hints
    return endpoint


def _hints(service: Object, endpoint: Object) -> Object:
    """Whose traffic an endpoint should get, by `trafficDistribution`; the older annotation goes before it."""
    distribution = get_path(service, "spec", "trafficDistribution")
    if distribution not in SAME_ZONE or topology_mode_is_auto(service):
        return {}
    hints: Object = {}
    if zone := endpoint.get("zone"):
        hints["forZones"] = [{"name": zone}]
    if distribution == SAME_NODE and (node := endpoint.get("nodeName")):
        hints["forNodes"] = [{"name": node}]
    return hints


def topology_mode_is_auto(service: Object) -> bool:
    """Whether the older annotation asks for hints; of its two names the oldest counts."""
    found = annotations_of(service)
    mode = next((found[key] for key in TOPOLOGY_MODES if key in found), "")
    return mode in ("Auto", "auto")


def _share_out(
    service: Object, empty: Object, existing: list[Object], wanted: dict[Any, Object], endpoints_max: int
) -> SlicePlan:
    """Put the endpoints of the same ports where they are, where there is room, or into new slices."""
    plan, untouched, auto = SlicePlan(), [], topology_mode_is_auto(service)
    for one in existing:
        before = one.get("endpoints") or []
        found = [
            (endpoint, _as_before(wanted.pop(endpoint_key(endpoint), None), endpoint, auto)) for endpoint in before
        ]
        kept = [new for _, new in found if new is not None]
        if before and not kept:
            plan.delete.append(one)
        elif any(new != endpoint for endpoint, new in found) or _own_labels(one) != _own_labels(service):
            plan.update.append(_with(one, kept, service))
        else:
            untouched.append(one)
    rest = list(wanted.values())
    for one in sorted(plan.update, key=_size, reverse=True):
        _fill(one, rest, endpoints_max)
    while rest:
        # Only if all that is left fits: else two slices would be written where one can be.
        roomy = [one for one in untouched if len(rest) < endpoints_max and _size(one) + len(rest) <= endpoints_max]
        if roomy:
            one = max(roomy, key=_size)
            untouched.remove(one)
            filled = _with(one, list(one.get("endpoints") or ()), service)
            plan.update.append(filled)
        else:
            filled = {**empty, "endpoints": []}
            plan.create.append(filled)
        _fill(filled, rest, endpoints_max)
    return plan


def _as_before(wanted: Object | None, endpoint: Object, auto: bool) -> Object | None:
    """With the hints that it has, where these are decided about later, for all endpoints together."""
    if wanted is None or not auto or "hints" not in endpoint:
        return wanted
    return {**wanted, "hints": endpoint["hints"]}


def _fill(one: Object, rest: list[Object], endpoints_max: int) -> None:
    """Move as many endpoints into a slice, which is the plan's own, as it has room for."""
    room = max(endpoints_max - _size(one), 0)
    one["endpoints"] += rest[:room]
    del rest[:room]


def _size(one: Object) -> int:
    return len(one.get("endpoints") or ())


def _with(one: Object, endpoints: list[Object], service: Object) -> Object:
    return {**one, "metadata": {**one["metadata"], "labels": slice_labels(service)}, "endpoints": endpoints}


def recycle(plan: SlicePlan) -> None:
    """Turn slices that would be deleted into those that would be created, as far as they are of the same family."""
    for old in list(plan.delete):
        new = next((one for one in reversed(plan.create) if one["addressType"] == old["addressType"]), None)
        if new is not None:
            plan.create.remove(new)
            plan.delete.remove(old)
            plan.update.append(in_place_of(old, new))


def in_place_of(old: Object, new: Object) -> Object:
    """What makes a new slice out of an old one, provided that this is still the one that was seen."""
    kept = {"name": name(old), "uid": uid(old), "resourceVersion": resource_version(old)}
    metadata = {key: value for key, value in new["metadata"].items() if key != "generateName"}
    return {**new, "metadata": {**metadata, **kept}}


def new_slice(service: Object, family: str, ports: Sequence[Object]) -> Object:
    """A slice without endpoints."""
    return {
        "apiVersion": ENDPOINTSLICES.api_version,
        "kind": ENDPOINTSLICES.kind,
        "metadata": {
            "generateName": f"{name(service)}-",
            "namespace": namespace(service),
            "labels": slice_labels(service),
            "ownerReferences": [owner_reference({**service, **_SERVICE_KIND})],
        },
        "addressType": family,
        "endpoints": [],
        "ports": list(ports),
    }


def slice_labels(service: Object) -> dict[str, str]:
    """The service's labels, and those by which its slices are found."""
    headless = {HEADLESS: ""} if is_headless(service) else {}
    return {**_own_labels(service), **headless, SERVICE_NAME: name(service), MANAGED_BY: MANAGER}


def _own_labels(obj: Object) -> dict[str, str]:
    return {key: value for key, value in labels(obj).items() if key not in _RESERVED_LABELS}


def _says_the_same(one: Object, placeholder: Object) -> bool:
    parts = ("addressType", "endpoints", "ports")
    metadata = ("labels", "ownerReferences")
    return all((one.get(key) or []) == (placeholder.get(key) or []) for key in parts) and all(
        one["metadata"].get(key) == placeholder["metadata"].get(key) for key in metadata
    )


def is_owned_by(one: Object, service: Object) -> bool:
    """Whether this very service, and none of its name before, is an owner of a slice."""
    wanted = ("v1", "Service", uid(service))
    owners = one["metadata"].get("ownerReferences") or ()
    return any((owner["apiVersion"], owner["kind"], owner["uid"]) == wanted for owner in owners)


def ports_key(ports: Iterable[Object]) -> PortsKey:
    """What is the same for slices with the same ports, in whichever order."""
    return tuple(
        sorted(
            (
                port.get("name") or "",
                port.get("port") or 0,
                port.get("protocol") or "TCP",
                port.get("appProtocol") or "",
            )
            for port in ports
        )
    )


def endpoint_key(endpoint: Object) -> tuple[Any, ...]:
    """What makes two endpoints the same one, whatever else is said of them."""
    target = endpoint.get("targetRef") or {}
    identity = (target.get("kind"), target.get("namespace"), target.get("name"))
    return (tuple(sorted(endpoint["addresses"])), endpoint.get("hostname") or "", *identity)
