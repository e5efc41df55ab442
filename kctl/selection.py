"""Which objects a command is about: named, of a type, by labels or fields, or described by files."""

from __future__ import annotations

import argparse
from typing import NamedTuple

from apiclient.rest import Client
from apimachinery.resources import Resource
from kctl.connect import add_namespace
from kctl.documents import read_objects
from kctl.errors import CommandError
from kctl.resources import find_kind, targets


class Selected(NamedTuple):
    """One object: `scope` is its namespace (None: it has none)."""

    resource: Resource
    name: str
    scope: str | None


def add_selection(parser: argparse.ArgumentParser) -> None:
    """The arguments and flags that `selected` reads."""
    parser.add_argument("what", nargs="*", metavar="TYPE[/NAME]", help="a type, or one object: pods, deploy/web")
    parser.add_argument(
        "-f",
        "--filename",
        action="append",
        default=[],
        metavar="FILE",
        help="what a file, folder, URL or - describes",
    )
    parser.add_argument("-R", "--recursive", action="store_true", help="also read the folders in a folder")
    parser.add_argument("-l", "--selector", metavar="LABELS", help="as in app=web,tier!=db")
    parser.add_argument("--field-selector", metavar="FIELDS", help="as in spec.nodeName=node-1")
    parser.add_argument("--all", action="store_true", help="all objects of the type in the namespace")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    add_namespace(parser)


async def selected(client: Client, args: argparse.Namespace, namespace: str) -> list[Selected]:
    """The objects, of which those that were named may not exist. Raises CommandError."""
    choosing = bool(args.selector or args.field_selector or args.all)
    if args.filename:
        if args.what or choosing:
            raise CommandError("objects are named by -f or by arguments, not by both", exit_status=2)
        return await _described(client, args, namespace)
    if args.all and args.selector:
        raise CommandError("--all and -l LABELS can't be given together", exit_status=2)
    found: list[Selected] = []
    for resource, names in await targets(client, args.what):
        scope = namespace if resource.namespaced else None
        if names and (choosing or args.all_namespaces):
            raise CommandError("a name goes with neither --all nor a selector nor all namespaces", exit_status=2)
        if not names and not choosing:
            raise CommandError("name the objects, or say --all or -l LABELS", exit_status=2)
        found += [Selected(resource, name, scope) for name in names]
        if not names:
            listing = await client.list(
                resource,
                None if args.all_namespaces else scope,
                label_selector=args.selector,
                field_selector=args.field_selector,
            )
            for item in listing["items"]:
                metadata = item["metadata"]
                found.append(Selected(resource, metadata["name"], metadata.get("namespace")))
    return found


async def _described(client: Client, args: argparse.Namespace, namespace: str) -> list[Selected]:
    found = []
    for where, item in read_objects(args.filename, recursive=args.recursive):
        resource = await find_kind(client, item["apiVersion"], item["kind"])
        name = item["metadata"].get("name")
        if not name:
            raise CommandError(f"{where}: metadata.name is not set")
        own = item["metadata"].get("namespace") or namespace
        found.append(Selected(resource, name, own if resource.namespaced else None))
    return found
