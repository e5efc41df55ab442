"""The environment variables that tell containers where the services of their namespace are.

Only services that exist when a container starts are told of; all others are found by their names.
Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
"""

from __future__ import annotations

from collections.abc import Iterable

from apiclient.informer import Informer
from apiclient.rest import Client
from apimachinery.meta import Object, get_path
from apimachinery.resources import SERVICES

SYNC_SECONDS_MAX = 10.0
# Pods are told of the API server in a way of its own, whatever they say of service links.
API_SERVICE = ("default", "kubernetes")

Variables = list[tuple[str, str]]


class ServiceLinks:
    """The services of the cluster; `run` follows them."""

    def __init__(self, client: Client) -> None:
        self._services = Informer(client, SERVICES)
        self._services.add_index("namespace", lambda service: [service["metadata"]["namespace"]])

    async def run(self) -> None:
        """Follow the services until cancelled."""
        await self._services.run()

    async def variables(self, pod: Object) -> Variables:
        """What a pod is told; nothing if it wants no links. Raises TimeoutError if services can't be known."""
        if pod["spec"].get("enableServiceLinks") is False:
            return []
        await self._services.wait_synced(SYNC_SECONDS_MAX)
        return link_variables(self._services.by_index("namespace", pod["metadata"]["namespace"]))


def link_variables(services: Iterable[Object]) -> Variables:
    """The variables of all services that have an address, in the order of their names."""
    found: Variables = []
    for service in sorted(services, key=lambda service: str(service["metadata"]["name"])):
        metadata = service["metadata"]
        address = get_path(service, "spec", "clusterIP", default="")
        ports = get_path(service, "spec", "ports", default=[])
        if (metadata["namespace"], metadata["name"]) != API_SERVICE and address not in ("", "None") and ports:
            found += service_variables(metadata["name"], address, [_port(entry) for entry in ports])
    return found


def service_variables(name: str, address: str, ports: list[tuple[str, int, str]]) -> Variables:
    """The variables of one service; `ports` are (name, number, protocol), of which the first has short names."""
    prefix = _variable(name)
    first = str(ports[0][1])
    found = [(f"{prefix}_SERVICE_HOST", address), (f"{prefix}_SERVICE_PORT", first)]
    found += [(f"{prefix}_SERVICE_PORT_{_variable(port)}", str(number)) for port, number, _ in ports if port]
    host = f"[{address}]" if ":" in address else address
    urls = [f"{protocol.lower()}://{host}:{number}" for _, number, protocol in ports]
    found.append((f"{prefix}_PORT", urls[0]))
    for (_, number, protocol), url in zip(ports, urls, strict=True):
        of_port = f"{prefix}_PORT_{number}_{protocol.upper()}"
        found += [
            (of_port, url),
            (f"{of_port}_PROTO", protocol.lower()),
            (f"{of_port}_PORT", str(number)),
            (f"{of_port}_ADDR", address),
        ]
    return found


def _port(entry: Object) -> tuple[str, int, str]:
    return entry.get("name") or "", int(entry["port"]), entry.get("protocol") or "TCP"


def _variable(name: str) -> str:
    return name.upper().replace("-", "_")
