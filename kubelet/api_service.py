"""How containers find the API server: the environment variables of the Service `kubernetes` of namespace `default`.

They name an address that the Service leads to, out of its EndpointSlice: Services have no data path yet, so that
nothing would answer at the Service's own address (docs/decisions/0012-where-pods-find-the-api-server.md).
Source: https://kubernetes.io/docs/tutorials/services/connect-applications-service/#environment-variables
"""

from __future__ import annotations

from apiclient.informer import Informer
from apiclient.rest import Client
from apimachinery.meta import Object
from apimachinery.resources import ENDPOINTSLICES
from kubelet.containers.service_links import Variables, service_variables

NAMESPACE, NAME = "default", "kubernetes"
SYNC_SECONDS_MAX = 10.0


class ApiService:
    """The API server's addresses as it publishes them; `run` follows them."""

    def __init__(self, client: Client) -> None:
        self._slices = Informer(client, ENDPOINTSLICES, namespace=NAMESPACE, field_selector=f"metadata.name={NAME}")

    async def run(self) -> None:
        """Follow the addresses until cancelled."""
        await self._slices.run()

    async def variables(self) -> Variables:
        """The variables; none if no address is published. Raises TimeoutError if that can't be known."""
        await self._slices.wait_synced(SYNC_SECONDS_MAX)
        found = self._slices.get(f"{NAMESPACE}/{NAME}")
        return address_variables(found) if found is not None else []


def address_variables(found: Object) -> Variables:
    """The variables that lead to the first ready address of an EndpointSlice, at its first port."""
    ready = [
        endpoint["addresses"][0]
        for endpoint in found.get("endpoints") or ()
        if endpoint.get("addresses") and (endpoint.get("conditions") or {}).get("ready") is not False
    ]
    ports = [port for port in found.get("ports") or () if port.get("port")]
    if not ready or not ports:
        return []
    port = ports[0]
    return service_variables(
        NAME, ready[0], [(port.get("name") or "", int(port["port"]), port.get("protocol") or "TCP")]
    )
