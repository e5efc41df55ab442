"""The node agent's command line: `python -m kubelet`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from apimachinery import quantity
from kubelet.eviction import flags as eviction_flags
from kubelet.eviction.thresholds import Settings as EvictionSettings
from kubelet.images import collector as image_collector
from kubelet.images.collector import Settings as ImageGCSettings
from kubelet.node import node_lease, node_settings, oom_score, shutdown
from kubelet.node.node_settings import NodeSettings
from kubelet.pods.pod_dns import ClusterDNS
from kubelet.pods.security_admission import parse_sysctls
from kubelet.runtime.handlers import registry

DEFAULT_PIDS_MAX = 4096
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """How one node agent is run. `pids_max` bounds the processes of a pod; 0 is no bound.

    A container's log is put aside when it has grown to `log_bytes_max`; it has `log_files_max` files at most.
    """

    kubeconfig: str
    node: NodeSettings
    root_dir: Path
    image_dir: Path
    static_pods: Path | None
    image_credentials: Path
    image_gc: ImageGCSettings
    eviction: EvictionSettings
    shutdown_periods: shutdown.Periods
    cert_dir: Path
    cgroup_root: str
    runtime_handlers: tuple[tuple[str, tuple[str, ...]], ...]
    dns: ClusterDNS
    pids_max: int
    log_bytes_max: int
    log_files_max: int
    allowed_unsafe_sysctls: tuple[str, ...]
    oom_score_adj: int
    lease_duration_seconds: int
    verbosity: int


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line; a mistake ends the process with one line."""
    parser = _parser()
    given = parser.parse_args(arguments)
    root: Path = given.root_dir
    images: Path = given.image_dir or root / "images"
    try:
        image_gc = ImageGCSettings(
            given.image_gc_high_threshold,
            given.image_gc_low_threshold,
            given.minimum_image_ttl_duration,
            given.image_maximum_gc_age,
        ).check()
        node = node_settings.check(_node(given))
        eviction = eviction_flags.settings(given, node.eviction)
        shutdown_periods = shutdown.periods(given)
    except ValueError as error:
        parser.error(str(error))
    return Options(
        kubeconfig=given.kubeconfig,
        node=node,
        root_dir=root,
        image_dir=images,
        static_pods=given.pod_manifest_path,
        image_credentials=given.image_credentials or images / "config.json",
        image_gc=image_gc,
        eviction=eviction,
        shutdown_periods=shutdown_periods,
        cert_dir=given.cert_dir or root / "pki",
        cgroup_root=given.cgroup_root,
        runtime_handlers=tuple(given.runtime_handler),
        dns=ClusterDNS(tuple(filter(None, given.cluster_dns.split(","))), given.cluster_domain),
        pids_max=max(given.pod_max_pids, 0),
        log_bytes_max=given.container_log_max_size,
        log_files_max=given.container_log_max_files,
        allowed_unsafe_sysctls=given.allowed_unsafe_sysctls,
        oom_score_adj=given.oom_score_adj,
        lease_duration_seconds=given.node_lease_duration_seconds,
        verbosity=given.v,
    )


