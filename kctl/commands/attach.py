"""`kctl attach`: joins the process that a container runs, and shows what it writes from now on."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from apimachinery.meta import Object
from apimachinery.resources import PODS
from kctl import remote
from kctl.commands.logs import pod_of
from kctl.connect import add_namespace, connect
from kctl.errors import CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl attach`."""
    parser.add_argument("-c", "--container", help="default: the first")
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input on")
    parser.add_argument("-t", "--tty", action="store_true", help="the process has a terminal")
    parser.add_argument("what", metavar="POD | TYPE/NAME", help="a pod, or deployment/web for one of its pods")
    add_namespace(parser)


async def run(args: argparse.Namespace) -> int:
    """Show the output until the process ends; its exit status becomes ours if the server tells it."""
    tty = remote.refuse_false_terminal(args.tty)
    client, namespace = await connect(args)
    async with client:
        name = await pod_of(client, args.what, namespace)
        container = _container(await client.get(PODS, name, namespace), args.container)
        if tty and not container.get("tty"):
            print(f"Unable to use a TTY - container {container['name']} did not allocate one", file=sys.stderr)
            tty = False
        if args.stdin and not container.get("stdin"):
            raise CommandError(f"stdin is not available: container {container['name']} has `stdin: false`")
        asked = remote.Asked(
            namespace, name, container["name"], stdin=args.stdin, tty=tty or bool(container.get("tty"))
        )
        with remote.raw_terminal(tty and args.stdin):
            stdin = remote.own_stdin() if args.stdin else None
            return await remote.converse(client, asked, stdin, remote.outputs())


def _container(pod: Object, wanted: str | None) -> dict[str, Any]:
    """The container of this name, or the first one."""
    containers: list[dict[str, Any]] = pod["spec"]["containers"]
    found = containers if wanted is None else [one for one in containers if one["name"] == wanted]
    if not found:
        raise CommandError(f"container {wanted} not found in pod {pod['metadata']['name']}")
    return found[0]
