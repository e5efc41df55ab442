"""`kctl scale`: sets the number of replicas through the `scale` subresource."""

from __future__ import annotations

import argparse

from kctl.connect import add_namespace, connect
from kctl.errors import CommandError
from kctl.resources import shown_name, targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl scale`."""
    parser.add_argument("what", nargs="+", metavar="TYPE/NAME", help="as in deployment/web")
    parser.add_argument("--replicas", type=int, required=True, metavar="N", help="how many there shall be")
    parser.add_argument("--current-replicas", type=int, metavar="N", help="only if it has as many now")
    add_namespace(parser)


async def run(args: argparse.Namespace) -> None:
    """Set `spec.replicas` of each named object."""
    if args.replicas < 0:
        raise CommandError(f"--replicas {args.replicas}: must not be negative", exit_status=2)
    client, namespace = await connect(args)
    async with client:
        for resource, names in await targets(client, args.what):
            if not names:
                raise CommandError(f"name the {resource.plural} to scale", exit_status=2)
            for name in names:
                scope = namespace if resource.namespaced else None
                current = await client.get(resource, name, scope, subresource="scale")
                have = (current.get("spec") or {}).get("replicas", 0)
                if args.current_replicas is not None and have != args.current_replicas:
                    shown = shown_name(resource, name)
                    raise CommandError(f"{shown} has {have} replicas, not {args.current_replicas}")
                patch = {"spec": {"replicas": args.replicas}}
                await client.patch(resource, name, patch, scope, kind="merge", subresource="scale")
                print(f"{shown_name(resource, name)} scaled")
