"""`kctl apply`: makes the cluster hold what the files say, and leaves alone what others have set.

As kubectl does, the last applied form of an object is kept in an annotation, so that a field that was taken
out of the file is taken out of the object; the rest is merged by the server (strategic merge patch).

Source: https://kubernetes.io/docs/tasks/manage-kubernetes-objects/declarative-config/
"""

from __future__ import annotations

import argparse
import sys
import time

import orjson

from apiclient.rest import Client
from apimachinery.errors import ApiError, is_already_exists, is_not_found
from apimachinery.meta import Object
from apimachinery.resources import DEPLOYMENTS, Resource
from kctl.connect import add_namespace, connect
from kctl.documents import read_objects
from kctl.errors import CommandError
from kctl.progress import Progress
from kctl.resources import find_kind, shown_name
from kctl.threeway import LAST_APPLIED, three_way_patch

PARAMS = {"fieldManager": "kctl", "fieldValidation": "Strict"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl apply`."""
    parser.add_argument(
        "-f", "--filename", action="append", default=[], metavar="FILE", help="a file, folder, URL or -"
    )
    parser.add_argument("-R", "--recursive", action="store_true", help="also read the folders in a folder")
    parser.add_argument(
        "--dry-run",
        choices=("none", "server"),
        default="none",
        help="server: check and show what would come, change nothing",
    )
    parser.add_argument(
        "--server-side", action="store_true", help="leave the merging to the server (server-side apply)"
    )
    parser.add_argument("--force-conflicts", action="store_true", help="server side: take fields over from others")
    parser.add_argument("--field-manager", default="kctl", metavar="NAME", help="whose fields they are (%(default)s)")
    add_namespace(parser)


async def run(args: argparse.Namespace) -> int:
    """Apply every object in order; one that is refused does not keep the others from being applied."""
    if args.force_conflicts and not args.server_side:
        raise CommandError("--force-conflicts is for --server-side", exit_status=2)
    objects = read_objects(args.filename, recursive=args.recursive)
    client, namespace = await connect(args)
    params = {**PARAMS, "fieldManager": args.field_manager}
    params |= {"dryRun": "All"} if args.dry_run == "server" else {}
    params |= {"force": "true"} if args.force_conflicts else {}
    apply = apply_on_server if args.server_side else apply_object
    status = 0
    async with client:
        for where, wanted in objects:
            try:
                resource = await find_kind(client, wanted["apiVersion"], wanted["kind"])
                scope = _namespace_of(resource, wanted, args.namespace, namespace, where)
                outcome = await apply(client, resource, wanted, scope, params)
                suffix = " (server dry run)" if args.dry_run == "server" else ""
                print(f"{shown_name(resource, wanted['metadata']['name'])} {outcome}{suffix}", flush=True)
            except ApiError as error:
                print(f"error: {where}: {error.message}", file=sys.stderr)
                status = 1
            except CommandError as error:
                print(f"error: {error}", file=sys.stderr)
                status = 1
    return status


def _namespace_of(resource: Resource, wanted: Object, flag: str | None, default: str, where: str) -> str | None:
    if not resource.namespaced:
        return None
    own: str | None = wanted["metadata"].get("namespace")
    if own and flag and own != flag:
        raise CommandError(f"{where}: the object's namespace {own!r} is not {flag!r}, the one asked for")
    return own or default


async def apply_object(
    client: Client, resource: Resource, wanted: Object, namespace: str | None, params: dict[str, str]
) -> str:
    """Create or patch one object; returns `created`, `configured` or `unchanged`."""
    name = wanted["metadata"].get("name")
    if not name:
        raise CommandError("metadata.generateName can't be applied; give the object a name")
    desired = _with_last_applied(wanted, namespace)
    try:
        live = await client.get(resource, name, namespace)
    except ApiError as error:
        if not is_not_found(error):
            raise
        try:
            await client.create(resource, desired, namespace, params=params)
            return "created"
        except ApiError as race:
            if not is_already_exists(race):
                raise
            live = await client.get(resource, name, namespace)
    patch = three_way_patch(desired, live)
    if not patch:
        return "unchanged"
    merged = await client.patch(resource, name, patch, namespace, kind=_patch_kind(resource), params=params)
    same = merged["metadata"].get("resourceVersion") == live["metadata"].get("resourceVersion")
    return "unchanged" if same else "configured"


async def apply_on_server(
    client: Client, resource: Resource, wanted: Object, namespace: str | None, params: dict[str, str]
) -> str:
    """Have the server merge one object by who owns which fields; returns `serverside-applied`."""
    name = wanted["metadata"].get("name")
    if not name:
        raise CommandError("metadata.generateName can't be applied; give the object a name")
    await client.patch(resource, name, wanted, namespace, kind="apply", params=params)
    return "serverside-applied"


async def apply_and_wait(client: Client, item: Object, deadline: float, progress: Progress) -> None:
    """Apply one object of any kind; if it is a Deployment, wait until it is available."""
    from kctl.commands.rollout import wait_rolled_out

    resource = await find_kind(client, item["apiVersion"], item["kind"])
    name = str(item["metadata"].get("name"))
    namespace = (item["metadata"].get("namespace") or "default") if resource.namespaced else None
    shown = shown_name(resource, name)
    progress.waiting(f"applying {shown}")
    outcome = await apply_object(client, resource, item, namespace, PARAMS)
    if resource == DEPLOYMENTS and namespace is not None:
        left = max(0.0, deadline - time.monotonic())
        await wait_rolled_out(client, resource, namespace, name, left, progress.waiting)
        outcome = "available"
    progress.done(f"{shown} {outcome}")


def _patch_kind(resource: Resource) -> str:
    from apimachinery.resources import BUILTIN

    return "strategic" if resource in BUILTIN else "merge"


def _with_last_applied(wanted: Object, namespace: str | None) -> Object:
    metadata = dict(wanted["metadata"])
    if namespace:
        metadata["namespace"] = namespace
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != LAST_APPLIED}
    metadata["annotations"] = annotations
    plain = {**wanted, "metadata": metadata}
    record = orjson.dumps(plain, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    return {**plain, "metadata": {**metadata, "annotations": {**annotations, LAST_APPLIED: record}}}
