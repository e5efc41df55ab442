"""`kctl rollout`: follow, look back on, undo, restart, pause and resume a Deployment's rollout."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from apiclient.rest import Client
from apimachinery import meta
from apimachinery.meta import Object, find_condition, get_path, is_controlled_by
from apimachinery.resources import DEPLOYMENTS, REPLICASETS
from apimachinery.time import rfc3339
from kctl.connect import add_namespace, connect
from kctl.durations import duration
from kctl.errors import CommandError
from kctl.follow import follow
from kctl.resources import targets

REVISION = "deployment.kubernetes.io/revision"
CHANGE_CAUSE = "kubernetes.io/change-cause"
HASH_LABEL = "pod-template-hash"
ACTIONS = ("status", "history", "undo", "restart", "pause", "resume")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl rollout`."""
    parser.add_argument("action", choices=ACTIONS, help="what to do")
    parser.add_argument("what", nargs="+", metavar="deployment/NAME", help="whose rollout")
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
    add_namespace(parser)


async def run(args: argparse.Namespace) -> None:
    """Carry out one action on each named Deployment."""
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
            if resource != DEPLOYMENTS or not names:
                raise CommandError("name a deployment, as in `deployment/web`", exit_status=2)
            for name in names:
                await actions[args.action](client, args, namespace, name)


def rollout_status(deployment: Object) -> tuple[str, bool]:
    """What to tell of a Deployment's rollout, and whether it is over. Raises CommandError if it failed.

    The words and the order of the checks are kubectl's.
    """
    name = deployment["metadata"]["name"]
    status = deployment.get("status") or {}
    if deployment["metadata"].get("generation", 0) > status.get("observedGeneration", 0):
        return "Waiting for deployment spec update to be observed...", False
    progressing = find_condition(status.get("conditions") or [], "Progressing")
    if progressing is not None and progressing.get("reason") == "ProgressDeadlineExceeded":
        raise CommandError(f'deployment "{name}" exceeded its progress deadline')
    wanted = get_path(deployment, "spec", "replicas", default=1)
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    waiting = f'Waiting for deployment "{name}" rollout to finish: '
    if updated < wanted:
        return f"{waiting}{updated} out of {wanted} new replicas have been updated...", False
    if total > updated:
        return f"{waiting}{total - updated} old replicas are pending termination...", False
    if available < updated:
        return f"{waiting}{available} of {updated} updated replicas are available...", False
    return f'deployment "{name}" successfully rolled out', True


async def _status(client: Client, args: argparse.Namespace, namespace: str, name: str) -> None:
    await client.get(DEPLOYMENTS, name, namespace)
    await wait_rolled_out(client, namespace, name, None if args.no_wait else args.timeout, print_line)


def print_line(text: str) -> None:
    """Print at once, whoever reads."""
    print(text, flush=True)


async def wait_rolled_out(
    client: Client, namespace: str, name: str, timeout_seconds: float | None, tell: Callable[[str], None]
) -> None:
    """Tell how a Deployment's rollout goes until it is over (without a timeout: once). Raises CommandError."""
    text = ""
    try:
        async with asyncio.timeout(timeout_seconds), aclosing(follow(client, DEPLOYMENTS, name, namespace)) as states:
            async for deployment in states:
                if deployment is None:
                    raise CommandError(f'deployment "{name}" was deleted')
                news, over = rollout_status(deployment)
                if news != text:
                    text = news
                    tell(text)
                if over or timeout_seconds is None:
                    return
    except TimeoutError:
        raise CommandError(f"{text} — gave up after {timeout_seconds:g}s") from None


async def _revisions(client: Client, namespace: str, deployment: Object) -> dict[int, Object]:
    found = {}
    for replica_set in (await client.list(REPLICASETS, namespace))["items"]:
        number = meta.annotations(replica_set).get(REVISION, "")
        if is_controlled_by(replica_set, deployment) and number.isdigit():
            found[int(number)] = replica_set
    return dict(sorted(found.items()))


async def _history(client: Client, args: argparse.Namespace, namespace: str, name: str) -> None:
    revisions = await _revisions(client, namespace, await client.get(DEPLOYMENTS, name, namespace))
    if args.revision:
        if args.revision not in revisions:
            raise CommandError(f"unable to find revision {args.revision} of deployment {name}")
        import yaml

        template = revisions[args.revision]["spec"]["template"]
        print(f"deployment.apps/{name} with revision #{args.revision}")
        print(yaml.safe_dump(template, sort_keys=True), end="")
        return
    print(f"deployment.apps/{name}\n{'REVISION':<10}CHANGE-CAUSE")
    for number, replica_set in revisions.items():
        print(f"{number:<10}{meta.annotations(replica_set).get(CHANGE_CAUSE, '<none>')}")


async def _undo(client: Client, args: argparse.Namespace, namespace: str, name: str) -> None:
    deployment = await client.get(DEPLOYMENTS, name, namespace)
    if get_path(deployment, "spec", "paused"):
        raise CommandError(f"deployment {name} is paused; resume it with `kctl rollout resume` first")
    revisions = await _revisions(client, namespace, deployment)
    now = int(meta.annotations(deployment).get(REVISION, "0"))
    earlier = [number for number in revisions if number != now]
    wanted = args.revision or (earlier[-1] if earlier else 0)
    if wanted not in revisions:
        problem = f"unable to find revision {wanted}" if args.revision else "no rollout history found"
        raise CommandError(f"{problem} for deployment {name}")
    template = _plain_template(revisions[wanted]["spec"]["template"])
    if template == _plain_template(deployment["spec"]["template"]):
        print(f"deployment.apps/{name} skipped rollback (current template already matches revision {wanted})")
        return
    patch = [
        {
            "op": "test",
            "path": "/metadata/resourceVersion",
            "value": deployment["metadata"]["resourceVersion"],
        },
        {"op": "replace", "path": "/spec/template", "value": template},
    ]
    await client.patch(DEPLOYMENTS, name, patch, namespace, kind="json")
    print(f"deployment.apps/{name} rolled back")


def _plain_template(template: Object) -> Object:
    """A ReplicaSet's pod template without the label that its Deployment has put there."""
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    return {**template, "metadata": metadata}


async def _restart(client: Client, args: argparse.Namespace, namespace: str, name: str) -> None:
    stamp = {"kubectl.kubernetes.io/restartedAt": rfc3339(time.time())}
    await _patch(client, namespace, name, {"spec": {"template": {"metadata": {"annotations": stamp}}}}, "restarted")


async def _pause(client: Client, args: argparse.Namespace, namespace: str, name: str) -> None:
    await _patch(client, namespace, name, {"spec": {"paused": True}}, "paused")


async def _resume(client: Client, args: argparse.Namespace, namespace: str, name: str) -> None:
    await _patch(client, namespace, name, {"spec": {"paused": None}}, "resumed")


async def _patch(client: Client, namespace: str, name: str, patch: dict[str, Any], done: str) -> None:
    await client.patch(DEPLOYMENTS, name, patch, namespace, kind="merge")
    print(f"deployment.apps/{name} {done}")
