"""Policies and bindings for tests, in the form in which they are stored."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object
from apimachinery.resources import (
    MUTATINGADMISSIONPOLICIES,
    MUTATINGADMISSIONPOLICYBINDINGS,
    VALIDATINGADMISSIONPOLICIES,
    VALIDATINGADMISSIONPOLICYBINDINGS,
    Resource,
)
from apiserver import registry

EVERYTHING = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
WORKLOADS = {**EVERYTHING, "apiGroups": ["apps"], "resources": ["deployments"]}


def stored(resource: Resource, name: str, **spec: Any) -> tuple[Resource, Object]:
    """An object as the server would keep it; what is wrong with it fails the test."""
    kind = {"apiVersion": resource.api_version, "kind": resource.kind}
    obj: Object = {**kind, "metadata": {"name": name}, "spec": spec}
    strategy = registry.strategy(resource)
    strategy.default(obj)
    errors = strategy.validate(obj)
    assert errors == [], [error.message() for error in errors]
    obj["metadata"]["resourceVersion"] = "1"
    return resource, obj


def validating(*expressions: str | Object, name: str = "policy", rule: Object = EVERYTHING, **spec: Any) -> Any:
    """A ValidatingAdmissionPolicy with these rules."""
    rules = [{"expression": one} if isinstance(one, str) else one for one in expressions]
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": rules, **spec}
    return stored(VALIDATINGADMISSIONPOLICIES, name, **spec)


def bound(policy: str = "policy", name: str = "binding", *, actions: str = "Deny", **spec: Any) -> Any:
    """The binding of a validating policy."""
    spec = {"policyName": policy, "validationActions": actions.split(), **spec}
    return stored(VALIDATINGADMISSIONPOLICYBINDINGS, name, **spec)


def mutating(*mutations: Object, name: str = "policy", rule: Object | None = None, **spec: Any) -> Any:
    """A MutatingAdmissionPolicy with these mutations."""
    rule = rule or {**EVERYTHING, "operations": ["CREATE", "UPDATE"]}
    spec = {"matchConstraints": {"resourceRules": [rule]}, "mutations": list(mutations), **spec}
    return stored(MUTATINGADMISSIONPOLICIES, name, **{"reinvocationPolicy": "Never", **spec})


def mutates(policy: str = "policy", name: str = "binding", **spec: Any) -> Any:
    """The binding of a mutating policy."""
    return stored(MUTATINGADMISSIONPOLICYBINDINGS, name, policyName=policy, **spec)


def applied(expression: str) -> Object:
    """A mutation that merges fields."""
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def patched(expression: str) -> Object:
    """A mutation that patches."""
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}
