"""The mutations of a policy: what each makes of an object, given what it may look at.

    JSONPatch            the expression gives the operations of a JSON patch
    ApplyConfiguration   it gives fields that are merged into the object as server-side apply would merge them

Source: https://kubernetes.io/docs/reference/access-authn-authz/mutating-admission-policy/,
k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

from apimachinery.cel import CelEvaluationError, CostBudget, to_wire
from apimachinery.cel.admission import Variables, misnamed_types
from apimachinery.cel.values import Struct
from apimachinery.errors import ApiError
from apimachinery.managedfields.check import problems
from apimachinery.managedfields.merge import merged
from apimachinery.managedfields.types import ATOMIC, Type
from apimachinery.meta import Object
from apimachinery.patch import json_patch
from apiserver.admission.policies.compiled import CompiledPolicy, Expression
from apiserver.registry.expressions import MUTATION_TYPES, UnusableExpression
from apiserver.registry.mutatingadmissionpolicies import PATCHES

Bindings = Mapping[str, Any]


class Unpatchable(Exception):
    """A mutation that can't be made; the message says why."""


class Mutation:
    """One mutation of a policy."""

    def __init__(self, policy: CompiledPolicy, kind: str, text: str) -> None:
        self._policy = policy
        self._is_patch = kind == "JSONPatch"
        self._expression = Expression(policy, text, MUTATION_TYPES[kind], mutates=True)

    def apply(self, obj: Object, bindings: Bindings, kind: Type) -> Object:
        """The object with the mutation; `kind` says how its fields are merged. Raises Unpatchable."""
        value = self._evaluate(bindings)
        return _patched(obj, value) if self._is_patch else _merged(obj, value, kind)

    def _evaluate(self, bindings: Bindings) -> Any:
        budget = CostBudget()
        try:
            program = self._expression.program
            return program.evaluate(Variables(self._policy.variables, bindings, budget).bindings, budget=budget)
        except UnusableExpression as error:
            raise Unpatchable(str(error)) from error
        except CelEvaluationError as error:
            if budget.remaining < 0:
                raise Unpatchable(str(error)) from error
            raise Unpatchable(f"expression '{self._expression.text}' resulted in error: {error}") from error


class MutatingPolicy(CompiledPolicy):
    """A MutatingAdmissionPolicy."""

    @cached_property
    def mutations(self) -> list[Mutation]:
        """Its mutations, in order."""
        return list(self._mutations())

    def _mutations(self) -> Iterator[Mutation]:
        for listed in self.spec.get("mutations") or ():
            kind = listed["patchType"]
            yield Mutation(self, kind, listed[PATCHES[kind]].get("expression") or "")

    @property
    def wants_again(self) -> bool:
        """Whether it looks again at what others have changed after it."""
        return self.spec.get("reinvocationPolicy") == "IfNeeded"


def _patched(obj: Object, operations: Any) -> Object:
    values = [operation.get("value") for operation in operations]
    wrong = [
        problem for value in values if isinstance(value, Struct) for problem in misnamed_types(value, value.type_name)
    ]
    if wrong:
        raise Unpatchable(f"type mismatch: {'; '.join(wrong)}")
    try:
        wire = [{key: value for key, value in to_wire(one).items() if key != "from" or value} for one in operations]
        found: Object = json_patch(obj, wire)
    except CelEvaluationError as error:
        raise Unpatchable(f"JSONPath valueExpression evaluated to a type that could not marshal: {error}") from error
    except ApiError as error:
        if any(one.get("op") == "test" for one in wire) and _test_fails(obj, wire):
            return obj  # a test that fails says that there is nothing to do
        raise Unpatchable(f"JSON Patch: {error.message}") from error
    return found


def _test_fails(obj: Object, operations: list[Any]) -> bool:
    """Whether it is a test that keeps a patch from being applied."""
    for number, operation in enumerate(operations):
        try:
            json_patch(obj, operations[: number + 1])
        except ApiError:
            return bool(operation.get("op") == "test")
    return False


def _merged(obj: Object, value: Any, kind: Type) -> Object:
    wrong = misnamed_types(value)
    if wrong:
        raise Unpatchable(f"type mismatch: {'; '.join(wrong)}")
    try:
        patch: Object = to_wire(value)
    except CelEvaluationError as error:
        raise Unpatchable(f"error applying patch: {error}") from error
    problem = problems(kind, patch)
    if problem:
        raise Unpatchable(f"error applying patch: failed to convert patch object to typed object: {problem}")
    atomic = ", ".join(_atomics(kind, patch, ""))
    if atomic:
        told = f"may not mutate atomic arrays, maps or structs: {atomic}"
        raise Unpatchable(f"error applying patch: invalid ApplyConfiguration: {told}")
    try:
        found: Object = merged(kind, obj, patch)
    except ValueError as error:
        raise Unpatchable(f"error applying patch: failed to merge patch: {error}") from error
    return found


def _atomics(kind: Type, value: Any, path: str) -> Iterator[str]:
    """Where a patch has something that could only be replaced whole, which would lose what it does not know of."""
    if isinstance(value, dict):
        if kind.is_map and not kind.granular and path:
            yield path
            return
        for key, inner in value.items():
            known = kind.field(key)
            if known is not None:
                yield from _atomics(known.type, inner, f"{path}.{key}")
    elif isinstance(value, list):
        if kind.is_list and kind.list_kind == ATOMIC:
            yield path
        elif kind.items is not None:
            for number, item in enumerate(value):
                yield from _atomics(kind.items, item, f"{path}[{number}]")
