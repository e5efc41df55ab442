"""`python -m kubelet.images`: looks after a store from the command line; `kctl image` runs it."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from kubelet.images.store import ImageError

PROGRAM = "kctl image"


def main() -> int:
    """Run one action; mistakes are told in one line."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--image-dir", type=Path, required=True, help="the store")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add_pull_and_push(actions)
    _add_archives(actions)
    _add_listing(actions)
    _add_build(actions)
    actions.add_parser("fetch")  # for a node agent: pulls.py
    args = parser.parse_args()
    # An action loads what it needs: listing images takes no HTTP.
    name = {"build": "kubelet.images.building.action", "fetch": "kubelet.images.fetch"}.get(args.action)
    module = importlib.import_module(name or "kubelet.images.actions")
    try:
        return int(getattr(module, f"run_{args.action}")(args))
    except ImageError as error:
        print(f"error: {error}", file=sys.stderr)
    except BrokenPipeError:
        raise
    except OSError as error:
        print(f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    return 1


def _add_pull_and_push(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    pulling = actions.add_parser("pull", help="pull images from registries")
    pulling.add_argument("image", nargs="+")
    pulling.add_argument("--platform", help="os/architecture[/variant] (this machine's)")
    pushing = actions.add_parser("push", help="push an image to its registry, or under another name")
    pushing.add_argument("image")
    pushing.add_argument("target", nargs="?", metavar="NAME", help="where to (the image's own name)")
    for action in (pulling, pushing):
        action.add_argument("--credentials", type=Path, metavar="FILE", help="a config.json as Docker's")
        action.add_argument("-q", "--quiet", action="store_true", help="print nothing but the result")


def _add_archives(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    importing = actions.add_parser("import", help="take in a `docker save` file or an OCI archive")
    importing.add_argument("archive", nargs="+", type=Path, help="a tar file, an OCI layout folder, or -")
    importing.add_argument("--tag", help="the name to give the image")
    importing.add_argument("--platform", help="os/architecture[/variant] (this machine's)")
    exporting = actions.add_parser("export", help="write images as an archive that docker, podman and skopeo read")
    exporting.add_argument("image", nargs="+")
    exporting.add_argument("-o", "--output", type=Path, default=Path("-"), metavar="FILE", help="(standard output)")


def _add_listing(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    listing = actions.add_parser("ls", help="list the images")
    listing.add_argument("-q", "--quiet", action="store_true", help="print ids alone")
    removing = actions.add_parser("rm", help="remove images by name or id")
    removing.add_argument("image", nargs="+")
    pruning = actions.add_parser("prune", help="remove images without a name, and what nothing needs")
    pruning.add_argument("-a", "--all", action="store_true", help="remove all images that no pod uses")
    tagging = actions.add_parser("tag", help="give an image one more name")
    tagging.add_argument("image")
    tagging.add_argument("name")
    inspecting = actions.add_parser("inspect", help="show all that is known of images, as JSON")
    inspecting.add_argument("image", nargs="+")


def _add_build(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    building = actions.add_parser("build", help="build an image from a Dockerfile")
    add = building.add_argument
    add("context", type=Path, metavar="FOLDER", help="what COPY and ADD copy from")
    add("-t", "--tag", action="append", default=[], help="a name for the image; may be given again")
    add("-f", "--file", type=Path, help="the Dockerfile (FOLDER/Dockerfile)")
    add("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="set an ARG; without =, as it is here")
    add("--target", default="", metavar="STAGE", help="the stage to build, and no further")
    add("--no-cache", action="store_true", help="run every step, even if its result is known")
    add("--network", choices=("host", "none"), default="host", help="what RUN can reach (%(default)s)")
    add("--label", action="append", default=[], metavar="NAME=VALUE", help="a label for the image")
    add("--pull", action="store_true", help="ask for base images even if they are here")
    add("--secret", action="append", default=[], metavar="id=NAME,src=FILE", help="for RUN --mount=type=secret")
    add("--platform", help="what to pull base images for; it must run here")
    add("--credentials", type=Path, metavar="FILE", help="a config.json as Docker's, for base images")
    add("-q", "--quiet", action="store_true", help="print nothing but the image's id")


if __name__ == "__main__":
    sys.exit(main())
