"""`kctl up`: a whole cluster on this machine, or what is missing of it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from apiclient.kubeconfig import load as load_kubeconfig
from apiclient.rest import Client
from apimachinery.meta import Object
from kctl.cluster import credentials, hollow_nodes, layout, lifecycle, processes
from kctl.durations import duration
from kctl.errors import CommandError
from kctl.progress import Progress

MAX_NODES = 200
PARTS = {
    "apiserver": "the API server",
    "scheduler": "the scheduler",
    "controllers": "the controllers",
    "kubelet": "the node agents",
    "hollow": "the hollow nodes (`python -m kubelet.hollow --help`)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl up`."""
    parser.add_argument(
        "--nodes", type=int, metavar="N", help="how many nodes to run (default: 1, or as many as there are)"
    )
    parser.add_argument(
        "--hollow-nodes",
        type=int,
        metavar="N",
        help="how many nodes that run nothing and only tell the API so, besides (default: as many as there are)",
    )
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        default=[],
        metavar="FILE",
        help="apply this and wait until it is available",
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(layout.DEFAULT_DATA_DIR),
        metavar="DIR",
        help=f"the cluster's folder ({layout.DEFAULT_DATA_DIR})",
    )
    parser.add_argument("--port", type=int, default=6443, help="the API server's port (default: 6443)")
    parser.add_argument("--timeout", type=duration, default=60.0, metavar="DURATION", help="default: 60s")
    parser.add_argument("--quiet", action="store_true", help="show no progress")
    parser.add_argument("--no-kubeconfig", action="store_true", help="leave the user's kubeconfig alone")
    for part in PARTS:
        parser.add_argument(
            f"--{part}-flag", action="append", metavar="FLAG", help=f"a flag for {PARTS[part]}, may be repeated"
        )


async def run(args: argparse.Namespace) -> None:
    """Start what is missing, wait until every node is Ready, and tell the user how to go on."""
    layout.require_root("starting a cluster")
    if args.nodes is not None and not 1 <= args.nodes <= MAX_NODES:
        raise CommandError(f"--nodes {args.nodes}: must be between 1 and {MAX_NODES}", exit_status=2)
    if args.hollow_nodes is not None and not 0 <= args.hollow_nodes <= hollow_nodes.MAX_NODES:
        why = f"must be between 0 and {hollow_nodes.MAX_NODES}"
        raise CommandError(f"--hollow-nodes {args.hollow_nodes}: {why}", exit_status=2)
    if not 1 <= args.port <= 65535:
        raise CommandError(f"--port {args.port}: must be between 1 and 65535", exit_status=2)
    objects = _read_objects(args.filename)
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
            if args.hollow_nodes is not None and args.hollow_nodes != cluster.hollow_nodes:
                _change_hollow_nodes(cluster, args.hollow_nodes)
            while len(cluster.nodes) < (args.nodes or 1):
                cluster.add_node()
            cluster.save()
            await lifecycle.start_all(cluster, deadline, progress)
            async with await Client.connect(load_kubeconfig(str(cluster.admin_kubeconfig))) as client:
                await lifecycle.wait_nodes_ready(client, cluster, deadline, progress)
                count = len(cluster.nodes)
                progress.done(f"{count} node{'s' if count > 1 else ''} ready")
                if cluster.hollow_nodes:
                    await hollow_nodes.wait_ready(client, cluster, deadline, progress)
                    progress.done(
                        f"{cluster.hollow_nodes} hollow node{'s' if cluster.hollow_nodes > 1 else ''} ready"
                    )
            _tell_kubeconfig(args, cluster)
        finally:
            progress.end()
    if objects:
        try:
            await _apply_all(cluster, [item for _, item in objects], deadline, progress)
        finally:
            progress.end()


def _change_hollow_nodes(cluster: layout.Cluster, count: int) -> None:
    """There are to be so many from now on: what was started for another number is ended, to be started anew."""
    parts = [hollow_nodes.PART]
    if hollow_nodes.controller_flags(count) != hollow_nodes.controller_flags(cluster.hollow_nodes):
        parts.append(lifecycle.CONTROLLERS)
    processes.stop(cluster.data_dir, *parts)
    cluster.hollow_nodes = count


def _read_objects(files: list[str]) -> list[tuple[str, Object]]:
    if not files:
        return []
    from kctl.documents import read_objects

    return read_objects(files)


async def _apply_all(cluster: layout.Cluster, objects: list[Object], deadline: float, progress: Progress) -> None:
    from kctl.commands.apply import apply_and_wait

    async with await Client.connect(load_kubeconfig(str(cluster.admin_kubeconfig))) as client:
        for item in objects:
            await apply_and_wait(client, item, deadline, progress)


def _tell_kubeconfig(args: argparse.Namespace, cluster: layout.Cluster) -> None:
    if args.no_kubeconfig:
        print(f"export KUBECONFIG={cluster.admin_kubeconfig}")
        return
    path = credentials.user_kubeconfig().absolute()
    if str(path) not in cluster.kubeconfigs:
        cluster.kubeconfigs.append(str(path))
        cluster.save()
    credentials.merge_context(cluster, path)
    if not args.quiet:
        print(f"context {cluster.context!r} is now the current one of {path}; try `kctl get nodes`")
