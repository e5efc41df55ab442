"""MutatingAdmissionPolicy: requests are changed by all policies that are bound to them, one after the other.

Source: https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from apimachinery.errors import ApiError, service_unavailable
from apimachinery.meta import Object, name, namespace
from apimachinery.resources import MUTATINGADMISSIONPOLICIES, MUTATINGADMISSIONPOLICYBINDINGS, Resource
from apiserver.admission.matching import Candidate, Unmatchable, namespace_of
from apiserver.admission.plugin import ANY_SUBRESOURCE, ANYTHING, Attributes, Cluster, Plugin, refused
from apiserver.admission.policies.params import Misconfigured
from apiserver.admission.policies.table import Bound, Policies
from apiserver.admission.reinvocation import reinvocation_of
from apiserver.admission.requests import Permissions, admission_request, is_inside_namespace
from apiserver.admission.reshaping import replace_object
from apiserver.admission.served import Served
from apiserver.authorization import Authorizer

if TYPE_CHECKING:
    from apiserver.admission.policies.mutations import MutatingPolicy

NAME = "MutatingAdmissionPolicy"
_UNKNOWN = (
    "Resource kind {} not found. There can be a delay between when CustomResourceDefinitions are created and when "
    "they are available."
)


def plugin(cluster: Cluster, served: Served, authorizer: Authorizer) -> Plugin:
    """The plugin over the policies of a cluster."""
    policies = Policies(
        cluster,
        served,
        policies=MUTATINGADMISSIONPOLICIES,
        bindings=MUTATINGADMISSIONPOLICYBINDINGS,
        compile=_compile,
    )

    async def mutate(attributes: Attributes, cluster: Cluster) -> None:
        candidates = policies.candidates(attributes)
        if not candidates:
            return
        known = reinvocation_of(attributes, NAME)
        known.begin()
        review = _Review(policies, served, attributes, cluster, Permissions(authorizer, attributes))
        # What a policy is about is asked of the request as it comes in, not as other policies have changed it.
        invocations = [invocation for candidate in candidates for invocation in await review.look(candidate)]
        for invocation in invocations:
            await review.apply(invocation)
        known.end()
        review.settle()

    return Plugin(NAME, ANYTHING, mutate=mutate, subresources=ANY_SUBRESOURCE)


def _compile(policy: Object) -> MutatingPolicy:
    # Imported by the first policy that is bound: compiling expressions takes much that few need.
    from apiserver.admission.policies.mutations import MutatingPolicy

    return MutatingPolicy(policy)


class _Invocation(NamedTuple):
    """A policy that is to change a request, with one set of parameters; `where` tells what is refused by it."""

    policy: MutatingPolicy
    matched: Resource
    param: Object | None
    where: str
    key: str


@dataclass(slots=True)
class _Review:
    """One request on its way past the policies; `problems` are what it is refused for in the end: (what, reason)."""

    policies: Policies[MutatingPolicy]
    served: Served
    attributes: Attributes
    cluster: Cluster
    permissions: Permissions
    problems: list[tuple[str, str]] = field(default_factory=list)

    async def look(self, candidate: Candidate[Bound[MutatingPolicy]]) -> list[_Invocation]:
        """Where a policy is to change the request: once for each binding, and each of its parameters."""
        bound, attributes = candidate.item, self.attributes
        policy = bound.policy
        matched = candidate.match(attributes, self.cluster)
        if matched is None:
            return []
        try:
            kind = self.policies.resource_of_params(policy)
        except Misconfigured as error:
            self._problem(policy, f'policy "{policy.name}" denied request: failed to configure policy: {error}')
            return []
        found: list[_Invocation] = []
        for binding in bound.bindings.candidates(attributes):
            if binding.match(attributes, self.cluster) is None:
                continue
            where = f"policy '{policy.name}' with binding '{binding.item.name}' denied request"
            try:
                params = await self.policies.params(kind, binding.item, attributes)
            except Misconfigured as error:
                self._problem(policy, f"{where}: failed to configure binding: {error}")
                continue
            for param in params:
                key = f"{policy.name}/{binding.item.name}/{_key(param)}"
                found.append(_Invocation(policy, matched, param, where, key))
        return found

    async def apply(self, invocation: _Invocation) -> None:
        """Have a policy change the request."""
        from apiserver.admission.policies.mutations import Unpatchable

        attributes, known = self.attributes, reinvocation_of(self.attributes, NAME)
        policy, matched, where, key = invocation.policy, invocation.matched, invocation.where, invocation.key
        bindings = await self._bindings(matched, invocation.param)
        try:
            seen = {**bindings, "namespaceObject": None}
            if policy.conditions is not None and not policy.conditions.match(seen):
                return
        except Unmatchable as error:
            self._problem(policy, f"{where}: {error}", "Invalid")
            return
        if known.skips(key):
            return
        changed = False
        for mutation in policy.mutations if attributes.obj is not None else ():
            fields = self.served.type_of(attributes.sent_as or matched)
            if fields is None:
                raise service_unavailable(_UNKNOWN.format(f"{matched.api_version}, Kind={matched.kind}"))
            obj, _ = await self.policies.shown(attributes, matched)
            assert obj is not None
            try:
                made = mutation.apply(obj, {**bindings, "object": obj}, fields)
            except Unpatchable as error:
                self._problem(policy, f"{where}: {error}", "Invalid")
                continue
            changed |= await replace_object(attributes, self.served, made)
        known.was_asked(key, changed=changed, wants_again=policy.wants_again)

    async def _bindings(self, matched: Resource, param: Object | None) -> dict[str, object]:
        attributes = self.attributes
        obj, old = await self.policies.shown(attributes, matched)
        namespace = namespace_of(attributes, self.cluster) if is_inside_namespace(attributes) else None
        request = admission_request(attributes, matched)
        seen = {"object": obj, "oldObject": old, "request": request, "namespaceObject": namespace, "params": param}
        return {**self.permissions.bindings(), **seen}

    def _problem(self, policy: MutatingPolicy, told: str, reason: str = "") -> None:
        if not policy.ignores_failure:
            self.problems.append((told, reason))

    def settle(self) -> None:
        """Refuse the request if a policy could not change it. Raises ApiError."""
        if self.problems:
            message, reason = self.problems[0]
            error = refused(self.attributes, "", [{"message": told} for told, _ in self.problems])
            raise ApiError(error.code, reason or error.reason, message, error.details)


def _key(param: Object | None) -> str:
    return "" if param is None else f"{namespace(param)}/{name(param)}"
