"""`kctl up`: a whole cluster on this machine, or what is missing of it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from apiclient.kubeconfig import load as load_kubeconfig
from apiclient.rest import Client
from apimachinery.meta import Object
from apimachinery.resources import DEPLOYMENTS
from kctl.cluster import credentials, host_network, layout, lifecycle
from kctl.commands.apply import PARAMS, apply_object
from kctl.commands.rollout import wait_rolled_out
from kctl.documents import read_objects
from kctl.durations import duration
from kctl.errors import CommandError
from kctl.progress import Progress
from kctl.resources import find_kind, shown_name

MAX_NODES = 200
PARTS = ("apiserver", "scheduler", "controllers", "kubelet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl up`."""
    parser.add_argument(
        "--nodes", type=int, metavar="N", help="how many nodes to run (default: 1, or as many as there are)"
    )
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        default=[],
        metavar="FILE",
        help="apply this and wait until it is available",
    )
    parser.add_argument("--data-dir", type=Path, default=Path(layout.DEFAULT_DATA_DIR), metavar="DIR")
    parser.add_argument("--port", type=int, default=6443, help="the API server's port (default: 6443)")
    parser.add_argument("--timeout", type=duration, default=60.0, metavar="DURATION", help="default: 60s")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--no-kubeconfig", action="store_true", help="leave the user's kubeconfig alone")
    for part in PARTS:
        parser.add_argument(
            f"--{part}-flag", action="append", metavar="FLAG", help=f"a flag for the {part}, may be repeated"
        )


async def run(args: argparse.Namespace) -> None:
    """Start what is missing, wait until every node is Ready, and tell the user how to go on."""
    layout.require_root("starting a cluster")
    if args.nodes is not None and not 1 <= args.nodes <= MAX_NODES:
        raise CommandError(f"--nodes {args.nodes}: must be between 1 and {MAX_NODES}", exit_status=2)
    if not 1 <= args.port <= 65535:
        raise CommandError(f"--port {args.port}: must be between 1 and 65535", exit_status=2)
    objects = read_objects(args.filename) if args.filename else []
    data_dir = args.data_dir.resolve()
    deadline = time.monotonic() + args.timeout
    progress = Progress(quiet=args.quiet)
    with layout.locked(data_dir):
        try:
            cluster = lifecycle.cluster_of(data_dir, args.port)
            for part in PARTS:
                given = getattr(args, f"{part}_flag")
                if given is not None:
                    cluster.flags[part] = given
            while len(cluster.nodes) < (args.nodes or 1):
                cluster.add_node()
            cluster.save()
            progress.waiting("starting the API server")
            host_network.ensure_bridge(cluster, lifecycle.POD_NETWORK)
            lifecycle.start_apiserver(cluster)
            await lifecycle.wait_ready(cluster, deadline)
            progress.done(f"API server ready at {cluster.server}")
            lifecycle.start_control_loops(cluster)
            lifecycle.ensure_credentials(cluster)
            for node in cluster.nodes:
                lifecycle.start_node(cluster, node)
            async with await Client.connect(load_kubeconfig(str(cluster.admin_kubeconfig))) as client:
                await lifecycle.wait_nodes_ready(client, cluster, deadline, progress)
                count = len(cluster.nodes)
                progress.done(f"{count} node{'s' if count > 1 else ''} ready")
            _tell_kubeconfig(args, cluster)
        finally:
            progress.end()
    if objects:
        try:
            await _apply_all(cluster, [item for _, item in objects], deadline, progress)
        finally:
            progress.end()


async def _apply_all(cluster: layout.Cluster, objects: list[Object], deadline: float, progress: Progress) -> None:
    async with await Client.connect(load_kubeconfig(str(cluster.admin_kubeconfig))) as client:
        for item in objects:
            await _apply_and_wait(client, item, deadline, progress)


async def _apply_and_wait(client: Client, item: Object, deadline: float, progress: Progress) -> None:
    resource = await find_kind(client, item["apiVersion"], item["kind"])
    name = str(item["metadata"].get("name"))
    namespace = (item["metadata"].get("namespace") or "default") if resource.namespaced else None
    shown = shown_name(resource, name)
    progress.waiting(f"applying {shown}")
    outcome = await apply_object(client, resource, item, namespace, PARAMS)
    if resource == DEPLOYMENTS and namespace is not None:
        left = max(0.0, deadline - time.monotonic())
        await wait_rolled_out(client, namespace, name, left, progress.waiting)
        outcome = "available"
    progress.done(f"{shown} {outcome}")


def _tell_kubeconfig(args: argparse.Namespace, cluster: layout.Cluster) -> None:
    if args.no_kubeconfig:
        print(f"export KUBECONFIG={cluster.admin_kubeconfig}")
        return
    path = credentials.user_kubeconfig()
    credentials.merge_context(cluster, path)
    if not args.quiet:
        print(f"context {cluster.context!r} is now the current one of {path}; try `kctl get nodes`")
