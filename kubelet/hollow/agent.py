"""Hollow nodes and their pods, put together."""

from __future__ import annotations

import asyncio
import random

from apiclient.clock import Clock
from apiclient.rest import Client
from kubelet.hollow.nodes import HollowNodes
from kubelet.hollow.pods import HollowPods
from kubelet.hollow.settings import Settings


class HollowAgents:
    """The agents of all hollow nodes of one process."""

    def __init__(
        self,
        client: Client,
        settings: Settings,
        *,
        clock: Clock,
        rng: random.Random,
        lease_client: Client | None = None,
    ) -> None:
        """`lease_client` is for the Leases alone, so that nothing else may hold them up."""
        self.nodes = HollowNodes(
            client, lease_client or client, settings, clock=clock, rng=rng, changed=self._node_changed
        )
        self.pods = HollowPods(client, self.nodes, settings, clock=clock, rng=rng)

    async def run(self) -> None:
        """Be all these nodes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.nodes.run())
            group.create_task(self.pods.run())

    def _node_changed(self, node: str) -> None:
        self.pods.node_changed(node)
