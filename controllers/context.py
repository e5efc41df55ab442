"""What every controller is given, and the one shape that the manager runs.

A controller is an object with a queue, the informers it reads, and `reconcile(key)`. Its constructor adds the
handlers that turn events into keys; nothing happens before `run_controller`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from apiclient.clock import Clock
from apiclient.controller import run_workers
from apiclient.events import EventRecorder
from apiclient.informer import Informer, InformerFactory
from apiclient.logs import kv
from apiclient.rest import Client
from apiclient.workqueue import WorkQueue
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import (
    APISERVICES,
    CERTIFICATESIGNINGREQUESTS,
    CLUSTERROLES,
    CONTROLLERREVISIONS,
    CRONJOBS,
    CUSTOMRESOURCEDEFINITIONS,
    DAEMONSETS,
    DEPLOYMENTS,
    ENDPOINTS,
    ENDPOINTSLICES,
    HORIZONTALPODAUTOSCALERS,
    JOBS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS,
    SERVICES,
    STATEFULSETS,
    STORAGECLASSES,
    VALIDATINGADMISSIONPOLICIES,
    Resource,
)
from controllers.custom_resources import TURN_SECONDS_MAX, CustomResources
from controllers.pod_trimming import PodTrimmer
from controllers.requests import namespace_terminating
from controllers.service_pods import ServicePods

logger = logging.getLogger(__name__)

# Controllers read more than the metadata of these; of all others metadata alone is watched and kept.
WHOLE_OBJECTS = (
    *(PODS, NODES, NAMESPACES, REPLICASETS, DEPLOYMENTS, LEASES),
    *(STATEFULSETS, DAEMONSETS, CONTROLLERREVISIONS, PODDISRUPTIONBUDGETS, REPLICATIONCONTROLLERS),
    *(CLUSTERROLES, CERTIFICATESIGNINGREQUESTS, RESOURCEQUOTAS, VALIDATINGADMISSIONPOLICIES),
    *(PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES),
    *(JOBS, CRONJOBS),
    *(SERVICES, ENDPOINTS, ENDPOINTSLICES),
    HORIZONTALPODAUTOSCALERS,
)


@dataclass(frozen=True, slots=True)
class Options:
    """What the flags say; times in seconds. The defaults notice a lost node sooner than Kubernetes does."""

    cluster_cidr: str | None = None
    node_cidr_mask_size: int = 24
    node_monitor_grace_period: float = 5.0
    node_startup_grace_period: float = 60.0
    node_eviction_rate: float = 1.0
    secondary_node_eviction_rate: float = 0.01
    unhealthy_zone_threshold: float = 0.55
    large_cluster_size_threshold: int = 50
    terminated_pod_gc_threshold: int = 12500
    max_endpoints_per_slice: int = 100
    mirroring_max_endpoints_per_subset: int = 1000
    horizontal_pod_autoscaler_sync_period: float = 15.0
    horizontal_pod_autoscaler_downscale_stabilization: float = 300.0
    horizontal_pod_autoscaler_tolerance: float = 0.1
    horizontal_pod_autoscaler_cpu_initialization_period: float = 300.0
    horizontal_pod_autoscaler_initial_readiness_delay: float = 30.0
    root_ca: str | None = None
    concurrent_syncs: dict[str, int] = field(default_factory=dict)


def without_managed_fields(obj: Object) -> Object:
    """An object as controllers keep it: who has set which field is of no use to them, and large."""
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**obj, "metadata": metadata}


def metadata_alone(obj: Object) -> Object:
    """Of an object that may be whole (not every server cuts it down) the metadata."""
    return {"metadata": without_managed_fields(obj)["metadata"]}


def as_controllers_need(trimmer: PodTrimmer, obj: Object) -> Object:
    """Of a whole object what controllers read: of pods, which are many, a small part."""
    obj = without_managed_fields(obj)
    return trimmer.trim(obj) if obj.get("kind") == PODS.kind else obj


class Informers:
    """The shared informers: whole objects of some resources, metadata alone of the others."""

    def __init__(
        self, client: Client, metadata_client: Client, *, clock: Clock, rng: random.Random | None = None
    ) -> None:
        transform = partial(as_controllers_need, PodTrimmer())
        self.whole = InformerFactory(client, transform=transform, clock=clock, rng=rng)
        self._metadata_client = metadata_client
        self._metadata: dict[Resource, Informer] = {}
        self._clock = clock
        self._rng = rng
        self._custom: CustomResources | None = None
        self._service_pods: ServicePods | None = None

    @property
    def custom(self) -> CustomResources:
        """The informers of custom resources; those who never ask for them have none running."""
        if self._custom is None:
            # Other servers' resources come and go with APIServices that become available and are gone.
            sources = [self.of(CUSTOMRESOURCEDEFINITIONS), self.of(APISERVICES)]
            self._custom = CustomResources(self._metadata_client, sources, self._informer, self._clock)
        return self._custom

    @property
    def service_pods(self) -> ServicePods:
        """The pods behind services; nobody finds them who never asks."""
        if self._service_pods is None:
            self._service_pods = ServicePods(self.of(SERVICES), self.of(PODS))
        return self._service_pods

    def of(self, resource: Resource) -> Informer:
        """The informer of a resource; whether more than metadata is in it, WHOLE_OBJECTS says."""
        if resource in WHOLE_OBJECTS:
            return self.whole.informer(resource)
        if resource not in self._metadata:
            self._metadata[resource] = self._informer(resource)
        return self._metadata[resource]

    def _informer(self, resource: Resource) -> Informer:
        return Informer(self._metadata_client, resource, transform=metadata_alone, clock=self._clock, rng=self._rng)

    def start(self, group: asyncio.TaskGroup) -> None:
        """Run all informers as tasks of this group."""
        self.whole.start(group)
        group.create_task(self._start_in_turn(group))
        if self._custom is not None:
            group.create_task(self._custom.run())

    async def _start_in_turn(self, group: asyncio.TaskGroup) -> None:
        """Metadata, one resource after another: fifty handshakes at once would hold up what nodes wait for."""
        for informer in self._metadata.values():
            group.create_task(informer.run())
            await synced_within(TURN_SECONDS_MAX, [informer], self._clock)


@dataclass(frozen=True, slots=True)
class Context:
    """What every controller is given."""

    client: Client
    metadata_client: Client
    informers: Informers
    recorder: EventRecorder
    clock: Clock
    options: Options

    def queue(self) -> WorkQueue:
        """A new work queue."""
        return WorkQueue(self.clock)


class Controller(Protocol):
    """One control loop."""

    @property
    def queue(self) -> WorkQueue:
        """The keys to be worked on."""

    @property
    def informers(self) -> Sequence[Informer]:
        """The caches that `reconcile` reads; it is not called before they are filled."""

    async def reconcile(self, key: str) -> None:
        """Bring what the key names one step nearer to what is wanted. Raising has it tried again later."""


async def synced_within(seconds: float, informers: Sequence[Informer], clock: Clock) -> bool:
    """Wait for the first lists of these informers, but no longer; True if all are there."""
    lists: asyncio.Future[Any] = asyncio.gather(*(informer.wait_synced() for informer in informers))
    alarm: asyncio.Future[Any] = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({lists, alarm}, return_when=asyncio.FIRST_COMPLETED)
        return lists.done()
    finally:
        for waiting in (lists, alarm):
            waiting.cancel()
        await asyncio.gather(lists, alarm, return_exceptions=True)


async def run_controller(
    name: str, controller: Controller, *, workers: int, clock: Clock, patience_seconds: float | None = None
) -> None:
    """Run a controller until cancelled, once its caches are filled.

    With a patience it starts without those that can't be filled: one resource that the server does not serve, or does
    not let us read, must not stop what is done for all others.
    """
    if patience_seconds is None:
        for informer in controller.informers:
            await informer.wait_synced()
    elif not await synced_within(patience_seconds, controller.informers, clock):
        missing = [one.resource.group_resource for one in controller.informers if not one.has_synced]
        logger.warning(kv("starting without some caches", controller=name, missing=",".join(missing)))
    logger.info(kv("controller started", controller=name, workers=workers))

    async def reconcile(key: str) -> None:
        try:
            await controller.reconcile(key)
        except ApiError as error:
            # In a namespace that is going nothing can be created ever again: trying would only hold up its end.
            if not namespace_terminating(error):
                raise

    await run_workers(controller.queue, reconcile, name=name, workers=workers)
