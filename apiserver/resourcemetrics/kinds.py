"""NodeMetrics and PodMetrics: their names, tables and schemas.

Source: https://github.com/kubernetes/metrics/blob/master/pkg/apis/metrics/v1beta1/types.go
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from apimachinery import quantity
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.catalog import Endpoint
from apiserver.registry.strategy import NAME, Cell, Column, Strategy

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
VERBS = ("get", "list")
# Without a singular, so that clients take the kind for it: `kubectl get podmetrics`.
NODE_METRICS = Resource(GROUP, VERSION, "NodeMetrics", "nodes", "", namespaced=False, verbs=VERBS)
POD_METRICS = Resource(GROUP, VERSION, "PodMetrics", "pods", "", verbs=VERBS)
AMOUNTS = ("cpu", "memory")


def _usages(obj: Object) -> Iterator[Object]:
    """Of a node, or of each container of a pod."""
    if "usage" in obj:
        yield obj["usage"]
    yield from (container["usage"] for container in obj.get("containers") or ())


def _sum(obj: Object, name: str) -> Cell:
    amounts = [quantity.parse(usage[name]) for usage in _usages(obj) if name in usage]
    return str(sum(amounts[1:], amounts[0])) if amounts else ""


def _window(obj: Object) -> Cell:
    window: str = obj["window"]
    return window


COLUMNS = (
    NAME,
    *(Column(name, partial(_sum, name=name), format="quantity") for name in AMOUNTS),
    Column("Window", _window, format="duration"),
)


def endpoints() -> Iterable[Endpoint]:
    """What is served."""
    for resource in (NODE_METRICS, POD_METRICS):
        strategy = Strategy(resource, columns=COLUMNS)
        yield Endpoint(resource, strategy, verbs=resource.verbs, schema=partial(_schema, resource, strategy))


def _schema(resource: Resource, strategy: Strategy, simple: bool) -> Any:
    from apiserver.customresources import published  # only who asks for schemas needs it

    return published.schema(_structure(resource), resource, strategy.selectable, simple=simple)


def _structure(resource: Resource) -> dict[str, Any]:
    usage = {
        "description": "The usage of each resource in the window: cpu is an average, memory the last working set.",
        "type": "object",
        "additionalProperties": {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
        },
    }
    container = {
        "description": "What one container uses.",
        "type": "object",
        "required": ["name", "usage"],
        "properties": {"name": {"type": "string", "description": "The container's name in the pod."}, "usage": usage},
    }
    containers = {"type": "array", "items": container, "description": "The usage of the containers that run."}
    subject = {"containers": containers} if resource.namespaced else {"usage": usage}
    return {
        "type": "object",
        "description": f"{resource.kind} tells what {'a pod' if resource.namespaced else 'a node'} uses.",
        "required": ["timestamp", "window", *subject],
        "properties": {
            "timestamp": {"type": "string", "format": "date-time", "description": "The end of the window."},
            "window": {"type": "string", "description": "The time that the usage of CPUs is an average of."},
            **subject,
        },
    }
