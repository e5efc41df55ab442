"""Where the pods behind a Service are: for webhooks, for APIs that others serve, and for the `proxy` subresource.

Whoever is on a node reaches a Service by its cluster IP; the API server need not be on one, and asks the endpoints
themselves.

Source: k8s.io/apiserver/pkg/util/proxy (ResolveEndpoint).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from apimachinery.errors import not_found, service_unavailable
from apimachinery.meta import Object
from apimachinery.resources import ENDPOINTS, ENDPOINTSLICES, PODS, SERVICES

if TYPE_CHECKING:
    from apiserver.admission.plugin import Cluster

SERVICE_NAME = "kubernetes.io/service-name"


def addresses(cluster: Cluster, namespace: str, name: str, port: int) -> Sequence[tuple[str, int]]:
    """Where a port of a Service is answered: never empty. Raises ApiError 404 and 503."""
    service = cluster.get(SERVICES, namespace, name)
    if service is None:
        raise not_found(SERVICES.plural, name)
    spec = service["spec"]
    if spec.get("type") == "ExternalName":
        return [(spec["externalName"], port)]
    port_name = name_of_port(service, port)
    found = [(address, number) for address, number, _ in endpoints(cluster, namespace, name, port_name)]
    if not found:
        raise service_unavailable(f'no endpoints available for service "{name}"')
    return found


def name_of_port(service: Object, port: int) -> str:
    """What a Service calls its port of this number: "" if it has no name. Raises ApiError 503."""
    name = next((one.get("name") or "" for one in service["spec"].get("ports") or () if one["port"] == port), None)
    if name is None:
        raise service_unavailable(f'no service port {port} found for service "{service["metadata"]["name"]}"')
    return name


def endpoints(cluster: Cluster, namespace: str, service: str, port: str) -> Iterator[tuple[str, int, str]]:
    """The ready endpoints of a Service's port: (address, port, name of the pod, "" if it is none)."""
    slices = [
        one
        for one in cluster.list(ENDPOINTSLICES, namespace)
        if (one["metadata"].get("labels") or {}).get(SERVICE_NAME) == service
    ]
    for one in slices:
        for number in _numbers(one.get("ports"), port):
            for endpoint in one.get("endpoints") or ():
                if (endpoint.get("conditions") or {}).get("ready") is not False and endpoint.get("addresses"):
                    yield endpoint["addresses"][0], number, _pod(endpoint)
    old = cluster.get(ENDPOINTS, namespace, service) if not slices else None
    for subset in (old or {}).get("subsets") or ():
        for number in _numbers(subset.get("ports"), port):
            for address in subset.get("addresses") or ():
                yield address["ip"], number, _pod(address)


def _numbers(ports: list[dict[str, Any]] | None, name: str) -> Iterator[int]:
    return (one["port"] for one in ports or () if (one.get("name") or "") == name and one.get("port"))


def _pod(endpoint: Object) -> str:
    reference: dict[str, Any] = endpoint.get("targetRef") or {}
    return reference.get("name") or "" if reference.get("kind") == PODS.kind else ""
