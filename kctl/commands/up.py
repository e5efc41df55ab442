"""`kctl up`: a whole cluster on this machine, or what is missing of it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from apiclient.kubeconfig import load as load_kubeconfig
from apiclient.rest import Client
from kctl.cluster import credentials, host_network, layout, lifecycle
from kctl.errors import CommandError
from kctl.progress import Progress

MAX_NODES = 200
PARTS = ("apiserver", "scheduler", "controllers", "kubelet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl up`."""
    parser.add_argument(
        "--nodes", type=int, metavar="N", help="how many nodes to run (default: 1, or as many as there are)"
    )
    parser.add_argument("--data-dir", type=Path, default=Path(layout.DEFAULT_DATA_DIR), metavar="DIR")
    parser.add_argument("--port", type=int, default=6443, help="the API server's port (default: 6443)")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS", help="default: 60")
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
        finally:
            progress.end()
    _tell_kubeconfig(args, cluster)


def _tell_kubeconfig(args: argparse.Namespace, cluster: layout.Cluster) -> None:
    if args.no_kubeconfig:
        print(f"export KUBECONFIG={cluster.admin_kubeconfig}")
        return
    path = credentials.user_kubeconfig()
    credentials.merge_context(cluster, path)
    if not args.quiet:
        print(f"context {cluster.context!r} is now the current one of {path}; try `kctl get nodes`")
