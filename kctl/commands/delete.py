"""`kctl delete`: deletes objects and, unless told not to, waits until they are gone."""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import aclosing

from apiclient.rest import Client
from apimachinery.errors import ApiError, is_not_found
from apimachinery.resources import Resource
from kctl.connect import connect
from kctl.durations import duration
from kctl.errors import CommandError
from kctl.follow import follow
from kctl.progress import Progress
from kctl.resources import shown_name
from kctl.selection import add_selection, selected


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl delete`."""
    add_selection(parser)
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
    parser.add_argument(
        "--wait", nargs="?", choices=("true", "false"), const="true", default="true", help="false: as --no-wait"
    )
    parser.add_argument("--timeout", type=duration, default=120.0, metavar="DURATION", help="default: 120s")
    parser.add_argument("-o", "--output", choices=("name",), help="print TYPE/NAME of what is deleted")


async def run(args: argparse.Namespace) -> int:
    """Delete what was named; the exit status is 1 if something was missing or refused."""
    client, namespace = await connect(args)
    async with client:
        gone: list[tuple[Resource, str, str | None, str]] = []
        status = 0
        for resource, name, scope in await selected(client, args, namespace):
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
                shown = shown_name(resource, name) if args.output else f'{resource.singular} "{name}" deleted'
                print(shown, flush=True)
            except ApiError as error:
                if is_not_found(error) and args.ignore_not_found:
                    continue
                print(f"error: {error.message}", file=sys.stderr)
                status = 1
        if not args.no_wait and args.wait == "true" and not args.force:
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
