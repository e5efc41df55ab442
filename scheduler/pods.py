"""What a pod takes up on the node that it runs on: resources and host ports, counted as Kubernetes counts them.

Source: https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/ and
https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from apiclient.logs import kv
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.quantity import NANO, parse

logger = logging.getLogger(__name__)

CPU, MEMORY, EPHEMERAL_STORAGE, PODS = "cpu", "memory", "ephemeral-storage", "pods"

# What a container that names no request is taken to use when nodes are scored, so that many of them do not all
# end up on one node: 100 millicores and 200 MiB, in nano-units as all sums here.
SCORED_WHEN_MISSING = {CPU: NANO // 10, MEMORY: 200 * 2**20 * NANO}

# Columns are 64 bit wide: no single amount may be so large that the sum over a node's pods could overflow.
AMOUNT_MAX = 2**53

Requests = dict[str, int]


class HostPort(NamedTuple):
    """A port of the node itself that a pod wants; "0.0.0.0" is every address of the node."""

    ip: str
    protocol: str
    port: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What a pod takes up: `requests` in millicores of cpu and whole units of the rest, none of them zero.

    `scored_cpu` and `scored_memory` are the requests with which nodes are scored.
    """

    requests: tuple[tuple[str, int], ...]
    scored_cpu: int
    scored_memory: int
    ports: tuple[HostPort, ...] = ()

    def request(self, resource: str) -> int:
        """The amount of one resource; 0 if none is asked for."""
        return dict(self.requests).get(resource, 0)


def usage_of(pod: Object) -> Usage:
    """What this pod takes up."""
    requests = {name: amount(name, nanos) for name, nanos in pod_requests(pod).items()}
    scored = pod_requests(pod, SCORED_WHEN_MISSING)
    return Usage(
        requests=tuple(sorted((name, value) for name, value in requests.items() if value)),
        scored_cpu=amount(CPU, scored.get(CPU, 0)),
        scored_memory=amount(MEMORY, scored.get(MEMORY, 0)),
        ports=host_ports(pod),
    )


def usage_fields(pod: Object) -> list[Any]:
    """The fields from which `usage_of` is computed: pods that are equal in them take up the same."""
    spec = pod["spec"]
    fields: list[Any] = [[c.get("resources"), c.get("ports")] for c in spec["containers"]]
    fields += [[c.get("resources"), c.get("ports"), c.get("restartPolicy")] for c in spec.get("initContainers") or ()]
    fields += [len(spec["containers"]), spec.get("overhead"), spec.get("resources")]
    status = pod.get("status") or {}
    if any("resources" in s for s in _container_statuses(status)):
        # Only a pod that runs has these; they matter while it is being resized.
        names = [c["name"] for c in (*spec["containers"], *(spec.get("initContainers") or ()))]
        told = [[s.get("name"), s.get("resources"), s.get("allocatedResources")] for s in _container_statuses(status)]
        fields += [names, told, _resize_infeasible(pod)]
    return fields


