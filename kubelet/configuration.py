"""How a node agent is run, in the words of Kubernetes' KubeletConfiguration: what /configz shows. Pure.

Only what is true of this agent is named: what it does not have has no default to show.
Source: https://kubernetes.io/docs/reference/config-api/kubelet-config.v1beta1/
"""

from __future__ import annotations

from apiclient.serving import reviews
from apimachinery import quantity
from apimachinery.meta import Object
from kubelet.eviction.thresholds import ALLOCATABLE_MEMORY, NOTHING
from kubelet.eviction.thresholds import Settings as EvictionSettings
from kubelet.node.node_settings import NodeSettings, Threshold
from kubelet.node.shutdown import Periods
from kubelet.options import Options
from kubelet.server import websockets


def kubelet_configuration(options: Options) -> Object:
    """The document."""
    node, images = options.node, options.image_gc
    eviction = {name: _threshold(name, threshold) for name, threshold in node.eviction.items()}
    return {
        "kind": "KubeletConfiguration",
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "address": node.address,
        "port": node.port,
        **({"staticPodPath": str(options.static_pods)} if options.static_pods is not None else {}),
        "enableServer": True,
        "enableDebuggingHandlers": True,
        "enableSystemLogHandler": True,
        "enableSystemLogQuery": False,
        "tlsCertFile": str(options.cert_dir / "kubelet.crt"),
        "tlsPrivateKeyFile": str(options.cert_dir / "kubelet.key"),
        "authentication": {
            "x509": {"clientCAFile": str(options.cert_dir / "ca.crt")},
            "webhook": {"enabled": True, "cacheTTL": duration(reviews.TOKEN_SECONDS)},
            "anonymous": {"enabled": False},
        },
        "authorization": {
            "mode": "Webhook",
            "webhook": {
                "cacheAuthorizedTTL": duration(reviews.ALLOWED_SECONDS),
                "cacheUnauthorizedTTL": duration(reviews.REFUSED_SECONDS),
            },
        },
        "clusterDomain": options.dns.domain,
        "clusterDNS": list(options.dns.servers),
        "streamingConnectionIdleTimeout": duration(websockets.IDLE_SECONDS_MAX),
        "nodeLeaseDurationSeconds": options.lease_duration_seconds,
        "imageMinimumGCAge": duration(images.age_seconds_min),
        "imageMaximumGCAge": duration(images.age_seconds_max),
        "imageGCHighThresholdPercent": images.high_percent,
        "imageGCLowThresholdPercent": images.low_percent,
        "cgroupRoot": f"/{options.cgroup_root.strip('/')}",
        "cgroupsPerQOS": True,
        "cgroupDriver": "cgroupfs",
        "maxPods": node.pods_max,
        "podPidsLimit": options.pids_max or -1,
        "cpuCFSQuota": True,
        "cpuCFSQuotaPeriod": "100ms",
        "evictionHard": eviction,
        **_pressure(options.eviction),
        **_shutdown(options.shutdown_periods),
        **_reserved(node),
        "oomScoreAdj": options.oom_score_adj,
        "registerNode": True,
        "registerWithTaints": [dict(taint) for taint in node.taints],
        "containerLogMaxSize": size(options.log_bytes_max),
        "containerLogMaxFiles": options.log_files_max,
    }


def duration(seconds: float) -> str:
    """As Go writes it: `0s`, `30s`, `2m0s`, `4h0m0s`."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours}h{minutes}m{rest}s"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _pressure(settings: EvictionSettings) -> Object:
    soft = [rule for rule in settings.rules if not rule.is_hard]
    reclaim = {rule.signal: rule.reclaim for rule in settings.rules if rule.reclaim != NOTHING}
    maps = {
        "evictionSoft": {rule.signal: _threshold(rule.signal, rule.limit) for rule in soft},
        "evictionSoftGracePeriod": {rule.signal: duration(rule.grace_seconds) for rule in soft},
        "evictionMinimumReclaim": {
            signal: _threshold(signal, amount) for signal, amount in reclaim.items() if signal != ALLOCATABLE_MEMORY
        },
    }
    return {
        **{name: values for name, values in maps.items() if values},
        "evictionPressureTransitionPeriod": duration(settings.transition_seconds),
        "evictionMaxPodGracePeriod": int(settings.pod_grace_seconds_max),
    }


def _reserved(node: NodeSettings) -> Object:
    groups = {"kubeReservedCgroup": node.kube_reserved_group, "systemReservedCgroup": node.system_reserved_group}
    return {
        "kubeReserved": dict(node.reserved),
        "systemReserved": dict(node.system_reserved),
        "enforceNodeAllocatable": list(node.enforced) or ["none"],
        **{name: path for name, path in groups.items() if path},
    }


def _shutdown(periods: Periods) -> Object:
    listed = [{"priority": one.priority, "shutdownGracePeriodSeconds": int(one.seconds)} for one in periods]
    return {"shutdownGracePeriodByPodPriority": listed} if listed else {"shutdownGracePeriod": "0s"}


def _threshold(signal: str, threshold: Threshold) -> str:
    """`100Mi`, `10%`, or a number of inodes or processes."""
    if not threshold.amount:
        return f"{threshold.share * 100:g}%"
    is_bytes = signal.endswith(".available") and not signal.startswith("pid.")
    return size(threshold.amount) if is_bytes else str(threshold.amount)


def size(count: int) -> str:
    """Bytes: `10Mi`."""
    return str(count) if count % 1024 else quantity.canonical(f"{count // 1024}Ki")
