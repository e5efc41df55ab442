"""The manager: the one table of controllers, and what runs them.

Of several managers one leads, by a Lease in kube-system; the others wait. Leadership that is lost ends all
controllers; the process then waits for its next turn with nothing left over. Every controller reads shared
informers, so a resource is watched once, however many controllers need it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from apiclient.clock import Clock, SystemClock
from apiclient.events import EventRecorder
from apiclient.kubeconfig import Config
from apiclient.leaderelection import LeaderElector
from apiclient.logs import kv
from apiclient.process_identity import own_identity
from apiclient.rest import Client
from apimachinery.resources import REPLICATIONCONTROLLERS
from controllers.attributes_class_protection import AttributesClassProtection
from controllers.certificate_approval import CertificateApproval
from controllers.certificate_cleaner import CertificateCleaner
from controllers.cluster_role_aggregation import ClusterRoleAggregation
from controllers.context import Context, Controller, Informers, Options, run_controller
from controllers.cron_job import CronJobController
from controllers.daemon_set import DaemonSetController
from controllers.deployment import DeploymentController
from controllers.disruption import DisruptionController
from controllers.endpoint_slice import EndpointSliceController
from controllers.endpoint_slice_mirroring import EndpointSliceMirroring
from controllers.endpoints import EndpointsController
from controllers.ephemeral_volumes import EphemeralVolumes
from controllers.garbage_collector import GarbageCollector
from controllers.horizontal_pod_autoscaler import HorizontalPodAutoscalerController
from controllers.job import JobController
from controllers.local_path_provisioner import LocalPathProvisioner
from controllers.namespace import NamespaceController
from controllers.node_ipam import NodeIpamController
from controllers.node_lifecycle import NodeLifecycleController
from controllers.persistent_volume_binder import PersistentVolumeBinder
from controllers.pod_gc import PodGarbageCollector
from controllers.replicaset import ReplicaSetController
from controllers.resource_quota import ResourceQuotaController
from controllers.root_ca import RootCaPublisher
from controllers.service_account import ServiceAccountController
from controllers.stateful_set import StatefulSetController
from controllers.storage_protection import ClaimProtection, VolumeProtection
from controllers.taint_eviction import TaintEvictionController
from controllers.token_cleaner import TokenCleaner
from controllers.ttl_after_finished import TtlAfterFinished
from controllers.validating_policy_status import ValidatingPolicyStatus
from controllers.volume_expansion import VolumeExpansion

if TYPE_CHECKING:
    from apiclient.serving.figures import Figures
    from apiclient.serving.server import Place

logger = logging.getLogger(__name__)

COMPONENT = "kube-controller-manager"
LEASE_NAMESPACE, LEASE_NAME = "kube-system", "kube-controller-manager"
# So many requests at once keep a server busy; more of them would cost both sides more handshakes of TLS than they
# save time, each time that much is to be done.
REQUESTS_MAX = 24


@dataclass(frozen=True, slots=True)
class Entry:
    """A controller, and how it is run.

    `workers` keys are worked on at once, unless `flag` says otherwise; it waits for its caches for
    `patience_seconds`, None: for ever.
    """

    make: Callable[[Context], Controller]
    workers: int
    flag: str | None = None
    patience_seconds: float | None = None


CONTROLLERS = {
    "node-ipam-controller": Entry(NodeIpamController, 1),
    "serviceaccount-controller": Entry(ServiceAccountController, 1),
    "root-ca-certificate-publisher-controller": Entry(RootCaPublisher, 1),
    "clusterrole-aggregation-controller": Entry(ClusterRoleAggregation, 1),
    "certificatesigningrequest-approving-controller": Entry(CertificateApproval, 2),
    "certificatesigningrequest-cleaner-controller": Entry(CertificateCleaner, 1),
    "token-cleaner-controller": Entry(TokenCleaner, 1),
    "daemonset-controller": Entry(DaemonSetController, 2, "concurrent-daemonset-syncs"),
    "disruption-controller": Entry(DisruptionController, 1),
    "deployment-controller": Entry(DeploymentController, 5, "concurrent-deployment-syncs"),
    "replicaset-controller": Entry(ReplicaSetController, 5, "concurrent-replicaset-syncs"),
    "replicationcontroller-controller": Entry(
        partial(ReplicaSetController, resource=REPLICATIONCONTROLLERS), 5, "concurrent-rc-syncs"
    ),
    "statefulset-controller": Entry(StatefulSetController, 5, "concurrent-statefulset-syncs"),
    "job-controller": Entry(JobController, 5, "concurrent-job-syncs"),
    "cronjob-controller": Entry(CronJobController, 5, "concurrent-cron-job-syncs"),
    "ttl-after-finished-controller": Entry(TtlAfterFinished, 5, "concurrent-ttl-after-finished-syncs"),
    "endpointslice-controller": Entry(EndpointSliceController, 5, "concurrent-service-endpoint-syncs"),
    "endpoints-controller": Entry(EndpointsController, 5, "concurrent-endpoint-syncs"),
    "endpointslice-mirroring-controller": Entry(
        EndpointSliceMirroring, 5, "mirroring-concurrent-service-endpoint-syncs"
    ),
    "horizontal-pod-autoscaler-controller": Entry(
        HorizontalPodAutoscalerController, 5, "concurrent-horizontal-pod-autoscaler-syncs"
    ),
    "node-lifecycle-controller": Entry(NodeLifecycleController, 8),
    "taint-eviction-controller": Entry(TaintEvictionController, 8),
    "garbage-collector-controller": Entry(GarbageCollector, 20, "concurrent-gc-syncs", patience_seconds=30.0),
    "resourcequota-controller": Entry(ResourceQuotaController, 5, "concurrent-resource-quota-syncs"),
    "persistentvolume-binder-controller": Entry(PersistentVolumeBinder, 4),
    "persistentvolume-expander-controller": Entry(VolumeExpansion, 1),
    "local-path-provisioner-controller": Entry(LocalPathProvisioner, 4),
    "ephemeral-volume-controller": Entry(EphemeralVolumes, 5),
    "persistentvolumeclaim-protection-controller": Entry(ClaimProtection, 1),
    "persistentvolume-protection-controller": Entry(VolumeProtection, 1),
    "volumeattributesclass-protection-controller": Entry(AttributesClassProtection, 1),
    "namespace-controller": Entry(NamespaceController, 10, "concurrent-namespace-syncs"),
    "validatingadmissionpolicy-status-controller": Entry(ValidatingPolicyStatus, 1),
    "pod-garbage-collector-controller": Entry(PodGarbageCollector, 4),
}


@dataclass(frozen=True, slots=True)
class LeaderElection:
    """Whether to wait for a Lease, its times in seconds, and where it is."""

    wanted: bool = True
    lease_duration: float = 15.0
    renew_deadline: float = 10.0
    retry_period: float = 2.0
    namespace: str = LEASE_NAMESPACE
    name: str = LEASE_NAME


async def run(
    config: Config, options: Options, names: Sequence[str], election: LeaderElection, place: Place | None = None
) -> None:
    """Run these controllers, whenever it is this process' turn, until cancelled; tell of them at a `place`."""
    clock = SystemClock()
    async with await Client.connect(config, user_agent=COMPONENT) as client, asyncio.TaskGroup() as group:
        elector = None
        if election.wanted:
            elector = LeaderElector(
                client,
                election.namespace,
                election.name,
                own_identity(),
                clock=clock,
                lease_duration_seconds=election.lease_duration,
                renew_deadline_seconds=election.renew_deadline,
                retry_period_seconds=election.retry_period,
            )
        figures = None
        if place is not None:
            from controllers import serving

            figures, server = serving.server(place, client, elector, clock, options, names, election)
            group.create_task(server.run())
        lead = partial(run_controllers, config, options, names, clock, elector=elector, figures=figures)
        if elector is None:
            await lead()
            return
        while True:
            await elector.run(lead)


