"""Renews the Lease that says that this node lives.

The node lifecycle controller takes a node for lost when its Lease has not been renewed for a while, so nothing may
hold a renewal up: each is one request with a time limit of its own, over the client that this is given (give it
one of its own), and a failed one is tried again long before the Lease runs out.

Source: https://kubernetes.io/docs/concepts/architecture/leases/#node-heart-beats
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

from apiclient.clock import Clock
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery import errors
from apimachinery.errors import ApiError
from apimachinery.meta import Object, uid
from apimachinery.resources import LEASES
from apimachinery.time import rfc3339_micro

logger = logging.getLogger(__name__)

NAMESPACE = "kube-node-lease"
DEFAULT_DURATION_SECONDS = 4
RENEWALS_PER_DURATION = 4
JITTER = 0.04
# Of the time between two renewals: the first try after a failure comes soon, the later ones less so.
RETRY_FIRST, RETRY_MAX = 0.1, 1.0


class NodeLease:
    """The Lease of one node, owned by its Node; there is none as long as there is no Node.

    `node` waits until the Node is registered and returns it.
    """

    def __init__(
        self,
        client: Client,
        clock: Clock,
        node_name: str,
        *,
        node: Callable[[], Awaitable[Object]],
        duration_seconds: int = DEFAULT_DURATION_SECONDS,
        rng: random.Random | None = None,
    ) -> None:
        self._client = client
        self._clock = clock
        self._name = node_name
        self._node = node
        self._duration = duration_seconds
        self._rng = rng or random.Random()
        self._known: Object | None = None
        self._owner: Object | None = None

    async def run(self) -> None:
        """Renew the Lease four times in its duration, until cancelled."""
        interval = self._duration / RENEWALS_PER_DURATION
        failures = 0
        while True:
            if self._known is None:
                self._owner = await self._node()
            try:
                # Shorter than the Lease lasts: an answer that never comes must leave time for another try.
                async with asyncio.timeout(2 * interval):
                    await self._renew()
                if failures:
                    logger.info(kv("lease renewed again", node=self._name, failures=failures))
                failures, wait = 0, interval
            except (ApiError, TimeoutError) as error:
                if failures == 0:
                    why = error.message if isinstance(error, ApiError) else "no answer in time"
                    logger.warning(kv("lease not renewed", node=self._name, error=why))
                wait = interval * min(RETRY_FIRST * 2**failures, RETRY_MAX)
                failures = min(failures + 1, 100)
            await self._clock.sleep(wait * (1 + self._rng.uniform(0, JITTER)))

    async def _renew(self) -> None:
        """Write the Lease over the version known; it is read only if that is not the current one any more."""
        if self._known is None:
            self._known = await self._take()
            return
        try:
            self._known = await self._client.update(LEASES, self._renewed(self._known))
        except ApiError as error:
            if errors.is_conflict(error) or errors.is_not_found(error):
                self._known = None
            raise

    async def _take(self) -> Object:
        """Renew the Lease that an earlier agent of this node has left, or make one."""
        try:
            return await self._client.update(
                LEASES, self._renewed(await self._client.get(LEASES, self._name, NAMESPACE))
            )
        except ApiError as error:
            if not errors.is_not_found(error):
                raise
        metadata = {"name": self._name, "namespace": NAMESPACE}
        lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
        return await self._client.create(LEASES, self._renewed(lease), NAMESPACE)

    def _renewed(self, lease: Object) -> Object:
        """This Lease as of now. Its owner is the Node, so that it goes when the Node is deleted."""
        spec = {
            **(lease.get("spec") or {}),
            "holderIdentity": self._name,
            "leaseDurationSeconds": self._duration,
            "renewTime": rfc3339_micro(self._clock.now()),
        }
        owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": uid(self._owner or {"metadata": {}})}
        return {**lease, "metadata": {**lease["metadata"], "ownerReferences": [owner]}, "spec": spec}
