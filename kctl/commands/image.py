"""`kctl image`: the images of this machine's nodes, which share one store.

pull, push       from and to registries           import, export   archives of docker, podman and skopeo
build            from a Dockerfile                ls, inspect, tag, rm, prune
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from kctl.cluster import layout

ACTIONS = ("build", "export", "import", "inspect", "ls", "prune", "pull", "push", "rm", "tag")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl image`; what follows the action is the action's own (`kctl image pull --help`)."""
    _add_store(parser)
    parser.add_argument("action", choices=ACTIONS, help="what to do: `kctl image ACTION --help` tells its flags")
    parser.add_argument("rest", nargs=argparse.REMAINDER, metavar="…", help="what the action takes")


def run(args: argparse.Namespace) -> int:
    """Hand the work to the node agent's own image command."""
    layout.require_root("looking after images")
    # The store may be named behind the action, too.
    among_rest = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    _add_store(among_rest)
    later, rest = among_rest.parse_known_args(args.rest)
    image_dir = later.image_dir or args.image_dir
    data_dir = later.data_dir or args.data_dir or Path(layout.DEFAULT_DATA_DIR)
    store = image_dir or data_dir.resolve() / "images"
    # -P: a folder `kubelet` in the current one is not ours.
    command = [sys.executable, "-P", "-m", "kubelet.images", "--image-dir", str(store), args.action, *rest]
    return subprocess.run(command, check=False).returncode


def _add_store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image-dir", type=Path, help="the store (default: that of this machine's cluster)")
    parser.add_argument(
        "--data-dir", type=Path, metavar="DIR", help=f"the cluster's folder ({layout.DEFAULT_DATA_DIR})"
    )
