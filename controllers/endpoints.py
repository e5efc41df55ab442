"""Keeps the Endpoints of Services with a selector, for clients that do not read EndpointSlices yet.

Source: https://kubernetes.io/docs/concepts/services-networking/service/#endpoints, kubernetes/pkg/controller/endpoint
"""

from __future__ import annotations

from apimachinery.errors import ApiError, is_conflict
from apimachinery.meta import (
    Object,
    get_path,
    name,
    namespace,
    namespaced_key,
    resource_version,
    split_key,
    uid,
)
from apimachinery.meta import (
    annotations as annotations_of,
)
from apimachinery.resources import ENDPOINTS, PODS, SERVICES
from controllers.context import Context
from controllers.endpoints_plan import plan_endpoints
from controllers.expectations import STALE_RETRY_SECONDS, Expectations
from controllers.pace import Pace
from controllers.requests import namespace_terminating, unless_gone
from controllers.service_endpoints import LEADER, TriggerTimes, selector_of


class EndpointsController:
    """One control loop over all Services with a selector."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder
        self._services = context.informers.of(SERVICES)
        self._endpoints = context.informers.of(ENDPOINTS)
        self._members = context.informers.service_pods
        self.informers = (self._services, context.informers.of(PODS), self._endpoints)
        self.queue = context.queue()
        self._pace = Pace(self.queue, context.clock)
        self._expectations = Expectations(self._endpoints, context.clock)
        self._times = TriggerTimes()
        # Services that are gone, and with them their Endpoints.
        self._ended: set[str] = set()
        self._members.follow(self._pace.soon)
        self._services.add_handler(self._service_changed)
        self._endpoints.add_handler(self._endpoints_changed)

    def _service_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        service = new or old
        assert service is not None
        key = namespaced_key(service)
        if new is None and get_path(service, "spec", "selector"):
            self._ended.add(key)
        else:
            self._ended.discard(key)
        self.queue.add(key)

    def _endpoints_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        endpoints = new or old
        assert endpoints is not None
        key = namespaced_key(endpoints)
        # What is there before we are may be left of a service that went while nobody looked. Leaders of old have
        # nothing but Endpoints, and whoever creates Endpoints now may be about to create the service.
        if not self._endpoints.has_synced and LEADER not in annotations_of(endpoints):
            self._ended.add(key)
        self._pace.soon(key)

    async def reconcile(self, key: str) -> None:
        """Write what differs between a service's Endpoints and its pods."""
        service, current = self._services.get(key), self._endpoints.get(key)
        if service is None:
            await self._end(key, current)
            return
        self._ended.discard(key)
        if selector_of(service) is None:
            self._forget(key)
            return
        if not self._expectations.satisfied(key):
            self.queue.add_after(key, STALE_RETRY_SECONDS)
            return
        with self._pace.working(key):
            pods = self._members.of(key)
            since = self._times.since(key, service, pods)
            wanted = plan_endpoints(service, pods, current, trigger_time=since)
        if wanted is not None:
            await self._write(key, wanted)

    async def _end(self, key: str, current: Object | None) -> None:
        self._forget(key)
        if key not in self._ended:
            return
        if not self._expectations.satisfied(key):
            self.queue.add_after(key, STALE_RETRY_SECONDS)  # Endpoints that are not seen yet would stay for ever
            return
        scope, which = split_key(key)
        # The two caches are not of the same moment: that a service is gone is not believed of one alone.
        if current is not None and await unless_gone(self._client.get(SERVICES, which, scope)) is None:
            await unless_gone(self._client.delete(ENDPOINTS, which, scope, uid=uid(current)))
        self._expectations.forget(key)
        self._ended.discard(key)

    def _forget(self, key: str) -> None:
        self._times.forget(key)
        self._pace.forget(key)

    async def _write(self, key: str, wanted: Object) -> None:
        is_new = not resource_version(wanted)
        try:
            written = await (self._client.create if is_new else self._client.update)(ENDPOINTS, wanted)
        except ApiError as error:
            if namespace_terminating(error):
                return
            if not is_conflict(error):
                which = f"{namespace(wanted)}/{name(wanted)}"
                reason = "FailedToCreateEndpoint" if is_new else "FailedToUpdateEndpoint"
                did = "create endpoint for service" if is_new else "update endpoint"
                self._recorder.event(wanted, "Warning", reason, f"Failed to {did} {which}: {error.message}")
            raise
        self._expectations.written(key, written)
