"""`kctl get`: lists objects as the server's tables, or as YAML, JSON or names; `-w` goes on watching."""

from __future__ import annotations

import argparse
import sys

import orjson

from apiclient.rest import Client
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import Object
from apimachinery.resources import Resource
from kctl.connect import add_namespace, connect
from kctl.errors import CommandError
from kctl.printing import TABLE_ACCEPT, TablePrinter, add_output, print_names, print_object
from kctl.resources import shown_name, targets


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl get`."""
    parser.add_argument("what", nargs="+", metavar="TYPE[/NAME]", help="pods, deploy/web, pods,services, all")
    add_namespace(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="of all namespaces")
    parser.add_argument("-l", "--selector", metavar="LABELS", help="as in app=web,tier!=db")
    parser.add_argument("--field-selector", metavar="FIELDS", help="as in spec.nodeName=node-1")
    parser.add_argument("-w", "--watch", action="store_true", help="go on and print changes")
    parser.add_argument("--no-headers", action="store_true", help="print the rows only")
    parser.add_argument("--show-labels", action="store_true", help="all labels in a last column")
    parser.add_argument(
        "-L", "--label-columns", action="append", default=[], metavar="LABEL,…", help="a column for each of these"
    )
    parser.add_argument("--show-kind", action="store_true", help="name the type before each name")
    parser.add_argument("--ignore-not-found", action="store_true", help="what is not there is no error")
    add_output(parser)


async def run(args: argparse.Namespace) -> int:
    """Print what was asked for; the exit status is 1 if a named object is missing."""
    client, namespace = await connect(args)
    async with client:
        chosen = await targets(client, args.what)
        if args.watch and len(chosen) > 1:
            raise CommandError("only one resource type can be watched", exit_status=2)
        if args.output in ("yaml", "json", "name"):
            return await _print_objects(client, args, chosen, namespace)
        return await _print_tables(client, args, chosen, namespace)


def _params(args: argparse.Namespace, names: list[str]) -> dict[str, str]:
    params = {}
    if args.selector:
        params["labelSelector"] = args.selector
    fields = [args.field_selector] if args.field_selector else []
    if args.watch and names:
        fields.append(f"metadata.name={names[0]}")
    if fields:
        params["fieldSelector"] = ",".join(fields)
    if names and args.selector:
        raise CommandError("a name and a selector can't be given together", exit_status=2)
    return params


def _complain(error: ApiError, args: argparse.Namespace) -> int:
    """Tell why an object is not shown; the exit status that this makes."""
    if args.ignore_not_found and is_not_found(error):
        return 0
    print(f"error: {error.message}", file=sys.stderr)
    return 1


def _scope(resource: Resource, args: argparse.Namespace, namespace: str) -> str | None:
    return namespace if resource.namespaced and not args.all_namespaces else None


async def _print_objects(
    client: Client, args: argparse.Namespace, chosen: list[tuple[Resource, list[str]]], namespace: str
) -> int:
    found: list[tuple[Resource, Object]] = []
    status = 0
    for resource, names in chosen:
        scope = _scope(resource, args, namespace)
        if not names:
            listing = await client.list(
                resource, scope, label_selector=args.selector, field_selector=args.field_selector
            )
            kind = {"apiVersion": resource.api_version, "kind": resource.kind}
            found += [(resource, {**kind, **item}) for item in listing["items"]]
        for name in names:
            try:
                found.append((resource, await client.get(resource, name, scope)))
            except ApiError as error:
                status |= _complain(error, args)
    if args.output == "name":
        for resource, item in found:
            print_names(resource, [item])
    elif len(found) == 1 and chosen[0][1]:
        print_object(found[0][1], args.output)
    elif found or not any(names for _, names in chosen):
        items = [item for _, item in found]
        listing = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": items}
        print_object(listing, args.output)
    if args.watch and status == 0:
        resource, names = chosen[0]
        scope = _scope(resource, args, namespace)
        params = _params(args, names)
        version = (await client.list(resource, scope, limit=1))["metadata"]["resourceVersion"]
        async for change, item in client.watch(
            resource,
            scope,
            resource_version=version,
            label_selector=params.get("labelSelector"),
            field_selector=params.get("fieldSelector"),
        ):
            if change == "BOOKMARK":
                continue
            if args.output == "name":
                print_names(resource, [item])
            else:
                print("---" if args.output == "yaml" else "", end="\n" if args.output == "yaml" else "")
                print_object(item, args.output)
    return status


async def _print_tables(
    client: Client, args: argparse.Namespace, chosen: list[tuple[Resource, list[str]]], namespace: str
) -> int:
    status = rows = 0
    shown = 0
    for resource, names in chosen:
        scope = _scope(resource, args, namespace)
        printer = TablePrinter(
            wide=args.output == "wide",
            with_namespace=args.all_namespaces and resource.namespaced,
            prefix=shown_name(resource, "") if len(chosen) > 1 or args.show_kind else "",
            headers=not args.no_headers,
            label_columns=[label for text in args.label_columns for label in text.split(",") if label],
            all_labels=args.show_labels,
        )
        params = _params(args, names)
        table: Object = {}
        single = names if names and not args.watch else [None]
        for name in single:
            try:
                table = await _table(client, resource.path(scope, name), params)
            except ApiError as error:
                status |= _complain(error, args)
                continue
            if table.get("rows") and shown and len(chosen) > 1 and not names:
                print()
            count = printer.print(table)
            rows += count
            shown += bool(count)
        if args.watch and status == 0:
            version = table["metadata"]["resourceVersion"]
            await _watch_table(client, resource, scope, params, version, printer)
    if not rows and status == 0 and not args.ignore_not_found:
        everywhere = args.all_namespaces or not any(resource.namespaced for resource, _ in chosen)
        place = "" if everywhere else f" in {namespace} namespace"
        print(f"No resources found{place}.", file=sys.stderr)
    return status


async def _table(client: Client, path: str, params: dict[str, str]) -> Object:
    reply = await client.request("GET", path, params=params, headers={"Accept": TABLE_ACCEPT})
    table: Object = orjson.loads(reply[2])
    return table


async def _watch_table(
    client: Client,
    resource: Resource,
    scope: str | None,
    params: dict[str, str],
    version: str,
    printer: TablePrinter,
) -> None:
    watching = {**params, "watch": "true", "resourceVersion": version}
    path = resource.path(scope)
    pending = b""
    async for chunk in client.stream(path, watching, headers={"Accept": TABLE_ACCEPT}):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            if not line.strip():
                continue
            event = orjson.loads(line)
            if event["type"] == "ERROR":
                raise ApiError.from_status(event["object"])
            if event["type"] != "BOOKMARK":
                printer.print(event["object"])
