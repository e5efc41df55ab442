"""`kctl logs`: prints what a container has written, and goes on with `-f`."""

from __future__ import annotations

import argparse
import math
import sys

from apiclient.rest import Client
from apimachinery.meta import Object
from apimachinery.resources import PODS
from kctl.connect import add_namespace, connect
from kctl.durations import duration
from kctl.errors import CommandError
from kctl.resources import targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl logs`."""
    parser.add_argument("what", metavar="POD | TYPE/NAME", help="a pod, or deployment/web for one of its pods")
    parser.add_argument("-c", "--container", help="default: the first")
    parser.add_argument("-f", "--follow", action="store_true", help="go on and print what comes")
    parser.add_argument("-p", "--previous", action="store_true", help="of the container's run before this one")
    parser.add_argument("--tail", type=int, metavar="LINES", help="only the last so many")
    parser.add_argument("--since", type=duration, metavar="DURATION", help="only of the last so long: 90s, 1h30m")
    parser.add_argument("--since-time", metavar="TIME", help="only from then on: 2026-01-31T08:00:00Z")
    parser.add_argument("--timestamps", action="store_true", help="tell when each line was written")
    parser.add_argument("--limit-bytes", type=int, metavar="BYTES", help="stop after so many")
    add_namespace(parser)


async def run(args: argparse.Namespace) -> None:
    """Copy the log to standard output."""
    if args.since is not None and args.since_time:
        raise CommandError("--since and --since-time can't be given together", exit_status=2)
    client, namespace = await connect(args)
    async with client:
        name = await pod_of(client, args.what, namespace)
        flags = {
            "container": args.container,
            "follow": "true" if args.follow else None,
            "previous": "true" if args.previous else None,
            "timestamps": "true" if args.timestamps else None,
            "tailLines": args.tail,
            "sinceSeconds": None if args.since is None else max(1, math.ceil(args.since)),
            "sinceTime": args.since_time,
            "limitBytes": args.limit_bytes,
        }
        params = {key: str(value) for key, value in flags.items() if value is not None}
        async for chunk in client.stream(PODS.path(namespace, name, "log"), params):
            sys.stdout.buffer.write(chunk)
            sys.stdout.buffer.flush()


async def pod_of(client: Client, what: str, namespace: str) -> str:
    """The pod of this name, or one of the pods that a workload selects (a ready one if there is any)."""
    if "/" not in what:
        return what
    [(resource, [name])] = await targets(client, [what])
    if resource == PODS:
        return name
    owner = await client.get(resource, name, namespace)
    selector = (owner.get("spec") or {}).get("selector") or {}
    labels = selector.get("matchLabels", selector)
    if not labels or not all(isinstance(value, str) for value in labels.values()):
        raise CommandError(f"{what} selects no pods")
    text = ",".join(f"{key}={value}" for key, value in labels.items())
    pods = (await client.list(PODS, namespace, label_selector=text))["items"]
    if not pods:
        raise CommandError(f"{what} has no pods")
    chosen = min(pods, key=lambda pod: (not _running(pod), pod["metadata"]["name"]))
    if len(pods) > 1:
        print(f"Found {len(pods)} pods, using pod/{chosen['metadata']['name']}", file=sys.stderr)
    return str(chosen["metadata"]["name"])


def _running(pod: Object) -> bool:
    return (pod.get("status") or {}).get("phase") == "Running"
