"""Keeps the EndpointSlices of Services with a selector: where their pods answer, and whether they are ready.

Source: https://kubernetes.io/docs/concepts/services-networking/endpoint-slices/,
kubernetes/pkg/controller/endpointslice/endpointslice_controller.go
"""

from __future__ import annotations

from apimachinery.errors import ApiError, is_conflict
from apimachinery.meta import Object, deletion_requested, labels, name, namespace, namespaced_key
from apimachinery.resources import ENDPOINTSLICES, NODES, PODS, SERVICES
from controllers.context import Context
from controllers.endpoint_slice_plan import MANAGER, plan_slices, topology_mode_is_auto
from controllers.endpoint_slice_writes import BY_SERVICE, by_service, carry_out, managed, tell_services
from controllers.expectations import STALE_RETRY_SECONDS, Expectations
from controllers.pace import Pace
from controllers.pods import BY_NODE, by_node, is_ready
from controllers.service_endpoints import TriggerTimes, selector_of
from controllers.topology_hints import DISABLED, ENABLED, ZONE, cpu_of, zone_ratios

AUTO = "hints by zones"


class EndpointSliceController:
    """One control loop over all Services with a selector."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._endpoints_max = context.options.max_endpoints_per_slice
        self._recorder = context.recorder
        self._services = context.informers.of(SERVICES)
        self._pods = context.informers.of(PODS)
        self._nodes = context.informers.of(NODES)
        self._slices = context.informers.of(ENDPOINTSLICES)
        self._members = context.informers.service_pods
        self.informers = (self._services, self._pods, self._nodes, self._slices)
        self.queue = context.queue()
        self._pace = Pace(self.queue, context.clock)
        self._expectations = Expectations(self._slices, context.clock)
        self._times = TriggerTimes()
        self._ratios: dict[str, float] | None = None
        # What was told of hints, by service and family: the same is not told again at every pass.
        self._told: dict[str, dict[str, str]] = {}
        self._pods.add_index(BY_NODE, by_node)
        self._slices.add_index(BY_SERVICE, by_service)
        self._services.add_index(AUTO, lambda service: [AUTO] if topology_mode_is_auto(service) else [])
        self._members.follow(self._pace.soon)
        self._services.add_handler(self._service_changed)
        self._nodes.add_handler(self._node_changed)
        self._slices.add_handler(self._slice_changed)

    def _service_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        service = new or old
        assert service is not None
        self.queue.add(namespaced_key(service))

    def _slice_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        tell_services(MANAGER, old, new, self._pace.soon)

    def _node_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        before, after = ((labels(one).get(ZONE), is_ready(one), cpu_of(one)) if one else None for one in (old, new))
        if before == after:
            return
        self._ratios = None
        for service in self._services.by_index(AUTO, AUTO):
            self._pace.soon(namespaced_key(service))
        if before is not None and after is not None and before[0] == after[0]:
            return
        node = new or old
        assert node is not None
        for pod in self._pods.by_index(BY_NODE, name(node)):
            for key in self._members.services_of(pod):
                self._pace.soon(key)

    def _zone_of(self, node: str) -> str | None:
        found = self._nodes.get(node)
        return labels(found).get(ZONE, "") if found is not None else None

    async def reconcile(self, key: str) -> None:
        """Write what differs between a service's slices and its pods."""
        service = self._services.get(key)
        if service is None or selector_of(service) is None:
            # The garbage collector takes the slices of a service that is gone; others' are theirs.
            self._times.forget(key)
            self._pace.forget(key)
            self._told.pop(key, None)
            if service is None:
                self._expectations.forget(key)
            return
        if not self._expectations.satisfied(key):
            self.queue.add_after(key, STALE_RETRY_SECONDS)
            return
        with self._pace.working(key):
            pods = self._members.of(key)
            slices = self._slices.by_index(BY_SERVICE, managed(MANAGER, key))
            if self._ratios is None and topology_mode_is_auto(service):
                self._ratios = zone_ratios(self._nodes.list())
            plan = plan_slices(
                service,
                pods,
                [one for one in slices if not deletion_requested(one)],
                self._zone_of,
                ratios=self._ratios,
                trigger_time=self._times.since(key, service, pods),
                endpoints_max=self._endpoints_max,
            )
        try:
            await carry_out(self._client, self._expectations, key, plan)
        except ApiError as error:
            if not is_conflict(error):
                which = f"{namespace(service)}/{name(service)}"
                message = f"Error updating Endpoint Slices for Service {which}: {error.message}"
                self._tell(service, "Warning", "FailedToUpdateEndpointSlices", message)
            raise
        self._tell_of_hints(key, service, plan.hints)

    def _tell_of_hints(self, key: str, service: Object, hints: dict[str, str]) -> None:
        told = self._told.pop(key, {})
        for family in sorted({*told, *hints}):
            # Hints that nobody asks for any more have been taken away; that there were none is nothing new.
            why = hints.get(family, DISABLED if told.get(family) == "" else told.get(family))
            if why is not None and why != told.get(family):
                what = f"{why or ENABLED}, addressType: {family}"
                if why:
                    self._tell(service, "Warning", "TopologyAwareHintsDisabled", what)
                else:
                    self._tell(service, "Normal", "TopologyAwareHintsEnabled", what)
        if hints:
            self._told[key] = hints

    def _tell(self, service: Object, kind: str, reason: str, message: str) -> None:
        self._recorder.event({**service, "apiVersion": "v1", "kind": "Service"}, kind, reason, message)
