"""The rules of each resource: those of built-in ones are modules, called as the resource is.

A module is imported when its resource is first asked for, so that a server starts without reading them all.
"""

from __future__ import annotations

from importlib import import_module

from apimachinery.resources import BUILTIN, Resource
from apiserver.registry.strategy import Strategy

# All that can be read: reviews and the like are only answered.
_KEYS = frozenset(resource.key for resource in BUILTIN if "get" in resource.verbs)
# The others' modules are called as the resources are.
_MODULES = {
    ("events.k8s.io", "events"): "events_events",
    ("scheduling.k8s.io", "workloads"): "scheduling_workloads",
}
_found: dict[tuple[str, str], Strategy] = {}


def strategy(resource: Resource) -> Strategy:
    """The rules of a resource; those of any object if it has none of its own."""
    known = _found.get(resource.key)
    if known is not None:
        return known
    if resource.key not in _KEYS:
        return Strategy(resource)
    module = _MODULES.get(resource.key, resource.plural)
    loaded: Strategy = import_module(f"apiserver.registry.{module}").STRATEGY
    _found[resource.key] = loaded
    return loaded
