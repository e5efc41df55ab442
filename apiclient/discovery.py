"""What a server serves, as it tells itself, in one request.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import orjson

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.resources import Resource

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class Discovered(NamedTuple):
    """What is served beyond the core group, and the groups' versions of which that is not known now."""

    resources: list[Resource]
    stale: frozenset[str]


async def discover(client: Client) -> list[Resource]:
    """All resources beyond the core group in all their versions, of each the preferred version first."""
    return (await discover_all(client)).resources


async def discover_all(client: Client) -> Discovered:
    """The same, and for which versions the server that holds them could not be asked lately."""
    _, _, data = await client.request("GET", "/apis", headers={"Accept": _AGGREGATED})
    document = orjson.loads(data)
    if document.get("kind") != "APIGroupDiscoveryList":
        raise ApiError(406, "NotAcceptable", f"{client.server} does not tell all that it serves in one answer")
    stale = (
        f"{group['metadata']['name']}/{version['version']}"
        for group in document["items"]
        for version in group.get("versions") or ()
        if version.get("freshness") == "Stale"
    )
    return Discovered(list(_resources(document)), frozenset(stale))


def _resources(document: Mapping[str, Any]) -> Iterator[Resource]:
    for group in document["items"]:
        for version in group.get("versions") or ():
            for told in version.get("resources") or ():
                yield _resource(group["metadata"]["name"], version["version"], told)


def _resource(group: str, version: str, told: Mapping[str, Any]) -> Resource:
    kind = told["responseKind"]["kind"]
    return Resource(
        group=group,
        version=version,
        kind=kind,
        plural=told["resource"],
        singular=told.get("singularResource") or kind.lower(),
        short_names=tuple(told.get("shortNames") or ()),
        categories=tuple(told.get("categories") or ()),
        namespaced=told["scope"] == "Namespaced",
        subresources=tuple(one["subresource"] for one in told.get("subresources") or ()),
        verbs=tuple(told["verbs"]),
    )
