"""ValidatingAdmissionPolicy: requests must keep to the rules of all policies that are bound to them.

What a broken rule does is said by the binding: the request is refused, its client is warned, or an operator is told.

Source: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import orjson

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import VALIDATINGADMISSIONPOLICIES, VALIDATINGADMISSIONPOLICYBINDINGS, Resource
from apiserver.admission.matching import Candidate, namespace_of
from apiserver.admission.plugin import ANY_SUBRESOURCE, ANYTHING, Attributes, Cluster, Plugin, refused
from apiserver.admission.policies.params import Misconfigured
from apiserver.admission.policies.table import Binding, Bound, Policies
from apiserver.admission.requests import Permissions, admission_request, is_inside_namespace
from apiserver.admission.served import Served
from apiserver.authorization import Authorizer

if TYPE_CHECKING:
    from apiserver.admission.policies.decisions import Denial, Judgement, ValidatingPolicy

_FAILURE_KEY = "validation.policy.admission.k8s.io/validation_failure"
_ANNOTATION_CHARACTERS_MAX = 10 * 1024
_CODES = {"Forbidden": 403, "Unauthorized": 401, "RequestEntityTooLarge": 413}


def plugin(cluster: Cluster, served: Served, authorizer: Authorizer) -> Plugin:
    """The plugin over the policies of a cluster."""
    policies = Policies(
        cluster,
        served,
        policies=VALIDATINGADMISSIONPOLICIES,
        bindings=VALIDATINGADMISSIONPOLICYBINDINGS,
        compile=_compile,
    )

    async def validate(attributes: Attributes, cluster: Cluster) -> None:
        candidates = policies.candidates(attributes)
        if candidates:
            review = _Review(policies, attributes, cluster, Permissions(authorizer, attributes))
            for candidate in candidates:
                await review.look(candidate)
            review.settle()

    return Plugin("ValidatingAdmissionPolicy", ANYTHING, validate=validate, subresources=ANY_SUBRESOURCE)


def _compile(policy: Object) -> ValidatingPolicy:
    # Imported by the first policy that is bound: compiling expressions takes much that few need.
    from apiserver.admission.policies.decisions import ValidatingPolicy

    return ValidatingPolicy(policy)


@dataclass(slots=True)
class _Review:
    """One request on its way past the policies; the first denial is what its client is told."""

    policies: Policies[ValidatingPolicy]
    attributes: Attributes
    cluster: Cluster
    permissions: Permissions
    denials: list[tuple[str, str]] = field(default_factory=list)
    _known: dict[tuple[str, str, str], Mapping[str, object]] = field(default_factory=dict)

    async def look(self, candidate: Candidate[Bound[ValidatingPolicy]]) -> None:
        """Hold the request to a policy, wherever it is bound."""
        bound = candidate.item
        policy = bound.policy
        matched = candidate.match(self.attributes, self.cluster)
        if matched is None:
            return
        try:
            kind = self.policies.resource_of_params(policy)
        except Misconfigured as error:
            self._deny(policy, None, f"failed to configure policy: {error}")
            return
        told: dict[str, list[str]] = defaultdict(list)
        for binding in bound.bindings.candidates(self.attributes):
            if binding.match(self.attributes, self.cluster) is None:
                continue
            try:
                params = await self.policies.params(kind, binding.item, self.attributes)
            except Misconfigured as error:
                self._deny(policy, binding.item, f"failed to configure binding: {error}")
                continue
            for param in params:
                judgement = await self._judge(policy, matched, param)
                self._take(policy, binding.item, judgement, told)
        for key, values in told.items():
            self.attributes.annotate(f"{policy.name}/{key}", ", ".join(dict.fromkeys(values)))

    async def _judge(self, policy: ValidatingPolicy, matched: Resource, param: Object | None) -> Judgement:
        from apiserver.admission.policies.decisions import judge

        attributes = self.attributes
        namespace = namespace_of(attributes, self.cluster) if is_inside_namespace(attributes) else None
        return judge(policy, {**await self._bindings(matched), "params": param}, namespace)

    async def _bindings(self, matched: Resource) -> Mapping[str, object]:
        """What expressions of all policies see that have asked for the request in this form."""
        form = (matched.group, matched.version, matched.plural)
        found = self._known.get(form)
        if found is None:
            obj, old = await self.policies.shown(self.attributes, matched)
            request = admission_request(self.attributes, matched)
            seen = {"object": obj, "oldObject": old, "request": request}
            found = self._known[form] = {**self.permissions.bindings(), **seen}
        return found

    def _take(
        self, policy: ValidatingPolicy, binding: Binding, judgement: Judgement, told: dict[str, list[str]]
    ) -> None:
        for denial in judgement.denials:
            for action in binding.actions:
                self._act(action, policy, binding, denial)
        for annotation in judgement.annotations:
            if annotation.error:
                self._deny(policy, binding, annotation.error)
            else:
                told[annotation.key].append(annotation.value[:_ANNOTATION_CHARACTERS_MAX])

    def _act(self, action: str, policy: ValidatingPolicy, binding: Binding, denial: Denial) -> None:
        match action:
            case "Deny":
                self._deny(policy, binding, denial.message, denial.reason)
            case "Warn":
                which = f"ValidatingAdmissionPolicy '{policy.name}' with binding '{binding.name}'"
                self.attributes.warn(f"Validation failed for {which}: {denial.message}")
            case "Audit":
                failure = {
                    "message": denial.message,
                    "policy": policy.name,
                    "binding": binding.name,
                    "expressionIndex": denial.number,
                    "validationActions": list(binding.actions),
                }
                self.attributes.annotate(_FAILURE_KEY, orjson.dumps([failure]).decode())

    def _deny(self, policy: ValidatingPolicy, binding: Binding | None, why: str, reason: str = "") -> None:
        # Whatever is wrong with a policy itself is let pass if it says so.
        if not reason and policy.ignores_failure:
            return
        where = f" with binding '{binding.name}'" if binding is not None else ""
        message = f"ValidatingAdmissionPolicy '{policy.name}'{where} denied request: {why}"
        self.denials.append((message, reason or "Invalid"))

    def settle(self) -> None:
        """Refuse the request if any policy denies it. Raises ApiError."""
        if not self.denials:
            return
        message, reason = self.denials[0]
        error = refused(self.attributes, message, [{"message": message}])
        raise ApiError(_CODES.get(reason, 422), reason, error.message, error.details)
