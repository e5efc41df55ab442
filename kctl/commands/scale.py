"""`kctl scale`: sets the number of replicas through the `scale` subresource."""

from __future__ import annotations

import argparse

from kctl.connect import connect
from kctl.errors import CommandError
from kctl.resources import shown_name
from kctl.selection import add_selection, selected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl scale`."""
    add_selection(parser)
    parser.add_argument("--replicas", type=int, required=True, metavar="N", help="how many there shall be")
    parser.add_argument("--current-replicas", type=int, metavar="N", help="only if it has as many now")


async def run(args: argparse.Namespace) -> None:
    """Set `spec.replicas` of each object."""
    if args.replicas < 0:
        raise CommandError(f"--replicas {args.replicas}: must not be negative", exit_status=2)
    client, namespace = await connect(args)
    async with client:
        for resource, name, scope in await selected(client, args, namespace):
            shown = shown_name(resource, name)
            current = await client.get(resource, name, scope, subresource="scale")
            have = (current.get("spec") or {}).get("replicas", 0)
            if args.current_replicas is not None and have != args.current_replicas:
                raise CommandError(f"{shown} has {have} replicas, not {args.current_replicas}")
            patch = {"spec": {"replicas": args.replicas}}
            await client.patch(resource, name, patch, scope, kind="merge", subresource="scale")
            print(f"{shown} scaled")
