"""The policies that are bound, read from the store whenever they or their bindings have changed.

What was compiled of a policy is kept until the policy itself changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from apimachinery.meta import Object, get_path, name, resource_version
from apimachinery.resources import NAMESPACES, Resource
from apiserver.admission.matching import Candidate, Criteria, Matcher, criteria_of, is_exempt
from apiserver.admission.plugin import Attributes, Cluster
from apiserver.admission.policies.params import collect, param_resource
from apiserver.admission.served import Served

if TYPE_CHECKING:
    from apiserver.admission.policies.compiled import CompiledPolicy

P = TypeVar("P", bound="CompiledPolicy")

# Questions about rights are not decided by policies, which may themselves ask them.
_NOT_LOOKED_AT = frozenset(
    (
        *(("authentication.k8s.io", name) for name in ("selfsubjectreviews", "tokenreviews")),
        *(("authorization.k8s.io", f"{kind}reviews") for kind in ("localsubjectaccess", "subjectaccess")),
        *(("authorization.k8s.io", f"selfsubject{kind}reviews") for kind in ("access", "rules")),
    )
)


@dataclass(frozen=True, slots=True)
class Binding:
    """Where a policy holds."""

    name: str
    actions: tuple[str, ...]
    params: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Bound(Generic[P]):
    """A policy and its bindings."""

    policy: P
    bindings: Matcher[Binding]


class Policies(Generic[P]):
    """All bound policies of one kind, by name."""

    def __init__(
        self,
        cluster: Cluster,
        served: Served,
        *,
        policies: Resource,
        bindings: Resource,
        compile: Callable[[Object], P],
    ) -> None:
        self._cluster = cluster
        self._served = served
        self._policies = policies
        self._bindings = bindings
        self._compile = compile
        self._matcher: Matcher[Bound[P]] | None = None
        self._compiled: dict[tuple[str, str], P] = {}
        cluster.listen(policies, self._changed)
        cluster.listen(bindings, self._changed)

    def _changed(self) -> None:
        self._matcher = None

    def candidates(self, attributes: Attributes) -> tuple[Candidate[Bound[P]], ...]:
        """Those that a request can match."""
        matcher = self._matcher
        if matcher is None:
            matcher = self._matcher = Matcher(self._read(), self._served)
        resource = attributes.resource
        if not matcher or is_exempt(resource) or resource.key in _NOT_LOOKED_AT:
            return ()
        return matcher.candidates(attributes)

    def _read(self) -> list[tuple[Bound[P], Criteria]]:
        bindings: dict[str, list[Object]] = {}
        for binding in sorted(self._cluster.list(self._bindings, ""), key=name):
            bindings.setdefault(get_path(binding, "spec", "policyName", default=""), []).append(binding)
        found, compiled = [], {}
        for called in sorted(bindings):
            policy = self._cluster.get(self._policies, "", called)
            if policy is None:
                continue
            key = (called, resource_version(policy))
            compiled[key] = self._compiled.get(key) or self._compile(policy)
            bound = Bound(compiled[key], Matcher(map(_binding, bindings[called]), self._served))
            found.append((bound, criteria_of(get_path(policy, "spec", "matchConstraints", default={}))))
        self._compiled = compiled
        return found

    def resource_of_params(self, policy: P) -> Resource | None:
        """What the parameters of a policy are. Raises Misconfigured."""
        return param_resource(policy.param_kind, self._served)

    async def params(
        self, resource: Resource | None, binding: Binding, attributes: Attributes
    ) -> list[Object | None]:
        """The parameters with which a binding applies its policy to a request. Raises Misconfigured."""
        # A request for a namespace counts as one inside of it.
        inside = attributes.name if attributes.resource.key == NAMESPACES.key else attributes.namespace
        return await collect(resource, binding.params, inside, self._cluster, self._served)

    async def shown(self, attributes: Attributes, matched: Resource) -> tuple[Object | None, Object | None]:
        """The new and the old object, in the form that the policy has asked for."""
        obj, old = attributes.obj, attributes.old
        if attributes.sent_as is None and obj is not None:
            obj = await self._served.converted(obj, matched)
        if attributes.sent_as is None and old is not None:
            old = await self._served.converted(old, matched)
        return obj, old


def _binding(binding: Object) -> tuple[Binding, Criteria]:
    spec = binding.get("spec") or {}
    made = Binding(name(binding), tuple(spec.get("validationActions") or ()), spec.get("paramRef"))
    match = spec.get("matchResources")
    return made, criteria_of(match, open=True) if match is not None else Criteria(open=True)
