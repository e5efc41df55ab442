"""What the Endpoints of a Service say: pure decisions.

A subset is a set of ports together with all addresses at which each of them is answered. Endpoints hold 1000
addresses at most, of which those that are ready come first.

Source: https://kubernetes.io/docs/concepts/services-networking/service/#endpoints,
kubernetes/pkg/controller/endpoint, kubernetes/pkg/api/v1/endpoints/util.go
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apimachinery.meta import Object, get_path, labels, name, namespace
from apimachinery.meta import annotations as annotations_of
from apimachinery.resources import ENDPOINTS
from controllers.endpoint_slice_plan import ports_key
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

MANAGED_BY, MANAGER = "endpoints.kubernetes.io/managed-by", "endpoint-controller"
OVER_CAPACITY, TRUNCATED = "endpoints.kubernetes.io/over-capacity", "truncated"
ADDRESSES_MAX = 1000

# An address, and whether it is ready.
Placed = tuple[Object, bool]


def plan_endpoints(
    service: Object, pods: Iterable[Object], current: Object | None, *, trigger_time: str = ""
) -> Object | None:
    """The Endpoints to write in place of the current ones; None if these say it all."""
    whole = pack(service, pods)
    subsets, truncated = truncate(whole), count(whole) > ADDRESSES_MAX
    wanted_labels = endpoints_labels(service)
    if (
        current is not None
        and (current.get("subsets") or []) == subsets
        and labels(current) == wanted_labels
        and (annotations_of(current).get(OVER_CAPACITY) == TRUNCATED) == truncated
    ):
        return None
    told = annotations_of(current) if current is not None else {}
    told = {key: value for key, value in told.items() if key != OVER_CAPACITY}
    told = with_trigger_time(told, trigger_time) | ({OVER_CAPACITY: TRUNCATED} if truncated else {})
    metadata = (
        current["metadata"] if current is not None else {"name": name(service), "namespace": namespace(service)}
    )
    return {
        "apiVersion": ENDPOINTS.api_version,
        "kind": ENDPOINTS.kind,
        "metadata": {**metadata, "labels": wanted_labels, "annotations": told},
        "subsets": subsets,
    }


def endpoints_labels(service: Object) -> dict[str, str]:
    """The service's labels, and by whom its Endpoints are written."""
    own = {key: value for key, value in labels(service).items() if key != HEADLESS}
    return {**own, **({HEADLESS: ""} if is_headless(service) else {}), MANAGED_BY: MANAGER}


def pack(service: Object, pods: Iterable[Object]) -> list[Object]:
    """The subsets that these pods make, in an order that depends on nothing but what they are."""
    ports: dict[Any, Object] = {}
    placed: dict[Any, dict[tuple[str, str], Placed]] = {}
    publishes, all_alike = publishes_not_ready(service), not names_ports(service)
    keys: list[Any] | None = None
    for pod in pods:
        if not is_endpoint(pod, terminating=publishes) or (address := address_of(pod, service)) is None:
            continue
        if keys is None or not all_alike:
            found = _ports(service, pod)
            ports |= found
            keys = list(found)
        for key in keys:
            at = (address["ip"], address["targetRef"]["uid"])
            placed.setdefault(key, {})[at] = (address, publishes or is_ready(pod))
    # Ports that the same pods answer, equally ready, share a subset.
    alike: dict[Any, list[Any]] = {}
    for key, addressed in sorted(placed.items(), key=lambda one: one[0]):
        alike.setdefault(frozenset((at, ready) for at, (_, ready) in addressed.items()), []).append(key)
    return [_subset([ports[key] for key in group if ports[key]], placed[group[0]]) for group in alike.values()]


def address_of(pod: Object, service: Object) -> Object | None:
    """A pod's address in the first of the service's families; None if it has none in that."""
    found = addresses(pod)
    if get_path(service, "spec", "ipFamilies") or not is_headless(service):
        family = address_families(service)[0]
        found = [address for address in found if family_of(address) == family]
    if not found:
        return None
    told = {"nodeName": node_name(pod), "hostname": host_name(pod, service)}
    named = {key: value for key, value in told.items() if value}
    return {"ip": found[0], **named, "targetRef": target_reference(pod)}


def _ports(service: Object, pod: Object) -> dict[Any, Object]:
    """By what identifies them, the ports at which a pod answers; of a headless service without ports none at all."""
    if is_headless(service) and not get_path(service, "spec", "ports"):
        return {(): {}}
    found = endpoint_ports(service, pod)
    return {ports_key([port]): {key: value for key, value in port.items() if value} for port in found}


def _subset(ports: list[Object], placed: dict[tuple[str, str], Placed]) -> Object:
    in_order = [placed[at] for at in sorted(placed)]
    parts = {
        "addresses": [address for address, ready in in_order if ready],
        "notReadyAddresses": [address for address, ready in in_order if not ready],
        "ports": ports,
    }
    return {key: value for key, value in parts.items() if value}


def count(subsets: Iterable[Object], *keys: str) -> int:
    """How many addresses there are, of these lists of the subsets (without any: of both)."""
    parts = keys or ("addresses", "notReadyAddresses")
    return sum(len(subset.get(key) or ()) for subset in subsets for key in parts)


def truncate(subsets: Sequence[Object]) -> list[Object]:
    """As much of the subsets as Endpoints may hold: of each its share, and those that are ready before the others."""
    total = count(subsets)
    if total <= ADDRESSES_MAX:
        return list(subsets)
    ready = count(subsets, "addresses")
    only_ready = ready > ADDRESSES_MAX
    key, room = ("addresses", ADDRESSES_MAX) if only_ready else ("notReadyAddresses", ADDRESSES_MAX - ready)
    of = ready if only_ready else total - ready
    left, cut = room, []
    for subset in subsets:
        listed = subset.get(key) or []
        # Rounded up, so that the last ones get less than their share.
        share = min(-(-len(listed) * room // of), left)
        left -= min(share, len(listed))
        kept = {**subset, key: listed[:share]}
        if only_ready:
            kept.pop("notReadyAddresses", None)
        cut.append({part: value for part, value in kept.items() if value})
    return [subset for subset in cut if subset.get("addresses") or subset.get("notReadyAddresses")]
