"""Puts together the rules of ClusterRoles that gather those of others, which labels choose.

So whoever installs a new kind of object says in roles of their own what `view`, `edit` and `admin` may do with it.
Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#aggregated-clusterroles
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apimachinery.meta import Object, get_path, labels, name
from apimachinery.resources import CLUSTERROLES
from apimachinery.selectors import selector_from_object
from controllers.context import Context
from controllers.requests import unless_gone


def gathered_rules(role: Object, roles: Iterable[Object]) -> list[Any]:
    """The rules of all roles that a role gathers, each once, in the order of its selectors and of their names."""
    found: list[Any] = []
    others = sorted((other for other in roles if name(other) != name(role)), key=name)
    for selector in get_path(role, "aggregationRule", "clusterRoleSelectors", default=[]):
        chosen = selector_from_object(selector)
        for other in others:
            if chosen.matches(labels(other)):
                found += [rule for rule in other.get("rules") or () if rule not in found]
    return found


class ClusterRoleAggregation:
    """One control loop over all ClusterRoles."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._roles = context.informers.of(CLUSTERROLES)
        self.informers = (self._roles,)
        self.queue = context.queue()
        self._roles.add_handler(self._role_changed)

    def _role_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        # Whatever has changed, any role that gathers may have gathered it, or be about to.
        for role in self._roles.list():
            if role.get("aggregationRule"):
                self.queue.add(name(role))

    async def reconcile(self, key: str) -> None:
        """Write the rules that a role is to have."""
        role = self._roles.get(key)
        if role is None or not role.get("aggregationRule"):
            return
        rules = gathered_rules(role, self._roles.list())
        if rules != (role.get("rules") or []):
            await unless_gone(self._client.patch(CLUSTERROLES, key, {"rules": rules}))
