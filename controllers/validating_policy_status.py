"""Says in the status of each ValidatingAdmissionPolicy what is doubtful about its expressions, once for each version.

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/#type-checking,
kubernetes/pkg/controller/validatingadmissionpolicystatus
"""

from __future__ import annotations

from apimachinery.meta import Object, get_path, name, resource_version
from apimachinery.resources import CUSTOMRESOURCEDEFINITIONS, VALIDATINGADMISSIONPOLICIES, by_kind, by_plural
from controllers.context import Context
from controllers.policy_type_checking import Kind, defined_kind, expression_warnings, named_resources
from controllers.requests import unless_gone

# Of more kinds than these a policy's author is not told.
KINDS_MAX = 10


class ValidatingPolicyStatus:
    """One control loop over all ValidatingAdmissionPolicies."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._policies = context.informers.of(VALIDATINGADMISSIONPOLICIES)
        self._definitions = context.informers.of(CUSTOMRESOURCEDEFINITIONS)
        self.informers = (self._policies, self._definitions)
        self.queue = context.queue()
        self._policies.add_handler(self._policy_changed)

    def _policy_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and _is_unseen(new):
            self.queue.add(name(new))

    async def reconcile(self, key: str) -> None:
        """Look at a policy, if its newest version has not been."""
        policy = self._policies.get(key)
        if policy is None or not _is_unseen(policy):
            return
        kinds = await self._kinds(policy)
        warnings = expression_warnings(policy, kinds, await self._params(policy))
        # None takes away what was said of the version before.
        checked = {"expressionWarnings": warnings or None}
        status = {"observedGeneration": policy["metadata"]["generation"], "typeChecking": checked}
        patch = {"metadata": {"resourceVersion": resource_version(policy)}, "status": status}
        await unless_gone(self._client.patch(VALIDATINGADMISSIONPOLICIES, key, patch, subresource="status"))

    async def _kinds(self, policy: Object) -> list[Kind]:
        """What a policy's rules name, as far as it is there."""
        found: dict[tuple[str, str, str], Kind] = {}
        for group, version, plural in named_resources(policy):
            kind = await self._kind(group, version, plural)
            if kind is not None:
                found[kind.group, kind.version, kind.kind] = kind
            if len(found) == KINDS_MAX:
                break
        return [found[key] for key in sorted(found)]

    async def _kind(self, group: str, version: str, plural: str) -> Kind | None:
        builtin = by_plural(group, plural, version)
        if builtin is not None:
            return Kind(builtin.group, builtin.version, builtin.kind)
        # Definitions are large, and policies about them few: what is kept of them is their metadata.
        if self._definitions.get(f"{plural}.{group}") is None:
            return None
        definition = await unless_gone(self._client.get(CUSTOMRESOURCEDEFINITIONS, f"{plural}.{group}"))
        return None if definition is None else defined_kind(definition, version)

    async def _params(self, policy: Object) -> Kind | None:
        """What a policy's parameters are, if that is known."""
        api_version = get_path(policy, "spec", "paramKind", "apiVersion", default="")
        kind = get_path(policy, "spec", "paramKind", "kind", default="")
        builtin = by_kind(api_version, kind)
        group, _, version = api_version.rpartition("/")
        if builtin is not None:
            return Kind(group, version, kind)
        for known in self._definitions.list() if group else ():
            if name(known).partition(".")[2] == group:
                definition = await unless_gone(self._client.get(CUSTOMRESOURCEDEFINITIONS, name(known)))
                found = None if definition is None else defined_kind(definition, version)
                if found is not None and found.kind == kind:
                    return found
        return None


def _is_unseen(policy: Object) -> bool:
    observed: int = get_path(policy, "status", "observedGeneration", default=0)
    return bool(policy["metadata"].get("generation", 0) > observed)
