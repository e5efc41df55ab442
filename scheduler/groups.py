"""What pods belong to: the Services that select them, the controllers that own them, and their namespaces.

Pods that say nothing about how they are to be spread are spread by the selectors of these, as far as that costs
nothing else. Pure: events go in, selectors come out.

Source: kubernetes/pkg/scheduler/framework/plugins/helper/spread.go
"""

from __future__ import annotations

from collections.abc import Mapping

from apimachinery.meta import Object, get_path, labels, name, namespace
from apimachinery.selectors import Requirement, Selector, selector_from_object

CONTROLLERS = {
    ("v1", "ReplicationController"),
    ("apps/v1", "ReplicaSet"),
    ("apps/v1", "StatefulSet"),
}


class Groups:
    """The selectors of Services, ReplicationControllers, ReplicaSets and StatefulSets, and the labels of namespaces.

    `version` grows with every change.
    """

    def __init__(self) -> None:
        self.version = 0
        self.namespaces: dict[str, Mapping[str, str]] = {}
        self._services: dict[str, dict[str, Selector]] = {}
        self._controllers: dict[tuple[str, str, str], Selector] = {}

    def changed(self, old: Object | None, new: Object | None) -> None:
        """A service, a controller or a namespace is new, has changed or is gone."""
        obj = new or old
        assert obj is not None, "something has changed"
        if obj["kind"] == "Namespace":
            self._namespace_changed(obj, new)
            return
        selector = None if new is None else _selector(new)
        if obj["kind"] == "Service":
            known = self._services.setdefault(namespace(obj), {})
            differs = known.get(name(obj)) != selector
            if selector is not None:
                known[name(obj)] = selector
            else:
                known.pop(name(obj), None)
            if not known:
                del self._services[namespace(obj)]
        else:
            key = obj["kind"], namespace(obj), name(obj)
            differs = self._controllers.get(key) != selector
            if selector is not None:
                self._controllers[key] = selector
            else:
                self._controllers.pop(key, None)
        self.version += differs

    def _namespace_changed(self, obj: Object, new: Object | None) -> None:
        known = self.namespaces.get(name(obj))
        if new is None:
            self.namespaces.pop(name(obj), None)
        else:
            self.namespaces[name(obj)] = labels(new)
        self.version += known != self.namespaces.get(name(obj))

    def selector_of(self, pod: Object) -> Selector | None:
        """What the pods of the same groups have in common; None for a pod that is in none."""
        services, owner = self._services.get(namespace(pod)), controller_of(pod)
        if services is None and owner is None:
            return None
        requirements: list[Requirement] = []
        for selector in (services or {}).values():
            if selector.matches(labels(pod)):
                requirements += selector.requirements
        if owner is not None:
            owning = self._controllers.get((owner["kind"], namespace(pod), owner["name"]))
            requirements += owning.requirements if owning is not None else ()
        return Selector(tuple(dict.fromkeys(requirements))) if requirements else None


def controller_of(pod: Object) -> Object | None:
    """The reference to the controller that owns a pod, if it is of those whose pods are spread."""
    references: list[Object] | None = pod["metadata"].get("ownerReferences")
    for reference in references or ():
        if reference.get("controller") and (reference["apiVersion"], reference["kind"]) in CONTROLLERS:
            return reference
    return None


def _selector(obj: Object) -> Selector | None:
    """The selector of a service or a controller; None if it has none."""
    selector = get_path(obj, "spec", "selector")
    if not selector:
        return None
    if obj["kind"] in ("Service", "ReplicationController"):
        return selector_from_object({"matchLabels": selector})
    return selector_from_object(selector)
