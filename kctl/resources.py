"""Turns what a user types (`po`, `deploy/web`, `deployments.apps`) into resources and names.

Built-in resources are known from the table; any other (a custom resource) is looked up in the server's
discovery, once, and only when it is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from apiclient.discovery import discover
from apiclient.rest import Client
from apimachinery import resources
from apimachinery.resources import Resource
from kctl.errors import CommandError


class _Unknown(CommandError):
    """A word that is no resource; it may be a category of them."""


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
    raise _Unknown(f'the server doesn\'t have a resource type "{word}"')


async def find_kind(client: Client, api_version: str, kind: str) -> Resource:
    """The resource of an object's apiVersion and kind."""
    known = resources.by_kind(api_version, kind)
    if known is not None:
        return known
    for resource in await discover(client):
        if (resource.api_version, resource.kind) == (api_version, kind):
            return resource
    raise CommandError(f'no matches for kind "{kind}" in version "{api_version}"')


async def _of_category(client: Client, category: str) -> list[Resource]:
    """The resources of a category, built-in ones first, each in its preferred version. Raises CommandError."""
    found = {one.group_resource: one for one in resources.STORED if category in one.categories}
    for resource in await discover(client):
        if category in resource.categories:
            found.setdefault(resource.group_resource, resource)
    if not found:
        raise CommandError(f'the server doesn\'t have a resource type "{category}"')
    return list(found.values())


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
    found = []
    for kind in kinds.split(","):
        try:
            found.append((await find(client, kind), list(names)))
        except _Unknown:
            if names:
                raise
            found += [(resource, []) for resource in await _of_category(client, kind)]
    return found


def shown_name(resource: Resource, name: str) -> str:
    """`deployment.apps/web`: how kubectl names an object in its messages."""
    group = f".{resource.group}" if resource.group else ""
    return f"{resource.singular}{group}/{name}"
