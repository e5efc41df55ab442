"""`kctl describe`: an object in full, as indented text, with the events that tell its story."""

from __future__ import annotations

import argparse
import time
from typing import Any

from apiclient.rest import Client
from apimachinery.meta import Object
from apimachinery.resources import EVENTS, Resource
from apimachinery.time import human_duration, parse_rfc3339
from kctl.connect import add_namespace, connect
from kctl.errors import CommandError
from kctl.resources import targets

HIDDEN_METADATA = ("managedFields", "resourceVersion", "uid", "generation", "selfLink")
HIDDEN_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"
INDENT = "  "


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl describe`."""
    parser.add_argument("what", nargs="+", metavar="TYPE[/NAME]", help="a type, or one object: pods, deploy/web")
    parser.add_argument("-l", "--selector", metavar="LABELS", help="as in app=web,tier!=db")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument(
        "--show-events", nargs="?", choices=("true", "false"), const="true", default="true", help="with its events"
    )
    add_namespace(parser)


async def run(args: argparse.Namespace) -> None:
    """Describe each named object, or all of a type."""
    client, namespace = await connect(args)
    async with client:
        first = True
        for resource, names in await targets(client, args.what):
            scope = namespace if resource.namespaced and not args.all_namespaces else None
            if names and args.all_namespaces:
                raise CommandError("an object can't be named across all namespaces", exit_status=2)
            if names:
                objects = [await client.get(resource, name, scope) for name in names]
            else:
                objects = (await client.list(resource, scope, label_selector=args.selector))["items"]
            if not objects:
                raise CommandError(f"no {resource.plural} found")
            for item in objects:
                if not first:
                    print("\n")
                first = False
                print("\n".join(describe(resource, item, time.time())))
                if args.show_events == "true":
                    await _print_events(client, resource, item)


def describe(resource: Resource, item: Object, now: float) -> list[str]:
    """The lines that describe an object: metadata first, then spec, data and status, secrets hidden."""
    metadata = item["metadata"]
    lines = [f"Name:         {metadata['name']}"]
    if metadata.get("namespace"):
        lines.append(f"Namespace:    {metadata['namespace']}")
    created = metadata.get("creationTimestamp")
    if created:
        lines.append(f"Created:      {created} ({human_duration(now - parse_rfc3339(created))} ago)")
    if metadata.get("deletionTimestamp"):
        since = human_duration(now - parse_rfc3339(metadata["deletionTimestamp"]))
        lines.append(f"Status:       Terminating (since {since})")
    for title, key in (("Labels", "labels"), ("Annotations", "annotations")):
        pairs = {k: v for k, v in (metadata.get(key) or {}).items() if k != HIDDEN_ANNOTATION}
        shown = [f"{k}={v}" for k, v in pairs.items()] or ["<none>"]
        lines += [f"{(title + ':') if n == 0 else '':<14}{text}" for n, text in enumerate(shown)]
    for owner in metadata.get("ownerReferences") or []:
        lines.append(f"Controlled By:  {owner['kind']}/{owner['name']}")
    for finalizer in metadata.get("finalizers") or []:
        lines.append(f"Finalizer:    {finalizer}")
    for key, value in item.items():
        if key in ("metadata", "apiVersion", "kind"):
            continue
        if resource.plural == "secrets" and key in ("data", "stringData"):
            lines.append("Data:")
            lines += [f"{INDENT}{name}:  {len(text)} characters of base64" for name, text in value.items()]
            continue
        lines += _render(_title(key), value, "")
    return lines


def _title(key: str) -> str:
    """`restartPolicy` is shown as `Restart Policy`."""
    spaced = "".join(f" {c}" if c.isupper() and n and not key[n - 1].isupper() else c for n, c in enumerate(key))
    return spaced[:1].upper() + spaced[1:]


def _render(title: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, dict):
        if not value:
            return [f"{indent}{title}:  {{}}"]
        inner = [line for k, v in value.items() for line in _render(_label(title, k), v, indent + INDENT)]
        return [f"{indent}{title}:", *inner]
    if isinstance(value, list):
        if all(not isinstance(item, dict | list) for item in value):
            return [f"{indent}{title}:  {', '.join(map(str, value)) or '<none>'}"]
        if title == "Conditions":
            return [f"{indent}{title}:", *_conditions(value, indent + INDENT)]
        lines = [f"{indent}{title}:"]
        for number, item in enumerate(value):
            named = isinstance(item, dict) and isinstance(item.get("name"), str)
            lines += _render(item["name"] if named else f"- {number}", item, indent + INDENT)
        return lines
    text = str(value)
    if "\n" in text:
        return [f"{indent}{title}:", *(f"{indent}{INDENT}{line}" for line in text.splitlines())]
    return [f"{indent}{title}:  {text}"]


def _label(parent: str, key: str) -> str:
    verbatim = parent in (
        "Data",
        "Match Labels",
        "Labels",
        "Annotations",
        "Node Selector",
        "Limits",
        "Requests",
    )
    return key if verbatim else _title(key)


def _conditions(conditions: list[Object], indent: str) -> list[str]:
    rows = [("Type", "Status", "Reason", "Message")]
    rows += [(c.get("type", ""), c.get("status", ""), c.get("reason", ""), c.get("message", "")) for c in conditions]
    widths = [max(len(row[n]) for row in rows) for n in range(3)]
    return [(indent + "  ".join(row[n].ljust(widths[n]) for n in range(3)) + "  " + row[3]).rstrip() for row in rows]


async def _print_events(client: Client, resource: Resource, item: Object) -> None:
    namespace = item["metadata"].get("namespace") or "default"
    selector = f"involvedObject.uid={item['metadata']['uid']}"
    if resource.plural == "nodes":
        # Events about a node carry the node's name as its uid, as Kubernetes' own node agent writes them.
        selector = f"involvedObject.kind=Node,involvedObject.name={item['metadata']['name']}"
    events = (await client.list(EVENTS, namespace, field_selector=selector))["items"]
    if not events:
        print("Events:  <none>")
        return
    events.sort(key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
    print("Events:")
    rows = [("Type", "Reason", "Age", "From", "Message")]
    rows += [_event_row(event, time.time()) for event in events]
    widths = [max(len(row[n]) for row in rows) for n in range(4)]
    for row in rows:
        print(INDENT + "  ".join(row[n].ljust(widths[n]) for n in range(4)) + "  " + row[4])


def _event_row(event: Object, now: float) -> tuple[str, str, str, str, str]:
    last = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
    age = human_duration(now - parse_rfc3339(last))
    count = event.get("count") or 1
    first = event.get("firstTimestamp")
    if count > 1 and first:
        age = f"{age} (x{count} over {human_duration(now - parse_rfc3339(first))})"
    source = (event.get("source") or {}).get("component") or event.get("reportingComponent") or ""
    return (
        event.get("type", ""),
        event.get("reason", ""),
        age,
        source,
        (event.get("message") or "").replace("\n", " "),
    )