def amount(resource: str, nanos: int) -> int:
    """Nano-units in the unit that columns hold: millicores of cpu, whole units of all else, rounded up."""
    unit = NANO // 1000 if resource == CPU else NANO
    return min(max(-(-nanos // unit), 0), AMOUNT_MAX)


def amounts(quantities: Mapping[str, Any] | None) -> Requests:
    """The amounts that a node says it has, in the units of columns; what can't be read counts as absent."""
    found: Requests = {}
    for name, text in (quantities or {}).items():
        if is_scheduled(name):
            try:
                found[name] = amount(name, parse(text).nanos)
            except ValueError as error:
                logger.warning(kv("not a quantity", resource=name, quantity=text, error=error))
    return found


def is_scheduled(resource: str) -> bool:
    """True for the resources that are counted: the four of every node, huge pages, and extended resources."""
    if resource in (CPU, MEMORY, EPHEMERAL_STORAGE, PODS):
        return True
    return "/" in resource or resource.startswith(("hugepages-", "attachable-volumes-"))


def pod_requests(pod: Object, when_missing: Mapping[str, int] | None = None) -> Requests:
    """Nano-units of each resource that the pod asks for.

    Containers run together, so their requests add up. Init containers run one after the other and before them, so
    each counts only as a minimum; one with restartPolicy Always (a sidecar) stays and counts like a container, and
    beside every init container that follows it. Requests of the pod itself replace the sum, overhead comes on top.
    `when_missing` stands in for requests that neither a container nor the pod names.
    """
    spec = pod["spec"]
    own = {
        name: parse(text).nanos
        for name, text in (get_path(spec, "resources", "requests") or {}).items()
        if name in (CPU, MEMORY) or name.startswith("hugepages-")
    }
    stand_ins = {name: nanos for name, nanos in (when_missing or {}).items() if name not in own}
    status = {s["name"]: s for s in _container_statuses(pod.get("status") or {}) if s.get("resources") is not None}
    infeasible = bool(status) and _resize_infeasible(pod)

    def requests_of(container: Object, *, resizable: bool) -> Requests:
        found = _nanos(get_path(container, "resources", "requests"))
        if resizable and (told := status.get(container["name"])) is not None:
            found = _max(
                {} if infeasible else found,
                _nanos(get_path(told, "resources", "requests")),
                _nanos(told.get("allocatedResources")),
            )
        return {**stand_ins, **found}

    total: Requests = {}
    for container in spec["containers"]:
        total = _sum(total, requests_of(container, resizable=True))
    sidecars: Requests = {}
    highest: Requests = {}
    for container in spec.get("initContainers") or ():
        stays = container.get("restartPolicy") == "Always"
        asked = requests_of(container, resizable=stays)
        if stays:
            total, sidecars = _sum(total, asked), _sum(sidecars, asked)
            highest = _max(highest, sidecars)
        else:
            highest = _max(highest, _sum(sidecars, asked))
    total = {**_max(total, highest), **own}
    return _sum(total, _nanos(spec.get("overhead")))


def host_ports(pod: Object) -> tuple[HostPort, ...]:
    """The host ports of the containers that run for as long as the pod does."""
    spec = pod["spec"]
    sidecars = (c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")
    wanted = {
        HostPort(port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", port["hostPort"])
        for container in (*spec["containers"], *sidecars)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }
    return tuple(sorted(wanted))


def is_terminal(pod: Object) -> bool:
    """True once a pod has ended for good: what it took up is free again."""
    return get_path(pod, "status", "phase") in ("Succeeded", "Failed")


def node_name(pod: Object) -> str:
    """The node that the pod is assigned to, or ""."""
    return pod["spec"].get("nodeName") or ""


def nominated_node(pod: Object) -> str:
    """The node where room is made for the pod, or ""."""
    return (pod.get("status") or {}).get("nominatedNodeName") or ""


def priority(pod: Object) -> int:
    """The pod's priority; 0 if it has none."""
    return pod["spec"].get("priority") or 0


def standing(pod: Object) -> tuple[int, str]:
    """A pod's priority and when it was started ("" if it has not been): what makes it worth keeping."""
    return priority(pod), (pod.get("status") or {}).get("startTime") or ""


def _container_statuses(status: Object) -> Iterator[Object]:
    yield from status.get("containerStatuses") or ()
    yield from status.get("initContainerStatuses") or ()


def _resize_infeasible(pod: Object) -> bool:
    condition = find_condition(pod, "PodResizePending")
    return condition is not None and condition.get("reason") == "Infeasible"


def _nanos(quantities: Mapping[str, Any] | None) -> Requests:
    return {
        name: parse(text).nanos for name, text in (quantities or {}).items() if is_scheduled(name) and name != PODS
    }


def _sum(*all_requests: Requests) -> Requests:
    names = _names(all_requests)
    return {name: sum(requests.get(name, 0) for requests in all_requests) for name in names}


def _max(*all_requests: Requests) -> Requests:
    names = _names(all_requests)
    return {name: max(requests.get(name, 0) for requests in all_requests) for name in names}


def _names(all_requests: Iterable[Requests]) -> dict[str, None]:
    return {name: None for requests in all_requests for name in requests}
