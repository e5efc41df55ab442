"""Routes to the pods of the other nodes: each node's podCIDR by way of that node's address.

Source: https://kubernetes.io/docs/concepts/cluster-administration/networking/
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from apiclient.clock import Clock
from apiclient.informer import Informer
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery.meta import Object, get_path
from apimachinery.resources import NODES
from kubelet.network import PodNetwork
from kubelet.signals import Signal

logger = logging.getLogger(__name__)

RETRY_SECONDS = 5.0
# Nodes that come up together change the table once, not once each.
SETTLE_SECONDS = 0.02


class Routes:
    """Keeps this node's routes as the Nodes say."""

    def __init__(self, client: Client, network: PodNetwork, node_name: str, clock: Clock) -> None:
        self._network = network
        self._node_name = node_name
        self._clock = clock
        self._signal = Signal(clock)
        self._nodes = Informer(client, NODES, transform=_essence, clock=clock)
        self._nodes.add_handler(self._changed)

    async def run(self) -> None:
        """Follow the Nodes until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._nodes.run())
            await self._nodes.wait_synced()
            await self._keep()

    async def _keep(self) -> None:
        made: dict[str, str] | None = None
        while True:
            seen, until = self._signal.version, None
            wanted = routes(self._nodes.list(), but=self._node_name)
            if wanted != made:
                try:
                    await self._network.sync_routes(wanted)
                    made = wanted
                    logger.info(kv("routes to other nodes", nodes=len(wanted)))
                except (OSError, ValueError) as error:
                    logger.warning(kv("routes not made", error=str(error)))
                    until = self._clock.monotonic() + RETRY_SECONDS
            await self._signal.wait(seen, until)
            await self._clock.sleep(SETTLE_SECONDS)

    def _changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        if old is None or new is None or routes([old], but="") != routes([new], but=""):
            self._signal.notify()


def routes(nodes: Iterable[Object], *, but: str) -> dict[str, str]:
    """{podCIDR: address} of these nodes, as far as they have both, all but the one of a name."""
    return {
        get_path(node, "spec", "podCIDR"): address
        for node in nodes
        if node["metadata"]["name"] != but and get_path(node, "spec", "podCIDR")
        for address in [internal_ip(node)]
        if address
    }


def internal_ip(node: Object) -> str:
    """The address by which other nodes reach a node, or ""."""
    for entry in get_path(node, "status", "addresses", default=[]):
        if entry["type"] == "InternalIP":
            return str(entry["address"])
    return ""


def _essence(node: Object) -> Object:
    """What is kept of a node: a thousand whole ones would weigh more than everything else here."""
    metadata = node["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {key: metadata[key] for key in ("name", "uid", "resourceVersion")},
        "spec": {"podCIDR": get_path(node, "spec", "podCIDR", default="")},
        "status": {"addresses": get_path(node, "status", "addresses", default=[])},
    }
