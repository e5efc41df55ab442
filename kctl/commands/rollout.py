"""`kctl rollout`: follow, look back on, undo, restart, pause and resume the rollout of a workload."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from apiclient.rest import Client
from apimachinery import meta
from apimachinery.meta import get_path
from apimachinery.resources import DEPLOYMENTS, Resource
from apimachinery.time import rfc3339
from kctl.connect import add_namespace, connect
from kctl.durations import duration
from kctl.errors import CommandError
from kctl.follow import follow
from kctl.resources import targets
from kctl.rollouts import KINDS, REVISION, plain_template, revisions, rollout_status

ACTIONS = ("status", "history", "undo", "restart", "pause", "resume")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl rollout`."""
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("what", nargs="+", metavar="KIND/NAME", help="whose: a deployment, statefulset or daemonset")
    parser.add_argument(
        "--revision",
        "--to-revision",
        type=int,
        default=0,
        metavar="N",
        help="history, undo: which (default: the last, the one before)",
    )
    parser.add_argument("--timeout", type=duration, default=600.0, metavar="DURATION", help="default: 600s")
    parser.add_argument("--no-wait", action="store_true", help="status: print once, do not wait")
    parser.add_argument(
        "-w",
        "--watch",
        nargs="?",
        choices=("true", "false"),
        const="true",
        default="true",
        help="status, false: as --no-wait",
    )
    add_namespace(parser)


async def run(args: argparse.Namespace) -> None:
    """Carry out one action on each named workload."""
    client, namespace = await connect(args)
    actions = {
        "status": _status,
        "history": _history,
        "undo": _undo,
        "restart": _restart,
        "pause": _pause,
        "resume": _resume,
    }
    async with client:
        for resource, names in await targets(client, args.what):
            if resource not in KINDS or not names:
                message = "name a deployment, statefulset or daemonset, as in `deployment/web`"
                raise CommandError(message, exit_status=2)
            for name in names:
                await actions[args.action](client, args, resource, namespace, name)


def _shown(resource: Resource, name: str) -> str:
    return f"{resource.singular}.{resource.group}/{name}"


async def _status(client: Client, args: argparse.Namespace, resource: Resource, namespace: str, name: str) -> None:
    await client.get(resource, name, namespace)
    timeout = None if args.no_wait or args.watch == "false" else args.timeout
    await wait_rolled_out(client, resource, namespace, name, timeout, print_line)


def print_line(text: str) -> None:
    """Print at once, whoever reads."""
    print(text, flush=True)


async def wait_rolled_out(
    client: Client,
    resource: Resource,
    namespace: str,
    name: str,
    timeout_seconds: float | None,
    tell: Callable[[str], None],
) -> None:
    """Tell how a rollout goes until it is over (without a timeout: once). Raises CommandError."""
    text = ""
    try:
        async with asyncio.timeout(timeout_seconds), aclosing(follow(client, resource, name, namespace)) as states:
            async for obj in states:
                if obj is None:
                    raise CommandError(f'{resource.singular} "{name}" was deleted')
                news, over = rollout_status(resource, obj)
                if news != text:
                    text = news
                    tell(text)
                if over or timeout_seconds is None:
                    return
    except TimeoutError:
        raise CommandError(f"{text} — gave up after {timeout_seconds:g}s") from None


async def _history(client: Client, args: argparse.Namespace, resource: Resource, namespace: str, name: str) -> None:
    found = await revisions(client, resource, await client.get(resource, name, namespace), namespace)
    if args.revision:
        wanted = next((one for one in found if one.number == args.revision), None)
        if wanted is None:
            raise CommandError(f"unable to find revision {args.revision} of {resource.singular} {name}")
        import yaml

        print(f"{_shown(resource, name)} with revision #{args.revision}")
        print(yaml.safe_dump(wanted.template, sort_keys=True), end="")
        return
    print(f"{_shown(resource, name)}\n{'REVISION':<10}CHANGE-CAUSE")
    for one in found:
        print(f"{one.number:<10}{one.cause}")


async def _undo(client: Client, args: argparse.Namespace, resource: Resource, namespace: str, name: str) -> None:
    obj = await client.get(resource, name, namespace)
    if get_path(obj, "spec", "paused"):
        raise CommandError(f"deployment {name} is paused; resume it with `kctl rollout resume` first")
    found = {one.number: one for one in await revisions(client, resource, obj, namespace)}
    newest = max(found, default=0)
    now = int(meta.annotations(obj).get(REVISION, "0")) if resource == DEPLOYMENTS else newest
    earlier = [number for number in found if number != now]
    wanted = args.revision or (earlier[-1] if earlier else 0)
    if wanted not in found:
        problem = f"unable to find revision {wanted}" if args.revision else "no rollout history found"
        raise CommandError(f"{problem} for {resource.singular} {name}")
    template = plain_template(found[wanted].template)
    if template == plain_template(obj["spec"]["template"]):
        print(f"{_shown(resource, name)} skipped rollback (current template already matches revision {wanted})")
        return
    patch = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": obj["metadata"]["resourceVersion"]},
        {"op": "replace", "path": "/spec/template", "value": template},
    ]
    await client.patch(resource, name, patch, namespace, kind="json")
    print(f"{_shown(resource, name)} rolled back")


async def _restart(client: Client, args: argparse.Namespace, resource: Resource, namespace: str, name: str) -> None:
    stamp = {"kubectl.kubernetes.io/restartedAt": rfc3339(time.time())}
    patch = {"spec": {"template": {"metadata": {"annotations": stamp}}}}
    await _patch(client, resource, namespace, name, patch, "restarted")


async def _pause(client: Client, args: argparse.Namespace, resource: Resource, namespace: str, name: str) -> None:
    _check_pausable(resource, name, "pausing")
    await _patch(client, resource, namespace, name, {"spec": {"paused": True}}, "paused")


async def _resume(client: Client, args: argparse.Namespace, resource: Resource, namespace: str, name: str) -> None:
    _check_pausable(resource, name, "resuming")
    await _patch(client, resource, namespace, name, {"spec": {"paused": None}}, "resumed")


def _check_pausable(resource: Resource, name: str, action: str) -> None:
    if resource != DEPLOYMENTS:
        raise CommandError(f'{resource.plural}.{resource.group} "{name}" {action} is not supported')


async def _patch(
    client: Client, resource: Resource, namespace: str, name: str, patch: dict[str, Any], done: str
) -> None:
    await client.patch(resource, name, patch, namespace, kind="merge")
    print(f"{_shown(resource, name)} {done}")
