"""Where the `proxy` subresources of pods, services and nodes lead.

    pods/[SCHEME:]NAME[:PORT]/proxy        the pod's address; without a port that of its first container
    services/[SCHEME:]NAME[:PORT]/proxy    a pod behind the service, by the number or the name of its port
    nodes/[SCHEME:]NAME[:PORT]/proxy       the node's agent, or another port of the node

Only pods' own addresses are ever asked: whoever may write endpoints could otherwise have this server ask anybody.
What nodes say of themselves is believed as far as it leads to other machines.
Pure but for the choice among equals.

Source: kubernetes/pkg/registry/core/pod/strategy.go, node/strategy.go and service/storage/storage.go.
"""

from __future__ import annotations

import ipaddress
import random
from dataclasses import dataclass
from typing import Any

from apimachinery.errors import bad_request, not_found, service_unavailable
from apimachinery.meta import get_path
from apimachinery.resources import PODS, SERVICES
from apiserver.admission.plugin import Cluster
from apiserver.service_resolver import endpoints, name_of_port

# No number that is longer is looked at: reading one takes longer than it is long.
PORT_DIGITS_MAX = 10
_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Named:
    """What stands in the URL in place of a name."""

    scheme: str
    name: str
    port: str


@dataclass(frozen=True, slots=True)
class Place:
    """Somebody's address; without a port that of the scheme."""

    scheme: str
    host: str
    port: int | None = None


def split(what: str, text: str) -> Named:
    """Read `NAME`, `NAME:PORT` or `SCHEME:NAME:PORT`. Raises ApiError 400."""
    match text.split(":"):
        case [name]:
            named = Named("http", name, "")
        case [name, port]:
            named = Named("http", name, port)
        case [scheme, name, port] if scheme in ("", *_SCHEMES):
            named = Named(scheme or "http", name, port)
        case _:
            named = Named("", "", "")
    if not named.name:
        raise bad_request(f'invalid {what} request "{text}"')
    return named


def of_pod(cluster: Cluster, namespace: str, text: str) -> Place:
    """Where a pod is. Raises ApiError 400 and 404."""
    named = split("pod", text)
    pod = cluster.get(PODS, namespace, named.name)
    if pod is None:
        raise not_found(PODS.plural, named.name)
    port = named.port
    if not port:
        containers: list[dict[str, Any]] = get_path(pod, "spec", "containers", default=[])
        port = next((str(one["ports"][0]["containerPort"]) for one in containers if one.get("ports")), "")
    address = get_path(pod, "status", "podIP", default="")
    if not _may_be_asked(address):
        raise bad_request("address not allowed")
    return Place(named.scheme, address, _number(port) if port else None)


def of_service(cluster: Cluster, namespace: str, text: str) -> Place:
    """Where one of a service's pods is. Raises ApiError 400, 404 and 503."""
    named = split("service", text)
    port = named.port
    if _is_number(port):
        service = cluster.get(SERVICES, namespace, named.name)
        if service is None:
            raise not_found(SERVICES.plural, named.name)
        port = name_of_port(service, int(port))
    found = [
        (address, number)
        for address, number, pod in endpoints(cluster, namespace, named.name, port)
        if _is_of_pod(cluster, namespace, pod, address)
    ]
    if not found:
        raise service_unavailable(f'no endpoints available for service "{text}"')
    address, number = random.choice(found)
    return Place(named.scheme, address, number)


def _is_of_pod(cluster: Cluster, namespace: str, name: str, address: str) -> bool:
    pod = cluster.get(PODS, namespace, name) if name else None
    if pod is None or not _may_be_asked(address):
        return False
    known: list[dict[str, Any]] = get_path(pod, "status", "podIPs", default=[])
    return address in [get_path(pod, "status", "podIP", default=""), *(one.get("ip") for one in known)]


def _may_be_asked(address: str) -> bool:
    """Whether it is the address of one machine, and not of this one by whatever name."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    return not (found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified)


def _number(port: str) -> int:
    if not _is_number(port) or not 0 < int(port) < 1 << 16:
        raise bad_request(f'invalid port "{port}"')
    return int(port)


def _is_number(port: str) -> bool:
    return port.isascii() and port.isdigit() and len(port) < PORT_DIGITS_MAX


def of_node_port(named: Named, address: str) -> Place:
    """Where another port of a node than its agent's is. Raises ApiError 400."""
    if not _may_be_asked(address):
        raise bad_request("address not allowed")
    return Place(named.scheme, address, _number(named.port))
