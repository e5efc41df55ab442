"""Puts the node agent together and runs it: everything that it does is a task of one group.

At its start it takes over what a former agent has left running; at its end it lets go of it all, and the pods run
on. It may be killed at any moment.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import Callable

from apiclient.clock import Clock, SystemClock
from apiclient.events import EventRecorder
from apiclient.informer import Informer
from apiclient.kubeconfig import Config
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery.meta import Object
from apimachinery.resources import PODS
from kubelet import leftovers
from kubelet.api_service import ApiService
from kubelet.clock_steps import ClockSteps
from kubelet.configuration import kubelet_configuration
from kubelet.containers.container_starter import ContainerStarter
from kubelet.containers.container_stopper import ContainerStopper
from kubelet.containers.image_puller import ImagePuller
from kubelet.containers.service_links import ServiceLinks
from kubelet.eviction.figures import NodeFigures
from kubelet.eviction.manager import EvictionManager
from kubelet.eviction.pressures import Pressures
from kubelet.images import ImageError, ImageStore
from kubelet.images.collector import ImageCollector
from kubelet.images.pulls import ImagePulls
from kubelet.images.usage import ImageUsage
from kubelet.network import PodNetwork
from kubelet.node import oom_score
from kubelet.node.allocatable import AllocatableEnforcer
from kubelet.node.node_lease import NodeLease
from kubelet.node.node_status import NodeReporter
from kubelet.node.qos_groups import QosGroups
from kubelet.node.routes import Routes
from kubelet.node.runtime_handlers import RuntimeHandlers
from kubelet.node.shutdown import PROBLEM, WORDS, NodeShutdown
from kubelet.objects import ObjectCache
from kubelet.options import Options
from kubelet.pods.allocation import AllocationStore
from kubelet.pods.pod_events import PodEvents
from kubelet.pods.pod_resize import Resizes
from kubelet.pods.pod_services import PodServices
from kubelet.pods.pod_workers import PodWorkers
from kubelet.pods.runtime_classes import RuntimeClasses
from kubelet.runtime import Runtime, cgroups
from kubelet.runtime.handlers import registry
from kubelet.server import KubeletServer, LogRotator
from kubelet.server.stats.groups import Groups
from kubelet.static_pods.static_pods import StaticPods
from kubelet.static_pods.statuses import NodeStatusWriter
from kubelet.tokens import TokenManager
from kubelet.volumes import VolumeManager
from kubelet.volumes.local_path import LocalPath
from kubelet.volumes.persistent import PersistentVolumes

logger = logging.getLogger(__name__)

COMPONENT = "kubelet"
RUNTIME_VERSION = "wherry://0.1.0"
NETWORK_RETRY_SECONDS = 2.0


class Agent:
    """One node's agent. `runtime` has been started; `client` and `lease_client` are closed by the caller."""

    def __init__(
        self,
        options: Options,
        *,
        client: Client,
        lease_client: Client,
        runtime: Runtime,
        clock: Clock | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._options = options
        self._runtime = runtime
        self._clock = clock or SystemClock()
        self._rng = rng or random.Random()
        # Whether pods can be given addresses; and whether all are known that have some.
        self._network_up = self._network_ready = False
        node = options.node
        selector = f"spec.nodeName={node.name}"
        self._client = client
        self._pods = Informer(client, PODS, field_selector=selector, clock=self._clock, rng=self._rng)
        self._recorder = EventRecorder(client, COMPONENT, host=node.name, clock=self._clock)
        self._events = PodEvents(self._recorder)
        self._images = ImageStore(options.image_dir)
        self._image_usage = ImageUsage(options.image_dir, options.root_dir)
        self._image_pulls = ImagePulls(options.image_dir)
        self._images_came: Callable[[], None] = lambda: None
        self._network = PodNetwork(node.name, options.root_dir)
        self._objects = ObjectCache(client)
        self._reporter = NodeReporter(
            client,
            self._clock,
            node,
            node_dir=options.root_dir,
            image_dir=options.image_dir,
            images=self._images.images,
            runtime_version=RUNTIME_VERSION,
            pressures=lambda: self._pressures.conditions,
            runtime_handlers=lambda: self._runtime_handlers.status(),
            recorder=self._recorder,
            rng=self._rng,
        )
        self._pressures = Pressures(self._reporter.pressures_changed)
        self.shutdown = NodeShutdown(
            options.shutdown_periods,
            self._clock,
            begins=lambda: self._reporter.problem(PROBLEM, WORDS),
            called_off=lambda: self._reporter.solved(PROBLEM),
        )
        self._runtime_handlers = RuntimeHandlers(runtime.handlers, self._reporter.handlers_changed)
        tokens = self._tokens = TokenManager(client, self._clock, self._rng)
        self._local_path = LocalPath(client, options.root_dir, node.name, clock=self._clock)
        self._volumes = VolumeManager(
            options.root_dir,
            self._objects,
            tokens,
            self._reporter.allocatable,
            clock=self._clock,
            persistent_volumes=PersistentVolumes(client, self._node, self._local_path),
            tell=lambda pod, failure: self._events.warning(pod, failure.reason, failure.message),
        )
        self._api_service = ApiService(client)
        self._service_links = ServiceLinks(client)
        self._lease = NodeLease(
            lease_client,
            self._clock,
            node.name,
            node=self._reporter.registered,
            duration_seconds=options.lease_duration_seconds,
            rng=self._rng,
        )
        self._routes = Routes(client, self._network, node.name, self._clock)
        self._static_pods = StaticPods(
            options.static_pods,
            node.name,
            client=client,
            clock=self._clock,
            pods=self._pods,
            node=self._reporter.registered,
        )
        self._server = KubeletServer(
            node,
            cert_dir=options.cert_dir,
            root_dir=options.root_dir,
            image_dir=options.image_dir,
            cgroup_root=options.cgroup_root,
            pods=self._static_pods,
            runtime=runtime,
            clock=self._clock,
            client=client,
            configuration=kubelet_configuration(options),
        )
        self._log_rotator = LogRotator(
            runtime, self._clock, bytes_max=options.log_bytes_max, files_max=options.log_files_max
        )
        self._qos_groups = QosGroups(runtime, self._static_pods.list, self._clock)

        self._allocatable = AllocatableEnforcer(
            runtime, node, self._reporter.registered, self._clock, tell=self._tell_of_node
        )

    async def run(self) -> None:
        """Be the node's agent until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                workers = self._workers(group)
                self._pods.add_handler(self._static_pods.pod_changed)
                self._pods.add_handler(self._qos_groups.pod_changed)
                self._objects.add_listener(workers.object_changed)

                def runtime_changed(pod_uid: str) -> None:
                    workers.runtime_changed(pod_uid)
                    self._server.pod_changed(pod_uid)

                collector = self._image_collector(workers)
                self._runtime.on_change = runtime_changed
                self._reporter.runtime_ready()
                for part in (
                    self._pods,
                    self._static_pods,
                    self._reporter,
                    self._lease,
                    self._recorder,
                    self._objects,
                    self._volumes,
                    self._local_path,
                    self._api_service,
                    self._service_links,
                    self._routes,
                    self._server,
                    self._log_rotator,
                    self._qos_groups,
                    self._allocatable,
                    self._runtime_handlers,
                    collector,
                    self._eviction_manager(workers, collector),
                    self.shutdown,
                    ClockSteps(self._clock_stepped),
                ):
                    group.create_task(part.run())
                group.create_task(self._begin(workers))
        finally:
            self._network.close()
            self._image_usage.close()
            await self._image_pulls.close()

    def _image_collector(self, workers: PodWorkers) -> ImageCollector:
        collector = ImageCollector(
            self._images,
            self._options.image_gc,
            self._clock,
            tell=self._tell_of_node,
            known_pods=lambda: workers.uids() if self._network_ready else None,
            keep_only=self._image_usage.keep_only,
        )
        self._images_came = collector.images_changed
        return collector

    def _eviction_manager(self, workers: PodWorkers, collector: ImageCollector) -> EvictionManager:
        async def delete_images() -> int:
            try:
                freed = await collector.delete_unused()
            except ImageError as error:
                logger.warning(kv("images not removed", error=str(error)))
                return 0
            self._reporter.images_changed()
            return freed

        options = self._options
        figures = NodeFigures(
            options.node,
            self._reporter.machine,
            Groups(cgroups.present()),
            self._runtime,
            root=options.root_dir,
            images=options.image_dir,
            cgroup_root=options.cgroup_root,
        )
        return EvictionManager(
            options.eviction,
            self._clock,
            node=figures,
            pods=workers,
            pressures=self._pressures,
            delete_images=delete_images,
            tell=self._tell_of_node,
            tell_pod=self._events.warning,
        )

    def _clock_stepped(self) -> None:
        self._tokens.forget_all()
        self._volumes.refresh_all()

    def _tell_of_node(self, kind: str, reason: str, message: str) -> None:
        name = self._options.node.name
        # Named by its name where others are named by their uid, as in all events of a node agent about its Node.
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}}
        self._recorder.event(node, kind, reason, message)

    def _image_pulled(self) -> None:
        self._reporter.images_changed()
        self._images_came()

    def _workers(self, group: asyncio.TaskGroup) -> PodWorkers:
        events = self._events
        clock, runtime = self._clock, self._runtime
        puller = ImagePuller(
            self._images,
            events,
            clock,
            pulls=self._image_pulls,
            objects=self._objects,
            usage=self._image_usage,
            credentials_file=self._options.image_credentials,
            pulled=self._image_pulled,
        )
        writer = NodeStatusWriter(self._client, self._pod_of_uid, group, clock, mirror=self._static_pods.mirror)
        services = PodServices(
            root=self._options.root_dir,
            clock=clock,
            runtime=runtime,
            images=self._images,
            network=self._network,
            volumes=self._volumes,
            objects=self._objects,
            puller=puller,
            starter=ContainerStarter(
                root=self._options.root_dir,
                runtime=runtime,
                puller=puller,
                objects=self._objects,
                api_service=self._api_service.variables,
                service_links=self._service_links.variables,
                events=events,
                node=lambda: self._node() or self._reporter.local_node,
                host_ip=self._options.node.address,
                clock=clock,
                rng=self._rng,
            ),
            stopper=ContainerStopper(runtime=runtime, images=self._images, events=events, clock=clock),
            writer=writer,
            events=events,
            node=self._node,
            runtime_classes=RuntimeClasses(self._client, runtime.handlers),
            network_is_ready=lambda: self._network_up,
            other_pods=lambda uid: workers.holding(but=uid),
            local_node=lambda: self._reporter.local_node,
            refusal=lambda pod: self._pressures.refusal(pod) or self.shutdown.refusal(pod),
            resizes=Resizes(
                AllocationStore(self._options.root_dir), self._node, lambda uid: workers.holding(but=uid)
            ),
            end_pod=lambda uid, verdict: workers.end(uid, verdict),
            room_appeared=lambda: workers.room_appeared(),
            host_ip=self._options.node.address,
            dns=self._options.dns,
            pids_max=self._options.pids_max,
            allowed_unsafe_sysctls=self._options.allowed_unsafe_sysctls,
        )
        workers = PodWorkers(group, services)
        self._pods.add_index("uid", lambda pod: [pod["metadata"]["uid"]])
        workers.on_gone = self._static_pods.worker_gone
        self.shutdown.end_by(workers)
        self._static_pods.begin(workers.pod_changed, writer)
        return workers

    def _node(self) -> Object | None:
        return self._reporter.node

    def _pod_of_uid(self, uid: str) -> Object | None:
        return next(iter(self._pods.by_index("uid", uid)), None)

    async def _begin(self, workers: PodWorkers) -> None:
        """What is done once, in the order in which it becomes possible."""
        if self._static_pods.list() and (cidr := self._network.last_cidr):
            # They do not wait for an API server that may not come, or that may be one of them.
            await self._make_network(cidr)
            self._network_up = True
            workers.node_changed()
        await self._reporter.registered()
        workers.node_changed()
        # What the API does not know may be ended only once it has been heard.
        await self._pods.wait_synced()
        workers.end_orphans(await self._runtime.sandboxes())
        await self._make_network(await self._reporter.pod_cidr())
        # A pod that is attached meanwhile, and not among these, would be taken for one that is gone.
        self._network_up = False
        await self._network.reconcile(workers.uids())
        self._network_up = self._network_ready = True
        self._reporter.network_ready()
        workers.node_changed()
        await leftovers.remove(self._options.root_dir, workers.uids, volumes=self._volumes)

    async def _make_network(self, cidr: str) -> None:
        while True:
            try:
                await self._network.setup(cidr)
            except OSError as error:
                logger.error(kv("pod network not set up", pod_cidr=cidr, error=str(error)))
                await self._clock.sleep(NETWORK_RETRY_SECONDS)
            else:
                logger.info(kv("pod network set up", node=self._options.node.name, pod_cidr=cidr))
                return


async def run(options: Options, config: Config) -> None:
    """Run a node agent until cancelled. Raises TimeoutError when another one uses the same root folder."""
    options.root_dir.mkdir(parents=True, exist_ok=True)
    oom_score.set_own(options.oom_score_adj)
    handlers = registry.configured(options.runtime_handlers)
    runtime = Runtime(options.root_dir, options.cgroup_root, handlers)
    await runtime.start()
    try:
        user_agent = f"{COMPONENT}/{options.node.name}"
        async with (
            await Client.connect(config, user_agent=user_agent) as client,
            await Client.connect(config, user_agent=user_agent) as lease_client,
        ):
            agent = Agent(options, client=client, lease_client=lease_client, runtime=runtime)
            asyncio.get_running_loop().add_signal_handler(signal.SIGPWR, agent.shutdown.ask)
            await agent.run()
    finally:
        await runtime.close()
