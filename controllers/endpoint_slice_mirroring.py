"""Mirrors Endpoints that belong to a Service without a selector into EndpointSlices, which everybody reads.

Source: https://kubernetes.io/docs/concepts/services-networking/service/#endpoints-mirroring,
kubernetes/pkg/controller/endpointslicemirroring
"""

from __future__ import annotations

from apimachinery.meta import Object, deletion_requested, get_path, namespaced_key
from apimachinery.resources import ENDPOINTS, ENDPOINTSLICES, SERVICES
from controllers.context import Context
from controllers.endpoint_slice_mirroring_plan import MANAGER, Warned, plan_mirror, should_mirror
from controllers.endpoint_slice_plan import SlicePlan
from controllers.endpoint_slice_writes import BY_SERVICE, by_service, carry_out, managed, tell_services
from controllers.expectations import STALE_RETRY_SECONDS, Expectations
from controllers.pace import Pace


class EndpointSliceMirroring:
    """One control loop over all Endpoints."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder
        self._addresses_max = context.options.mirroring_max_endpoints_per_subset
        self._services = context.informers.of(SERVICES)
        self._endpoints = context.informers.of(ENDPOINTS)
        self._slices = context.informers.of(ENDPOINTSLICES)
        self.informers = (self._services, self._endpoints, self._slices)
        self.queue = context.queue()
        self._pace = Pace(self.queue, context.clock)
        self._expectations = Expectations(self._slices, context.clock)
        self._slices.add_index(BY_SERVICE, by_service)
        self._services.add_handler(self._service_changed)
        self._endpoints.add_handler(self._endpoints_changed)
        self._slices.add_handler(self._slice_changed)

    def _service_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        for service in (old, new):
            # One that selects pods has none of our slices, unless it has only begun to.
            if service is not None and not get_path(service, "spec", "selector"):
                self._pace.soon(namespaced_key(service))
                return

    def _endpoints_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        endpoints = new or old
        assert endpoints is not None
        if should_mirror(old) or should_mirror(new):
            self._pace.soon(namespaced_key(endpoints))

    def _slice_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        tell_services(MANAGER, old, new, self._pace.soon)

    async def reconcile(self, key: str) -> None:
        """Write what differs between Endpoints and their slices; what mirrors nothing any more goes."""
        if not self._expectations.satisfied(key):
            self.queue.add_after(key, STALE_RETRY_SECONDS)
            return
        endpoints, service = self._endpoints.get(key), self._services.get(key)
        found = self._slices.by_index(BY_SERVICE, managed(MANAGER, key))
        slices = [one for one in found if not deletion_requested(one)]
        warned: list[Warned] = []
        if endpoints is None or service is None or not _is_mirrored(endpoints, service):
            plan = SlicePlan(delete=slices)
            self._pace.forget(key)
        else:
            with self._pace.working(key):
                plan, warned = plan_mirror(endpoints, slices, self._addresses_max)
            for one in warned:
                self._recorder.event(endpoints, "Warning", one.reason, one.message)
        await carry_out(self._client, self._expectations, key, plan)
        if endpoints is None:
            self._expectations.forget(key)


def _is_mirrored(endpoints: Object, service: Object) -> bool:
    return should_mirror(endpoints) and not get_path(service, "spec", "selector")