async def run_controllers(
    config: Config,
    options: Options,
    names: Sequence[str],
    clock: Clock,
    rng: random.Random | None = None,
    *,
    elector: LeaderElector | None = None,
    figures: Figures | None = None,
) -> None:
    """Run these controllers until cancelled, while the elector leads, if there is one."""
    async with (
        await Client.connect(config, user_agent=COMPONENT, requests_max=REQUESTS_MAX) as client,
        await Client.connect(config, user_agent=COMPONENT, metadata_only=True) as metadata_client,
    ):
        informers = Informers(client, metadata_client, clock=clock, rng=rng)
        recorder = EventRecorder(client, COMPONENT, clock=clock)
        if elector is not None:
            client.write_while(lambda: elector.leads)
            elector.tell(recorder)
        context = Context(client, metadata_client, informers, recorder, clock, options)
        controllers = {name: CONTROLLERS[name].make(context) for name in names}
        if figures is not None:
            figures.follow_client(client)
            figures.follow_client(metadata_client)
            for name, controller in controllers.items():
                figures.follow_queue(name, controller.queue)
        async with asyncio.TaskGroup() as group:
            group.create_task(recorder.run())
            informers.start(group)
            for name, controller in controllers.items():
                entry = CONTROLLERS[name]
                running = run_controller(
                    name,
                    controller,
                    workers=options.concurrent_syncs.get(name, entry.workers),
                    clock=clock,
                    patience_seconds=entry.patience_seconds,
                )
                group.create_task(running)
            logger.info(kv("controllers starting", controllers=len(controllers)))
