"""What a pod is to the services that select it, as pure functions.

Source: https://kubernetes.io/docs/concepts/services-networking/service/,
kubernetes/staging/src/k8s.io/endpointslice (utils.go, util/controller_utils.go, util/trigger_time_tracker.go)
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from apimachinery.meta import Object, deletion_requested, get_path, labels, name, namespace, uid
from controllers.pods import is_finished, is_ready, node_name, ready_condition

IPV4, IPV6 = "IPv4", "IPv6"
HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"
LEADER = "control-plane.alpha.kubernetes.io/leader"
_NO_ADDRESS = ("", "None")
_KNOWN_ADDRESSES = 4096


def selector_of(service: Object) -> Mapping[str, str] | None:
    """The labels of the pods behind a service; None if somebody else says what its endpoints are."""
    if get_path(service, "spec", "type") == "ExternalName":
        return None
    return get_path(service, "spec", "selector") or None


def is_headless(service: Object) -> bool:
    """True for a service without an address of its own."""
    return get_path(service, "spec", "clusterIP", default="") in _NO_ADDRESS


def publishes_not_ready(service: Object) -> bool:
    """True if pods that are not ready count as if they were."""
    return bool(get_path(service, "spec", "publishNotReadyAddresses"))


def address_families(service: Object) -> tuple[str, ...]:
    """The families in which a service has endpoints."""
    if families := get_path(service, "spec", "ipFamilies"):
        return tuple(families)
    if is_headless(service):
        return (IPV4, IPV6)
    return (family_of(service["spec"]["clusterIP"]),)


def family_of(address: str) -> str:
    """The family of an IP address."""
    return IPV6 if ":" in address else IPV4


def addresses(pod: Object) -> list[str]:
    """All IP addresses of a pod, in the form that compares."""
    status = pod.get("status") or {}
    listed = status.get("podIPs") or [{"ip": status.get("podIP")}]
    # The older family has one form only, and most pods are of that alone.
    return [canonical(ip) if ":" in ip else ip for one in listed if (ip := one.get("ip"))]


@lru_cache(_KNOWN_ADDRESSES)
def canonical(address: str) -> str:
    """An address as everybody writes it; "" for what is none."""
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return ""


def is_endpoint(pod: Object, *, terminating: bool = True) -> bool:
    """Whether a pod has an address and may answer there; one that is `terminating` may not, unless that is wanted."""
    status = pod.get("status") or {}
    has_address = status.get("podIP") or status.get("podIPs")
    return bool(has_address) and not is_finished(pod) and (terminating or not deletion_requested(pod))


def endpoint_facts(pod: Object) -> tuple[Any, ...]:
    """All of a pod, but for its labels, that its endpoints are made of."""
    spec = pod.get("spec") or {}
    told = (spec.get("hostname"), spec.get("subdomain"), node_name(pod))
    return (uid(pod), is_finished(pod), deletion_requested(pod), is_ready(pod), addresses(pod), *told)


def host_name(pod: Object, service: Object) -> str:
    """The name that a pod has below the service's, "" if none."""
    spec = pod.get("spec") or {}
    return str(spec.get("hostname") or "") if spec.get("subdomain") == name(service) else ""


def target_reference(pod: Object) -> Object:
    """How an endpoint names its pod."""
    return {"kind": "Pod", "namespace": namespace(pod), "name": name(pod), "uid": uid(pod)}


def endpoint_ports(service: Object, pod: Object) -> list[Object]:
    """Where a pod answers for each port of a service that it has."""
    found = []
    for port in get_path(service, "spec", "ports", default=()):
        number = find_port(pod, port)
        if number is not None:
            one = {"name": port.get("name") or "", "port": number, "protocol": port.get("protocol") or "TCP"}
            found.append({**one, **({"appProtocol": port["appProtocol"]} if port.get("appProtocol") else {})})
    return found


def find_port(pod: Object, service_port: Object) -> int | None:
    """The number of the port that a service's leads to; None if the pod has none of that name.

    Containers are asked in their order, and then the init containers that run beside them.
    """
    target = service_port.get("targetPort") or service_port["port"]
    if isinstance(target, int):
        return target
    wanted = (target, service_port.get("protocol") or "TCP")
    for container in _running_containers(pod):
        for port in container.get("ports") or ():
            if (port.get("name"), port.get("protocol") or "TCP") == wanted:
                return int(port["containerPort"])
    return None


def _running_containers(pod: Object) -> Iterator[Object]:
    yield from get_path(pod, "spec", "containers", default=())
    for container in get_path(pod, "spec", "initContainers", default=()):
        if container.get("restartPolicy") == "Always":
            yield container


def names_ports(service: Object) -> bool:
    """Whether pods of a service may answer at different ports."""
    return any(isinstance(port.get("targetPort"), str) for port in get_path(service, "spec", "ports", default=()))


def with_trigger_time(annotations: Mapping[str, str], since: str) -> dict[str, str]:
    """Annotations that say since when what is written now has been due; "" says nothing."""
    kept = {key: value for key, value in annotations.items() if key != TRIGGER_TIME}
    return {**kept, TRIGGER_TIME: since} if since else kept


@dataclass(slots=True)
class TriggerTimes:
    """When what the endpoints of services are made of has last changed, as far as they have been told of it.

    Times are compared as the API writes them, all in the same form.
    """

    _service: dict[str, str] = field(default_factory=dict)
    _pods: dict[str, dict[str, str]] = field(default_factory=dict)

    def since(self, key: str, service: Object, pods: Iterable[Object]) -> str:
        """The time of the earliest change since the last call; "" if there was none."""
        known = self._pods.get(key, {})
        now = {name(pod): (ready_condition(pod) or {}).get("lastTransitionTime") or "" for pod in pods}
        changed = [time for pod, time in now.items() if time > known.get(pod, "")]
        created = service["metadata"].get("creationTimestamp") or ""
        if created > self._service.get(key, ""):
            changed.append(created)
        self._service[key], self._pods[key] = created, now
        return min(changed, default="")

    def forget(self, key: str) -> None:
        """The service is gone, or has its endpoints from elsewhere."""
        self._service.pop(key, None)
        self._pods.pop(key, None)


def selects(service: Object, pod_labels: Mapping[str, str]) -> bool:
    """Whether a service selects pods of these labels."""
    selector = selector_of(service)
    return selector is not None and selector.items() <= pod_labels.items()


def labels_changed(old: Object, new: Object) -> bool:
    """Whether other services may select a pod than before."""
    return labels(old) != labels(new)