def _node(given: argparse.Namespace) -> NodeSettings:
    return NodeSettings(
        name=given.node_name,
        address=given.node_ip,
        port=given.port,
        labels=given.node_labels,
        taints=given.register_with_taints,
        pods_max=given.max_pods,
        capacity=given.capacity,
        reserved=given.kube_reserved,
        system_reserved=given.system_reserved,
        enforced=given.enforce_node_allocatable,
        kube_reserved_group=given.kube_reserved_cgroup,
        system_reserved_group=given.system_reserved_cgroup,
        eviction=given.eviction_hard,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="kubelet", description="The node agent: runs the pods bound to one node.")
    add = parser.add_argument
    add("--kubeconfig", required=True, help="how to reach the API server, and as whom")
    add("--node-name", required=True, help="the name of the Node")
    add("--node-ip", required=True, type=_checked(_address), help="the address by which other nodes reach this one")
    add("--root-dir", required=True, type=Path, help="where pods, addresses and logs are kept")
    add("--image-dir", type=Path, help="the image store; several node agents may share one (ROOT/images)")
    add("--pod-manifest-path", type=Path, help="the folder (or file) of pods that this node runs without being told")
    add("--image-credentials", type=Path, help="what pods may show to registries, as Docker's (IMAGES/config.json)")
    _add_image_gc(parser)
    _add_allocatable(parser)
    add("--cert-dir", type=Path, help="holds ca.crt, kubelet.crt and kubelet.key (ROOT/pki)")
    add("--cgroup-root", required=True, help="the cgroup below which pods run, such as wherry/node-1")
    add(
        "--runtime-handler",
        type=_checked(registry.parse),
        action="append",
        default=[],
        metavar="NAME=PATH[ ARG…]",
        help="an OCI runtime that RuntimeClasses may name; runc and crun need none where they are installed",
    )
    add("--port", type=int, default=node_settings.DEFAULT_PORT, help="where logs and exec are served (%(default)s)")
    add("--cluster-dns", default="", help="addresses of the cluster's DNS; without any pods ask what the node asks")
    add("--cluster-domain", default="cluster.local", help="the domain of Services and pods (%(default)s)")
    add("--max-pods", type=int, default=node_settings.DEFAULT_PODS_MAX, help="how many pods may run (%(default)s)")
    add("--pod-max-pids", type=int, default=DEFAULT_PIDS_MAX, help="processes a pod, -1 for no limit (%(default)s)")
    _add_logs(parser)
    parsed: tuple[tuple[str, Callable[[str], object], str], ...] = (
        ("--allowed-unsafe-sysctls", parse_sysctls, "kernel.msg*,net.core.somaxconn,…: what else pods may set"),
        ("--node-labels", node_settings.parse_labels, "key=value,…: labels of the Node when it is registered"),
        ("--register-with-taints", node_settings.parse_taints, "key=value:Effect,…: taints, likewise"),
        ("--kube-reserved", node_settings.parse_resources, "cpu=…,memory=…,pid=…: kept from pods"),
        ("--system-reserved", node_settings.parse_resources, "the same, for what is not Kubernetes"),
        ("--capacity", node_settings.parse_resources, "cpu=…,memory=…: what the node has, instead of the machine's"),
    )
    for flag, parse_value, words in parsed:
        add(flag, type=_checked(parse_value), default="", help=words)
    add(
        "--eviction-hard",
        type=_checked(node_settings.parse_thresholds),
        default=node_settings.DEFAULT_EVICTION,
        help="memory.available<…,nodefs.available<…%%,…: when the node is short of something",
    )
    eviction_flags.add(parser, _checked)
    shutdown.add_flags(parser, _checked)
    add(
        "--node-lease-duration-seconds",
        type=int,
        default=node_lease.DEFAULT_DURATION_SECONDS,
        help="how long the node counts as alive without a sign of life (%(default)s)",
    )
    add("-v", action="count", default=0, help="log more")
    return parser


def _add_allocatable(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--oom-score-adj",
        type=_checked(oom_score.parse_score),
        default=oom_score.DEFAULT_SCORE,
        help="how soon this agent is killed when the machine's memory runs out (%(default)s)",
    )
    add(
        "--enforce-node-allocatable",
        type=_checked(node_settings.parse_enforced),
        default="pods",
        help="pods,kube-reserved,system-reserved: who is held to what they have (%(default)s)",
    )
    add("--kube-reserved-cgroup", default="", help="the cgroup that is held to what is kept for Kubernetes")
    add("--system-reserved-cgroup", default="", help="the cgroup that is held to what is kept for the system")


def _add_logs(parser: argparse.ArgumentParser) -> None:
    size, files = _checked(_log_size), _checked(_log_files)
    add = parser.add_argument
    add(
        "--container-log-max-size",
        type=size,
        default="10Mi",
        help="where a container's log is put aside (%(default)s)",
    )
    add("--container-log-max-files", type=files, default="5", help="files a container's log may have (%(default)s)")


def _log_size(text: str) -> int:
    size = quantity.value(text)
    if size <= 0:
        raise ValueError(f"a log must be allowed some size, not {text}")
    return size


def _log_files(text: str) -> int:
    if (count := int(text)) < 2:
        raise ValueError(f"a log must be allowed two files at least, one to write and one put aside, not {text}")
    return count


def _add_image_gc(parser: argparse.ArgumentParser) -> None:
    default = ImageGCSettings()
    percents = (
        (
            "--image-gc-high-threshold",
            default.high_percent,
            "percent of the images' disk from which on some are removed",
        ),
        ("--image-gc-low-threshold", default.low_percent, "percent of it down to which"),
    )
    for flag, percent, words in percents:
        parser.add_argument(flag, type=int, default=percent, help=f"{words} (%(default)s)")
    ages = (
        ("--minimum-image-ttl-duration", "2m", "how long an image is kept in any case"),
        ("--image-maximum-gc-age", "0", "how long an image may be unused, 0 for ever"),
    )
    for flag, duration, words in ages:
        parse_age = _checked(image_collector.parse_duration)
        parser.add_argument(flag, type=parse_age, default=duration, help=f"{words} (%(default)s)")


def _address(text: str) -> str:
    return str(ip_address(text))


def _checked(parse_value: Callable[[str], T]) -> Callable[[str], T]:
    """A parser whose complaint argparse shows as it is."""

    def parse_one(text: str) -> T:
        try:
            return parse_value(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_one
