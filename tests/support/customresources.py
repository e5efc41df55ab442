"""CustomResourceDefinitions for tests, and what they make a server serve."""

from __future__ import annotations

import asyncio
from typing import Any

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition, name
from apimachinery.resources import CUSTOMRESOURCEDEFINITIONS, Resource

ESTABLISHED_SECONDS_MAX = 60.0
ANYTHING = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def version(called: str = "v1", schema: Object | None = None, *, storage: bool = True, **more: Any) -> Object:
    """One version of a definition."""
    schema = ANYTHING if schema is None else schema
    return {"name": called, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}, **more}


def definition(
    kind: str, *versions: Object, group: str = "stable.example.com", scope: str = "Namespaced", **more: Any
) -> Object:
    """A definition; `more` are fields of its spec, those of `names` are added to the names."""
    plural = f"{kind.lower()}s"
    names = {"plural": plural, "kind": kind, **more.pop("names", {})}
    spec = {"group": group, "scope": scope, "names": names, "versions": list(versions) or [version()], **more}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{names['plural']}.{group}"},
        "spec": spec,
    }


def properties(**of: Object) -> Object:
    """A schema of an object with these fields."""
    return {"type": "object", "properties": of}


def resource(defined: Object, called: str = "") -> Resource:
    """What a definition serves in one version, the first unless another is named."""
    spec, names = defined["spec"], defined["spec"]["names"]
    return Resource(
        spec["group"],
        called or spec["versions"][0]["name"],
        names["kind"],
        names["plural"],
        names["kind"].lower(),
        namespaced=spec["scope"] == "Namespaced",
    )


async def define(client: Client, defined: Object) -> Object:
    """Create a definition and wait until it is served."""
    await client.create(CUSTOMRESOURCEDEFINITIONS, defined)
    return await until_condition(client, name(defined), "Established", "True")


async def until_condition(client: Client, which: str, kind: str, status: str, reason: str = "") -> Object:
    """Wait for a condition of a definition, for this reason if one is named."""
    async with asyncio.timeout(ESTABLISHED_SECONDS_MAX):
        while True:
            found = await client.get(CUSTOMRESOURCEDEFINITIONS, which)
            condition = find_condition(found, kind)
            if condition is not None and condition["status"] == status and reason in ("", condition["reason"]):
                return found
            await asyncio.sleep(0.005)


async def until_gone(client: Client, of: Resource, which: str, scope: str | None = None) -> None:
    """Wait until an object is not there any more."""
    async with asyncio.timeout(ESTABLISHED_SECONDS_MAX):
        while True:
            try:
                await client.get(of, which, scope)
            except ApiError as error:
                if error.code == 404:
                    return
                raise
            await asyncio.sleep(0.005)


def made(of: Resource, called: str, scope: str = "default", **fields: Any) -> Object:
    """An object of a resource; `metadata` among the fields is added to its name."""
    metadata = {"name": called, **fields.pop("metadata", {})}
    if of.namespaced:
        metadata["namespace"] = scope
    return {"apiVersion": of.api_version, "kind": of.kind, "metadata": metadata, **fields}
