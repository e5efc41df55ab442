"""MutatingAdmissionPolicies: what requests are changed by, in CEL.

Source: kubernetes/pkg/apis/admissionregistration/validation/validation.go and
pkg/registry/admissionregistration/mutatingadmissionpolicy.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from apimachinery.field import invalid_value, not_supported, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import MUTATINGADMISSIONPOLICIES
from apiserver.registry.admission_policies import default, expressions, param_kind, validate_policy
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, nothing, replace_all

if TYPE_CHECKING:
    from apimachinery.cel import CelType

# What is deleted can't be changed any more.
OPERATIONS = ("*", "CONNECT", "CREATE", "UPDATE")
PATCHES = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
REINVOCATION = ("IfNeeded", "Never")


def validate(policy: Object) -> Errors:
    """What is wrong with a policy in itself."""
    errors: Errors = []
    spec = policy.get("spec") or {}
    types = validate_policy(spec, errors)
    rules = get_path(spec, "matchConstraints", "resourceRules", default=())
    validate_operations(rules, "spec.matchConstraints.resourceRules.operations", errors)
    mutations = spec.get("mutations") or ()
    if not mutations:
        errors.append(required("spec.mutations", "mutations must contain at least one item"))
    for number, mutation in enumerate(mutations):
        _validate_mutation(mutation, f"spec.mutations[{number}]", spec, types, errors)
    reinvocation = spec.get("reinvocationPolicy") or ""
    if not reinvocation:
        errors.append(required("spec.reinvocationPolicy"))
    elif reinvocation not in REINVOCATION:
        errors.append(not_supported("spec.reinvocationPolicy", reinvocation, REINVOCATION))
    return errors


def validate_operations(rules: Iterable[Fields], path: str, errors: Errors) -> None:
    """Operations whose object can be changed."""
    for rule in rules:
        for operation in rule.get("operations") or ():
            if operation not in OPERATIONS:
                errors.append(not_supported(path, operation, OPERATIONS))


def _validate_mutation(mutation: Fields, path: str, spec: Fields, types: dict[str, CelType], errors: Errors) -> None:
    kind = mutation.get("patchType") or ""
    if not kind:
        errors.append(required(f"{path}.patchType"))
        return
    if kind not in PATCHES:
        errors.append(not_supported(f"{path}.patchType", kind, tuple(PATCHES)))
        return
    for called, field in PATCHES.items():
        patch, at = mutation.get(field), f"{path}.{field}"
        if called != kind:
            if patch is not None:
                why = f"must not be specified when patchType is {kind}"
                errors.append(invalid_value(at, f"{{{field}}}", why))
        elif patch is None:
            errors.append(required(at, f"must be specified when patchType is {kind}"))
        else:
            _validate_expression(patch, kind, f"{at}.expression", spec, types, errors)


def _validate_expression(
    patch: Fields, kind: str, path: str, spec: Fields, types: dict[str, CelType], errors: Errors
) -> None:
    text = (patch.get("expression") or "").strip()
    if not text:
        errors.append(required(path))
        return
    cel = expressions()
    errors += cel.problems(text, cel.environment_of(spec, types, mutates=True), cel.MUTATION_TYPES[kind], path)


def _count(policy: Object) -> Cell:
    return len(get_path(policy, "spec", "mutations", default=()))


STRATEGY = Strategy(
    MUTATINGADMISSIONPOLICIES,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    columns=(
        NAME,
        Column(
            "Mutations",
            _count,
            type="integer",
            description="Mutations indicates the number of mutations rules defined in this configuration",
        ),
        Column(
            "ParamKind",
            param_kind,
            description="ParamKind specifies the kind of resources used to parameterize this policy",
        ),
        AGE,
    ),
    counts_generations=True,
    unconditional_update=False,
)
