"""Which pods each service selects: kept up by events, so that neither an event nor a pass looks at all pods.

A pod's services are found by its labels, each of which leads to the services that have it first in their selector.
The pods of services are counted when these are first asked for, all that are new in a namespace at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from apiclient.informer import Informer
from apimachinery.meta import Object, labels, namespace, namespaced_key, split_key
from controllers.service_endpoints import endpoint_facts, is_endpoint, labels_changed, selector_of, selects

BY_SELECTOR, BY_NAMESPACE = "selector", "namespace"


class ServicePods:
    """The pods behind services; one for all controllers that write these down."""

    def __init__(self, services: Informer, pods: Informer) -> None:
        self._services = services
        self._pods = pods
        self._members: dict[str, dict[str, None]] = {}
        self._followers: list[Callable[[str], None]] = []
        services.add_index(BY_SELECTOR, _first_label)
        services.add_index(BY_NAMESPACE, lambda service: [namespace(service)])
        pods.add_index(BY_NAMESPACE, lambda pod: [namespace(pod)])
        services.add_handler(self._service_changed)
        pods.add_handler(self._pod_changed)

    def follow(self, changed: Callable[[str], None]) -> None:
        """Have `changed` called with the key of each service whose endpoints pods may have changed."""
        self._followers.append(changed)

    def of(self, key: str) -> list[Object]:
        """The pods that a service selects."""
        if key not in self._members:
            self._count(split_key(key)[0])
        found = (self._pods.get(pod) for pod in self._members.get(key, ()))
        return [pod for pod in found if pod is not None]

    def services_of(self, pod: Object) -> Iterator[str]:
        """The keys of the services that select a pod."""
        scope, own = namespace(pod), labels(pod)
        for label, value in own.items():
            for service in self._services.by_index(BY_SELECTOR, f"{scope}/{label}={value}"):
                if selects(service, own):
                    yield namespaced_key(service)

    def _count(self, scope: str) -> None:
        new = [one for one in self._services.by_index(BY_NAMESPACE, scope) if selector_of(one) is not None]
        counted: dict[str, dict[str, None]] = {
            key: {} for key in map(namespaced_key, new) if key not in self._members
        }
        for pod in self._pods.by_index(BY_NAMESPACE, scope):
            for key in self.services_of(pod):
                if key in counted:
                    counted[key][namespaced_key(pod)] = None
        self._members |= counted

    def _service_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if old is not None and (new is None or selector_of(old) != selector_of(new)):
            self._members.pop(namespaced_key(old), None)

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        moved = old is None or new is None or labels_changed(old, new)
        same = old is not None and new is not None and endpoint_facts(old) == endpoint_facts(new)
        if same and not moved:
            return
        before = set(self.services_of(old)) if old is not None else set()
        after = set(self.services_of(new)) if new is not None and moved else before if new is not None else set()
        if moved:
            self._move(namespaced_key(pod), before, after)
        if any(is_endpoint(one) for one in (old, new) if one is not None):
            for key in sorted(before ^ after if same else before | after):
                for changed in self._followers:
                    changed(key)

    def _move(self, pod: str, before: set[str], after: set[str]) -> None:
        for key in before - after:
            self._members.get(key, {}).pop(pod, None)
        for key in after:
            if key in self._members:
                self._members[key][pod] = None


def _first_label(service: Object) -> list[str]:
    selector = selector_of(service)
    if selector is None:
        return []
    label, value = min(selector.items())
    return [f"{namespace(service)}/{label}={value}"]
