"""What the manager serves: figures of its queues, requests and lead, whether it is well, and how it is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from apiclient.clock import Clock
from apiclient.leaderelection import LeaderElector
from apiclient.rest import Client
from apiclient.serving.figures import Figures
from apiclient.serving.health import Check, Health
from apiclient.serving.reviews import Reviews
from apiclient.serving.server import ComponentServer, Pages, Place
from apimachinery.duration import duration_text
from apimachinery.meta import Object
from controllers.context import Options

if TYPE_CHECKING:
    from controllers.manager import LeaderElection


def server(
    place: Place,
    client: Client,
    elector: LeaderElector | None,
    clock: Clock,
    options: Options,
    names: Sequence[str],
    election: LeaderElection,
) -> tuple[Figures, ComponentServer]:
    """The server, and what its controllers have to be followed by. Raises OSError for unusable certificates."""
    figures, checks = Figures(clock), dict[str, Check]()
    if elector is not None:
        figures.follow_lead(election.name, lambda: elector.leads)
        checks["leaderElection"] = elector.problem
    figures.follow_client(client)
    document = configuration(options, names, election)
    pages = Pages(Health(checks), figures, lambda: {"kubecontrollermanager.config.k8s.io": document})
    return figures, ComponentServer(place, pages, Reviews(client, clock), clock)


def configuration(options: Options, names: Sequence[str], election: LeaderElection) -> Object:
    """How the manager is run, in the words of Kubernetes' KubeControllerManagerConfiguration.

    Only what is true of this one is named: what it does not have has no default to show.
    """
    syncs = options.concurrent_syncs

    def concurrent(field: str, controller: str, **more: Any) -> Object:
        return {field: syncs[controller], **more} if controller in syncs else more

    lead = {
        "leaderElect": election.wanted,
        "leaseDuration": duration_text(election.lease_duration),
        "renewDeadline": duration_text(election.renew_deadline),
        "retryPeriod": duration_text(election.retry_period),
        "resourceLock": "leases",
        "resourceName": election.name,
        "resourceNamespace": election.namespace,
    }
    autoscaling = {
        "horizontalPodAutoscalerSyncPeriod": options.horizontal_pod_autoscaler_sync_period,
        "horizontalPodAutoscalerDownscaleStabilizationWindow": (
            options.horizontal_pod_autoscaler_downscale_stabilization
        ),
        "horizontalPodAutoscalerCPUInitializationPeriod": (
            options.horizontal_pod_autoscaler_cpu_initialization_period
        ),
        "horizontalPodAutoscalerInitialReadinessDelay": options.horizontal_pod_autoscaler_initial_readiness_delay,
    }
    return {
        "Generic": {"Controllers": list(names), "LeaderElection": lead},
        "KubeCloudShared": {
            "AllocateNodeCIDRs": options.cluster_cidr is not None,
            "ClusterCIDR": options.cluster_cidr or "",
        },
        "DeploymentController": concurrent("ConcurrentDeploymentSyncs", "deployment-controller"),
        "DaemonSetController": concurrent("ConcurrentDaemonSetSyncs", "daemonset-controller"),
        "ReplicaSetController": concurrent("ConcurrentRSSyncs", "replicaset-controller"),
        "ReplicationController": concurrent("ConcurrentRCSyncs", "replicationcontroller-controller"),
        "StatefulSetController": concurrent("ConcurrentStatefulSetSyncs", "statefulset-controller"),
        "JobController": concurrent("ConcurrentJobSyncs", "job-controller"),
        "CronJobController": concurrent("ConcurrentCronJobSyncs", "cronjob-controller"),
        "TTLAfterFinishedController": concurrent("ConcurrentTTLSyncs", "ttl-after-finished-controller"),
        "EndpointController": concurrent("ConcurrentEndpointSyncs", "endpoints-controller"),
        "EndpointSliceController": concurrent(
            "ConcurrentServiceEndpointSyncs",
            "endpointslice-controller",
            MaxEndpointsPerSlice=options.max_endpoints_per_slice,
        ),
        "EndpointSliceMirroringController": concurrent(
            "MirroringConcurrentServiceEndpointSyncs",
            "endpointslice-mirroring-controller",
            MirroringMaxEndpointsPerSubset=options.mirroring_max_endpoints_per_subset,
        ),
        "GarbageCollectorController": concurrent("ConcurrentGCSyncs", "garbage-collector-controller"),
        "ResourceQuotaController": concurrent("ConcurrentResourceQuotaSyncs", "resourcequota-controller"),
        "NamespaceController": concurrent("ConcurrentNamespaceSyncs", "namespace-controller"),
        "PodGCController": {"TerminatedPodGCThreshold": options.terminated_pod_gc_threshold},
        "NodeIPAMController": {"NodeCIDRMaskSize": options.node_cidr_mask_size},
        "NodeLifecycleController": {
            "NodeMonitorGracePeriod": duration_text(options.node_monitor_grace_period),
            "NodeStartupGracePeriod": duration_text(options.node_startup_grace_period),
            "NodeEvictionRate": options.node_eviction_rate,
            "SecondaryNodeEvictionRate": options.secondary_node_eviction_rate,
            "UnhealthyZoneThreshold": options.unhealthy_zone_threshold,
            "LargeClusterSizeThreshold": options.large_cluster_size_threshold,
        },
        "HPAController": concurrent(
            "ConcurrentHorizontalPodAutoscalerSyncs",
            "horizontal-pod-autoscaler-controller",
            HorizontalPodAutoscalerTolerance=options.horizontal_pod_autoscaler_tolerance,
            **{field[0].upper() + field[1:]: duration_text(seconds) for field, seconds in autoscaling.items()},
        ),
    }
