"""`kctl down`: stop this machine's cluster and all that it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from kctl.cluster import credentials, layout
from kctl.errors import CommandError
from kctl.progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl down`."""
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(layout.DEFAULT_DATA_DIR),
        metavar="DIR",
        help=f"the cluster's folder ({layout.DEFAULT_DATA_DIR})",
    )
    parser.add_argument("--purge", action="store_true", help="also remove all data: objects, keys, images and logs")
    parser.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> None:
    """Stop the parts and the pods; keep the data unless told otherwise."""
    from kctl.cluster import lifecycle

    layout.require_root("stopping a cluster")
    data_dir = args.data_dir.resolve()
    if not data_dir.exists():
        raise CommandError(f"there is no cluster in {data_dir}")
    progress = Progress(quiet=args.quiet)
    with layout.locked(data_dir):
        try:
            cluster = _cluster(data_dir, purge=args.purge)
            lifecycle.stop_all(cluster, progress)
            credentials.remove_context(cluster)
            if args.purge:
                lifecycle.purge(data_dir)
                progress.done("cluster stopped and removed")
            else:
                progress.done("cluster stopped; `kctl up` starts it again with all its objects")
        finally:
            progress.end()


def _cluster(data_dir: Path, *, purge: bool) -> layout.Cluster:
    try:
        return layout.require(data_dir)
    except CommandError:
        if purge and (data_dir / "cluster.json").exists():
            return layout.salvage(data_dir)
        raise
