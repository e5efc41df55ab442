"""Writes as tests put them to one plugin."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.admission import CREATE, Attributes, Plugin
from apiserver.request_info import User
from tests.support.admission import FakeCluster, admit

ADMIN = User("kubernetes-admin", groups=("system:masters",))
NODE = User("system:node:n1", groups=("system:nodes",))


def named(name: str = "x", namespace: str = "default", **fields: Any) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, **fields}


def write(
    resource: Resource,
    obj: Object | None,
    *,
    operation: str = CREATE,
    old: Object | None = None,
    user: User = ADMIN,
    subresource: str = "",
) -> Attributes:
    metadata = (obj or old or {})["metadata"]
    namespace = metadata.get("namespace", "") if resource.namespaced else ""
    return Attributes(operation, resource, namespace, metadata.get("name", ""), user, obj, old, subresource)


async def admitted(plugin: Plugin, attributes: Attributes, cluster: FakeCluster | None = None) -> Object | None:
    """What becomes of a write."""
    return (await admit(plugin, attributes, cluster or FakeCluster())).obj


async def refused(plugin: Plugin, attributes: Attributes, cluster: FakeCluster | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await admitted(plugin, attributes, cluster)
    return caught.value
