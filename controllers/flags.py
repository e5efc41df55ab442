"""The manager's flags, with Kubernetes' names.

Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from apiclient.serving import flags as serving
from apimachinery.duration import parse_seconds
from controllers.context import Options
from controllers.manager import CONTROLLERS, LeaderElection

_DEFAULTS = Options()
_ELECTION = LeaderElection()


def duration(text: str) -> float:
    """Seconds of `1m30s`, `500ms`, or a plain number of seconds. Raises ValueError."""
    return parse_seconds(text)


def boolean(text: str) -> bool:
    """`true` or `false`. Raises ValueError."""
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text.lower() == "true"


def parser() -> argparse.ArgumentParser:
    """The parser of the manager's command line."""
    new = argparse.ArgumentParser(prog="python -m controllers", description="Runs the cluster's control loops.")
    add = new.add_argument
    add("--kubeconfig", help="how to reach the API server; default: $KUBECONFIG, ~/.kube/config, or the pod's own")
    add("--controllers", default="*", metavar="LIST", help="`*` for all; `foo` adds one, `-foo` leaves one out")
    add("--cluster-cidr", metavar="CIDR", help="the network that nodes get their podCIDR from")
    add("--node-cidr-mask-size", type=int, default=_DEFAULTS.node_cidr_mask_size, metavar="BITS")
    add("--root-ca-file", metavar="FILE", help="published in every namespace; default: the kubeconfig's authority")
    for flag, kind in (
        ("node-monitor-grace-period", duration),
        ("node-startup-grace-period", duration),
        ("node-eviction-rate", float),
        ("secondary-node-eviction-rate", float),
        ("unhealthy-zone-threshold", float),
        ("large-cluster-size-threshold", int),
        ("terminated-pod-gc-threshold", int),
        ("max-endpoints-per-slice", int),
        ("mirroring-max-endpoints-per-subset", int),
        ("horizontal-pod-autoscaler-sync-period", duration),
        ("horizontal-pod-autoscaler-downscale-stabilization", duration),
        ("horizontal-pod-autoscaler-tolerance", float),
        ("horizontal-pod-autoscaler-cpu-initialization-period", duration),
        ("horizontal-pod-autoscaler-initial-readiness-delay", duration),
    ):
        default = getattr(_DEFAULTS, flag.replace("-", "_"))
        add(f"--{flag}", type=kind, default=default, metavar=kind.__name__.upper(), help=f"default: {default}")
    for entry in CONTROLLERS.values():
        if entry.flag is not None:
            add(f"--{entry.flag}", type=int, default=entry.workers, metavar="N", help=f"default: {entry.workers}")
    add("--leader-elect", type=boolean, nargs="?", const=True, default=_ELECTION.wanted, metavar="true|false")
    add("--leader-elect-lease-duration", type=duration, default=_ELECTION.lease_duration, metavar="DURATION")
    add("--leader-elect-renew-deadline", type=duration, default=_ELECTION.renew_deadline, metavar="DURATION")
    add("--leader-elect-retry-period", type=duration, default=_ELECTION.retry_period, metavar="DURATION")
    add("--leader-elect-resource-name", default=_ELECTION.name, metavar="NAME")
    add("--leader-elect-resource-namespace", default=_ELECTION.namespace, metavar="NAMESPACE")
    add("--leader-elect-resource-lock", choices=("leases",), default="leases", help="there is no other")
    serving.add_flags(new)
    add("-v", "--v", type=int, default=0, metavar="LEVEL", help="0: for operators; 1 and more: for finding faults")
    return new


def chosen_controllers(text: str, *, cluster_cidr: str | None) -> list[str]:
    """The controllers that `--controllers` names, in the table's order. Raises ValueError for an unknown one.

    Without a cluster network there is none to share out among nodes.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    unknown = {word.removeprefix("-") for word in words if word != "*"} - CONTROLLERS.keys()
    if unknown:
        raise ValueError(f"no controller {sorted(unknown)[0]!r}; there are: {', '.join(CONTROLLERS)}")
    chosen = [name for name in CONTROLLERS if f"-{name}" not in words and ("*" in words or name in words)]
    return [name for name in chosen if cluster_cidr or name != "node-ipam-controller" or name in words]


def options(args: argparse.Namespace, *, ca_pem: str | None) -> Options:
    """The controllers' options. Raises OSError if a named file can't be read."""
    return Options(
        cluster_cidr=args.cluster_cidr,
        node_cidr_mask_size=args.node_cidr_mask_size,
        node_monitor_grace_period=args.node_monitor_grace_period,
        node_startup_grace_period=args.node_startup_grace_period,
        node_eviction_rate=args.node_eviction_rate,
        secondary_node_eviction_rate=args.secondary_node_eviction_rate,
        unhealthy_zone_threshold=args.unhealthy_zone_threshold,
        large_cluster_size_threshold=args.large_cluster_size_threshold,
        terminated_pod_gc_threshold=args.terminated_pod_gc_threshold,
        max_endpoints_per_slice=args.max_endpoints_per_slice,
        mirroring_max_endpoints_per_subset=args.mirroring_max_endpoints_per_subset,
        horizontal_pod_autoscaler_sync_period=args.horizontal_pod_autoscaler_sync_period,
        horizontal_pod_autoscaler_downscale_stabilization=args.horizontal_pod_autoscaler_downscale_stabilization,
        horizontal_pod_autoscaler_tolerance=args.horizontal_pod_autoscaler_tolerance,
        horizontal_pod_autoscaler_cpu_initialization_period=args.horizontal_pod_autoscaler_cpu_initialization_period,
        horizontal_pod_autoscaler_initial_readiness_delay=args.horizontal_pod_autoscaler_initial_readiness_delay,
        root_ca=Path(args.root_ca_file).read_text() if args.root_ca_file else ca_pem,
        concurrent_syncs={
            name: getattr(args, entry.flag.replace("-", "_"))
            for name, entry in CONTROLLERS.items()
            if entry.flag is not None
        },
    )


def leader_election(args: argparse.Namespace) -> LeaderElection:
    """What the flags say of leader election. Raises ValueError for times by which two could lead at once."""
    if not args.leader_elect_retry_period < args.leader_elect_renew_deadline < args.leader_elect_lease_duration:
        raise ValueError("the retry period must be below the renew deadline, and that below the lease duration")
    return LeaderElection(
        args.leader_elect,
        args.leader_elect_lease_duration,
        args.leader_elect_renew_deadline,
        args.leader_elect_retry_period,
        args.leader_elect_resource_namespace,
        args.leader_elect_resource_name,
    )


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line; a mistake ends the process with a message."""
    return parser().parse_args(argv)
