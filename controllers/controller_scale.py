"""How many pods the controller of a pod wants to have, whatever kind it is of.

ReplicaSets, Deployments and StatefulSets are in caches; everything else, custom resources too, is asked by its
subresource `scale`.

Source: https://kubernetes.io/docs/tasks/run-application/configure-pdb/#arbitrary-controllers-and-selectors
"""

from __future__ import annotations

from typing import Any

from apimachinery.errors import ApiError
from apimachinery.meta import Object, controller_of, get_path, name, namespace, uid
from apimachinery.resources import DEPLOYMENTS, REPLICASETS, STATEFULSETS, Resource
from controllers.context import Context
from controllers.requests import unless_gone


class NoScale(Exception):
    """The pods of such a controller can't be counted, now or later."""


class ControllerScales:
    """The sizes of pods' controllers."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._custom = context.informers.custom
        self.informers = tuple(context.informers.of(one) for one in (REPLICASETS, DEPLOYMENTS, STATEFULSETS))
        self._cached = {one.resource.group_resource: one for one in self.informers}

    async def expected(self, pods: list[Object]) -> int:
        """How many pods the controllers of these want together. Raises NoScale, ApiError."""
        scales: dict[str, int] = {}
        asked: set[str] = set()
        for pod in pods:
            reference = controller_of(pod)
            if reference is None or reference["uid"] in asked:
                continue
            asked.add(reference["uid"])
            found = await self._scale(reference, namespace(pod))
            if found is None:
                # Most often a cache that is late: told only if it lasts.
                raise ApiError(503, "ServiceUnavailable", f'found no controllers for pod "{name(pod)}"')
            scales.update([found])
        return sum(scales.values())

    async def _scale(self, reference: dict[str, Any], scope: str) -> tuple[str, int] | None:
        """(uid of the controller that has the say, its size); None if there is no such controller."""
        for resource in (REPLICASETS, STATEFULSETS):
            if self._is_of(reference, resource):
                found = self._find(reference, resource, scope)
                if found is None:
                    return None
                above = controller_of(found)
                if resource is REPLICASETS and above is not None and self._is_of(above, DEPLOYMENTS):
                    found = self._find(above, DEPLOYMENTS, scope)
                return None if found is None else (uid(found), int(get_path(found, "spec", "replicas", default=1)))
        return await self._ask(reference, scope)

    def _is_of(self, reference: dict[str, Any], resource: Resource) -> bool:
        group = reference["apiVersion"].rpartition("/")[0]
        return (group, reference["kind"]) == (resource.group, resource.kind)

    def _find(self, reference: dict[str, Any], resource: Resource, scope: str) -> Object | None:
        found = self._cached[resource.group_resource].get(f"{scope}/{reference['name']}")
        return found if found is not None and uid(found) == reference["uid"] else None

    async def _ask(self, reference: dict[str, Any], scope: str) -> tuple[str, int] | None:
        kind = (reference["apiVersion"], reference["kind"])
        resource = self._custom.by_kind(*kind)
        if resource is None:
            await self._custom.refresh()
            resource = self._custom.by_kind(*kind)
        if resource is None:
            raise NoScale(f'no matches for kind "{kind[1]}" in version "{kind[0]}"')
        if "scale" not in resource.subresources:
            raise NoScale(f"{resource.group_resource} does not implement the scale subresource")
        scale = await unless_gone(self._client.get(resource, reference["name"], scope, subresource="scale"))
        if scale is None or uid(scale) != reference["uid"]:
            return None
        return uid(scale), int(get_path(scale, "spec", "replicas", default=0))
