"""`kctl wait`: blocks until objects have a condition, are gone, or hold a value."""

from __future__ import annotations

import argparse
import asyncio
import re
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

from apiclient.rest import Client
from apimachinery.meta import Object, find_condition, get_path
from kctl.connect import connect
from kctl.durations import duration
from kctl.errors import CommandError
from kctl.follow import follow
from kctl.resources import shown_name
from kctl.selection import Selected, add_selection, selected

_STEP = re.compile(r"\.([\w-]+)|\[(\d+)\]")
_PLAIN_PATH = re.compile(rf"(?:{_STEP.pattern})+")
Check = Callable[[Object | None], bool]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl wait`."""
    add_selection(parser)
    parser.add_argument(
        "--for",
        dest="goal",
        required=True,
        metavar="GOAL",
        help="condition=NAME[=VALUE], delete, create, or jsonpath={.path}=VALUE",
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        default=30.0,
        metavar="DURATION",
        help="for all objects together, as in 30s or 5m; 0: look once (default: 30s)",
    )


async def run(args: argparse.Namespace) -> None:
    """Wait for each object in turn; one deadline for all."""
    check = goal_check(args.goal)
    deadline = asyncio.get_running_loop().time() + args.timeout if args.timeout else None
    client, namespace = await connect(args)
    async with client:
        waiting = await selected(client, args, namespace)
        if not waiting and args.goal != "delete":
            raise CommandError("no matching resources found")
        for one in waiting:
            shown = shown_name(one.resource, one.name)
            try:
                async with asyncio.timeout_at(deadline):
                    met = await _wait_for(client, one, check, args.goal, once=deadline is None)
            except TimeoutError:
                raise CommandError(f"timed out waiting for {args.goal} on {shown}") from None
            if not met:
                raise CommandError(f"{args.goal} is not met by {shown}")
            print(f"{shown} {'deleted' if args.goal == 'delete' else 'condition met'}", flush=True)


def goal_check(goal: str) -> Check:
    """What `--for` asks of an object (None: there is none). Raises CommandError."""
    kind, _, rest = goal.partition("=")
    if goal == "delete":
        return lambda item: item is None
    if goal == "create":
        return lambda item: item is not None
    if kind == "condition" and rest:
        name, _, value = rest.partition("=")
        return lambda item: item is not None and _has_condition(item, name, value or "True")
    if kind == "jsonpath" and rest:
        path, _, value = rest.partition("}=")
        steps = path_steps(path.strip("'{}"))
        if steps:
            return lambda item: _matches(_at(item, steps), value)
    message = "must be condition=NAME[=VALUE], delete, create or jsonpath={.path}=VALUE"
    raise CommandError(f"--for {goal!r}: {message}", exit_status=2)


def path_steps(path: str) -> list[str | int]:
    """The steps of `.status.containerStatuses[0].ready`; empty if it is none of this plain form."""
    if not _PLAIN_PATH.fullmatch(path):
        return []
    return [int(index) if index else name for name, index in _STEP.findall(path)]


def _at(item: Any, steps: list[str | int]) -> Any:
    for step in steps:
        if isinstance(step, int):
            item = item[step] if isinstance(item, list) and step < len(item) else None
        else:
            item = item.get(step) if isinstance(item, dict) else None
    return item


def _matches(found: Any, value: str) -> bool:
    text = str(found).lower() if isinstance(found, bool) else str(found)
    return found is not None and (not value or text == value.strip("'"))


def _has_condition(item: Object, name: str, value: str) -> bool:
    conditions = get_path(item, "status", "conditions", default=[])
    by_name = {c["type"].lower(): c["type"] for c in conditions}
    condition = find_condition(conditions, by_name.get(name.lower(), name))
    generation = item["metadata"].get("generation", 0)
    if get_path(item, "status", "observedGeneration", default=generation) < generation:
        return False
    return condition is not None and condition["status"].lower() == value.lower()


async def _wait_for(client: Client, one: Selected, check: Check, goal: str, *, once: bool) -> bool:
    """Follow an object until it is as it should be (`once`: see whether it is). Raises CommandError."""
    resource, name, scope = one
    async with aclosing(follow(client, resource, name, scope)) as states:
        async for item in states:
            if check(item):
                return True
            if item is None and goal != "create":
                raise CommandError(f'{resource.plural} "{name}" not found')
            if once:
                break
    return False
