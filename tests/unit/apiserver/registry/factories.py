"""Objects for tests, and what a server does to them before it stores them."""

from __future__ import annotations

import copy
from typing import Any

from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.registry import strategy
from apiserver.registry.metadata import validate_metadata, validate_metadata_update
from apiserver.registry.strategy import Since

NOW = 1767323045.0  # 2026-01-02T03:04:05Z


def pod(**spec: Any) -> Object:
    """A pod of one container; `spec` is added to its spec."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "web", "image": "nginx:1.27"}], **spec},
    }


def container_pod(**container: Any) -> Object:
    """A pod whose container has these fields as well."""
    return pod(containers=[{"name": "web", "image": "nginx:1.27", **container}])


def template(**spec: Any) -> dict[str, Any]:
    """The template of such pods."""
    made = pod(**spec)
    return {"metadata": {"labels": made["metadata"]["labels"]}, "spec": made["spec"]}


def workload(**spec: Any) -> Object:
    """A workload of such pods."""
    return {
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": template(), **spec},
    }


def created(resource: Resource, obj: Object) -> Object:
    """The object as it is stored."""
    rules, obj = strategy(resource), copy.deepcopy(obj)
    rules.default(obj)
    rules.prepare_create(obj)
    return obj


def problems(resource: Resource, obj: Object) -> list[str]:
    """What a server has against creating it."""
    rules, obj = strategy(resource), created(resource, obj)
    return [error.message() for error in validate_metadata(obj, rules) + rules.validate(obj)]


def update_problems(resource: Resource, obj: Object, old: Object) -> list[str]:
    """What a server has against making `obj` of what was created as `old`."""
    rules, old = strategy(resource), created(resource, old)
    obj = copy.deepcopy(obj)
    obj["metadata"].setdefault("resourceVersion", "1")
    if "generation" in old["metadata"]:
        obj["metadata"].setdefault("generation", old["metadata"]["generation"])
    rules.default(obj)
    rules.prepare_update(obj, old)
    errors = validate_metadata_update(obj, old, rules) + rules.validate(obj) + rules.validate_update(obj, old)
    return [error.message() for error in errors]


def status_problems(resource: Resource, status: Object, old: Object) -> list[str]:
    """What a server has against this status of `old`, which is as it is stored."""
    rules = strategy(resource)
    obj = {**copy.deepcopy(old), "status": status}
    rules.default(obj)
    rules.prepare_status(obj, old)
    return [error.message() for error in rules.validate_status(obj, old)]


def shown(resource: Resource, obj: Object) -> dict[str, Any]:
    """The cells of an object's row, by their column."""
    cells = {column.name: column.cell(obj) for column in strategy(resource).columns}
    return {name: cell.at(NOW) if isinstance(cell, Since) else cell for name, cell in cells.items()}
