"""`kctl image`: the images of this machine's nodes, which share one store."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from kctl.cluster import layout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl image`."""
    parser.add_argument("action", choices=("import", "ls", "rm"))
    parser.add_argument("what", nargs="*", metavar="FILE | IMAGE", help="archives to import, images to remove")
    parser.add_argument("--tag", help="import: the name to give the image")
    parser.add_argument("--image-dir", type=Path, help="the store (default: that of this machine's cluster)")
    parser.add_argument("--data-dir", type=Path, default=Path(layout.DEFAULT_DATA_DIR), metavar="DIR")


def run(args: argparse.Namespace) -> int:
    """Hand the work to the node agent's own image command."""
    layout.require_root("changing images")
    store = args.image_dir or args.data_dir.resolve() / "images"
    command = [sys.executable, "-m", "kubelet.images", "--image-dir", str(store), args.action]
    if args.action == "import" and args.tag:
        command += ["--tag", args.tag]
    # From `/`, since Python would take a folder `kubelet` of the current one for ours.
    return subprocess.run([*command, *_absolute(args)], check=False, cwd="/").returncode


def _absolute(args: argparse.Namespace) -> list[str]:
    if args.action != "import":
        return list(args.what)
    return [word if word == "-" else str(Path(word).absolute()) for word in args.what]
