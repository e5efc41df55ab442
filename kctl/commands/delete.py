"""`kctl delete`: deletes objects and, unless told not to, waits until they are gone."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import aclosing

from apiclient.rest import Client
from apimachinery.errors import ApiError, is_not_found
from apimachinery.resources import Resource
from kctl.connect import add_namespace, connect
from kctl.documents import read_objects
from kctl.durations import duration
from kctl.errors import CommandError
from kctl.follow import follow
from kctl.progress import Progress
from kctl.resources import find_kind, shown_name, targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl delete`."""
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
    parser.add_argument("--all", action="store_true", help="all objects of the type in the namespace")
    parser.add_argument("--now", action="store_true", help="a grace period of one second")
    parser.add_argument("--force", action="store_true", help="do not wait for the node: grace period 0")
    parser.add_argument("--grace-period", type=int, metavar="SECONDS", help="how long its processes may take to end")
    parser.add_argument(
        "--cascade",
        choices=("background", "foreground", "orphan"),
        default="background",
        help="what becomes of what it owns",
    )
    parser.add_argument("--ignore-not-found", action="store_true", help="what is not there is no error")
    parser.add_argument("--no-wait", action="store_true", help="return at once")
    parser.add_argument("--timeout", type=duration, default=120.0, metavar="DURATION", help="default: 120s")
    add_namespace(parser)


async def run(args: argparse.Namespace) -> int:
    """Delete what was named; the exit status is 1 if something was missing or refused."""
    if args.filename and args.what:
        raise CommandError("objects are named by -f or by arguments, not by both", exit_status=2)
    client, namespace = await connect(args)
    async with client:
        chosen = await _chosen(client, args, namespace)
        gone: list[tuple[Resource, str, str | None, str]] = []
        status = 0
        for resource, name, scope in chosen:
            try:
                uid = (await client.get(resource, name, scope))["metadata"]["uid"]
                await client.delete(
                    resource,
                    name,
                    scope,
                    grace_period_seconds=_grace(args),
                    propagation_policy=args.cascade.capitalize(),
                )
                gone.append((resource, name, scope, uid))
                print(f'{resource.singular} "{name}" deleted', flush=True)
            except ApiError as error:
                if is_not_found(error) and args.ignore_not_found:
                    continue
                print(f"error: {error.message}", file=sys.stderr)
                status = 1
        if not args.no_wait and not args.force:
            await _wait_gone(client, gone, args.timeout)
        return status


def _grace(args: argparse.Namespace) -> int | None:
    if args.force:
        return 0
    if args.now:
        return 1
    grace: int | None = args.grace_period
    if grace is not None and grace < 0:
        raise CommandError(f"--grace-period {grace}: must not be negative", exit_status=2)
    return grace


async def _chosen(client: Client, args: argparse.Namespace, namespace: str) -> list[tuple[Resource, str, str | None]]:
    if args.filename:
        found = []
        for _, item in read_objects(args.filename, recursive=args.recursive):
            resource = await find_kind(client, item["apiVersion"], item["kind"])
            own = item["metadata"].get("namespace") or namespace
            found.append((resource, item["metadata"]["name"], own if resource.namespaced else None))
        return found
    chosen: list[tuple[Resource, str, str | None]] = []
    for resource, names in await targets(client, args.what):
        scope = namespace if resource.namespaced else None
        if not names and not (args.all or args.selector):
            raise CommandError("name the objects, or say --all or -l LABELS", exit_status=2)
        if not names:
            listing = await client.list(resource, scope, label_selector=args.selector)
            names = [item["metadata"]["name"] for item in listing["items"]]
        chosen += [(resource, name, scope) for name in names]
    return chosen


async def _wait_gone(
    client: Client, gone: list[tuple[Resource, str, str | None, str]], timeout_seconds: float
) -> None:
    progress = Progress()
    try:
        async with asyncio.timeout(timeout_seconds):
            for resource, name, scope, uid in gone:
                progress.waiting(f"waiting for {shown_name(resource, name)} to end")
                await _wait_one_gone(client, resource, name, scope, uid)
    except TimeoutError:
        message = f"{shown_name(resource, name)} has not ended after {timeout_seconds:g}s"
        raise CommandError(f"{message}; it may wait for a finalizer or for its node") from None
    finally:
        progress.end()


async def _wait_one_gone(client: Client, resource: Resource, name: str, scope: str | None, uid: str) -> None:
    async with aclosing(follow(client, resource, name, scope)) as states:
        async for item in states:
            if item is None or item["metadata"]["uid"] != uid:
                return
