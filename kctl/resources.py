"""Turns what a user types (`po`, `deploy/web`, `deployments.apps`) into resources and names.

Built-in resources are known from the table; any other (a custom resource) is looked up in the server's
discovery, once, and only when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from apiclient.rest import Client
from apimachinery import resources
from apimachinery.resources import Resource
from kctl.errors import CommandError


async def find(client: Client, word: str) -> Resource:
    """The resource that a plural, singular, short name, kind or `plural.group` stands for."""
    known = resources.find(word)
    if known is not None:
        return known
    wanted = word.lower()
    for resource in await discover(client):
        if wanted in (resource.plural, resource.singular, resource.kind.lower(), *resource.short_names):
            return resource
        if wanted in (f"{resource.plural}.{resource.group}", f"{resource.singular}.{resource.group}"):
            return resource
    raise CommandError(f'the server doesn\'t have a resource type "{word}"')


async def find_kind(client: Client, api_version: str, kind: str) -> Resource:
    """The resource of an object's apiVersion and kind."""
    known = resources.by_kind(api_version, kind)
    if known is not None:
        return known
    for resource in await discover(client):
        if (resource.api_version, resource.kind) == (api_version, kind):
            return resource
    raise CommandError(f'no matches for kind "{kind}" in version "{api_version}"')


async def discover(client: Client) -> list[Resource]:
    """Every resource that the server serves beyond the core group, at each group's preferred version."""
    groups = orjson.loads((await client.request("GET", "/apis"))[2])["groups"]
    found = []
    for group in groups:
        version = group["preferredVersion"]["version"]
        path = f"/apis/{group['name']}/{version}"
        listing = orjson.loads((await client.request("GET", path))[2])
        for entry in listing["resources"]:
            if "/" not in entry["name"]:
                found.append(_resource(group["name"], version, entry))
    return found


def _resource(group: str, version: str, entry: dict[str, object]) -> Resource:
    def words(key: str) -> tuple[str, ...]:
        value = entry.get(key)
        return tuple(str(word) for word in value) if isinstance(value, list) else ()

    kind = str(entry["kind"])
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=str(entry["name"]),
        singular=str(entry.get("singularName") or kind.lower()),
        short_names=words("shortNames"),
        categories=words("categories"),
        namespaced=bool(entry["namespaced"]),
        subresources=(),
        verbs=words("verbs"),
    )


async def targets(client: Client, words: Sequence[str]) -> list[tuple[Resource, list[str]]]:
    """What `pods a b`, `pod/a deploy/b` or `pods,services` name: resources with names (none: all)."""
    if not words:
        raise CommandError("say which resource, as in `pods` or `deployment/web`", exit_status=2)
    if any("/" in word for word in words):
        found = []
        for word in words:
            kind, slash, name = word.partition("/")
            if not slash or not name or "/" in name:
                message = f"{word!r}: with TYPE/NAME every argument must be of that form"
                raise CommandError(message, exit_status=2)
            found.append((await find(client, kind), [name]))
        return found
    kinds, *names = words
    if names and "," in kinds:
        raise CommandError("names can be given with one resource type only", exit_status=2)
    if kinds == "all":
        return [(resource, []) for resource in resources.STORED if "all" in resource.categories]
    return [(await find(client, kind), list(names)) for kind in kinds.split(",")]


def shown_name(resource: Resource, name: str) -> str:
    """`deployment.apps/web`: how kubectl names an object in its messages."""
    group = f".{resource.group}" if resource.group else ""
    return f"{resource.singular}{group}/{name}"
