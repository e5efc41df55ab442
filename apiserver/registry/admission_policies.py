"""What validating and mutating admission policies have in common.

Source: kubernetes/pkg/apis/admissionregistration/v1/defaults.go, validation/validation.go.
"""

from __future__ import annotations

import re
from types import ModuleType
from typing import TYPE_CHECKING, Any

from apimachinery.field import invalid_value, required
from apimachinery.meta import Object, get_path
from apimachinery.names import dns1035_label, dns1123_subdomain
from apiserver.registry.admission_rules import (
    FAILURE_POLICIES,
    default_matching,
    default_rules,
    validate_match_conditions,
    validate_match_resources,
    validate_policy_choice,
)
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.strategy import Cell

if TYPE_CHECKING:
    from apimachinery.cel import CelType

_IDENTIFIER = re.compile(r"[_a-zA-Z][_a-zA-Z0-9]*")
_RESERVED = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if"),
        *("import", "let", "loop", "package", "namespace", "return", "var", "void", "while"),
    )
)


def default(policy: Object) -> None:
    """What can't be decided is refused."""
    spec = policy.setdefault("spec", {})
    if spec.get("failurePolicy") is None:
        spec["failurePolicy"] = "Fail"
    default_match_resources(spec.get("matchConstraints"))


def default_match_resources(match: dict[str, Any] | None) -> None:
    """What a policy, or its binding, is about."""
    if match is None:
        return
    default_matching(match)
    for field in ("resourceRules", "excludeResourceRules"):
        default_rules(match.get(field))


def validate_policy(spec: Fields, errors: Errors) -> dict[str, CelType]:
    """What a policy is about, and its variables, whose types are returned."""
    validate_policy_choice(spec.get("failurePolicy"), FAILURE_POLICIES, "spec.failurePolicy", errors)
    if spec.get("paramKind") is not None:
        _validate_kind(spec["paramKind"], "spec.paramKind", errors)
    match = spec.get("matchConstraints")
    if match is None:
        errors.append(required("spec.matchConstraints"))
    else:
        validate_match_resources(match, "spec.matchConstraints", errors)
        if not match.get("resourceRules"):
            errors.append(required("spec.matchConstraints.resourceRules"))
    validate_match_conditions(spec.get("matchConditions") or (), spec, "spec.matchConditions", errors)
    return _validate_variables(spec, errors)


def _validate_kind(kind: Fields, path: str, errors: Errors) -> None:
    api_version, name, at = kind.get("apiVersion") or "", kind.get("kind") or "", f"{path}.apiVersion"
    group, _, version = api_version.rpartition("/")
    if not api_version:
        errors.append(required(at))
    elif api_version.count("/") > 1:
        errors.append(invalid_value(at, api_version, f"unexpected GroupVersion string: {api_version}"))
    else:
        if group and (problems := dns1123_subdomain(group)):
            errors.append(invalid_value(at, group, ",".join(problems)))
        if not version:
            errors.append(invalid_value(at, api_version, "version must be specified"))
        elif problems := dns1035_label(version):
            errors.append(invalid_value(at, version, ",".join(problems)))
    if not name:
        errors.append(required(f"{path}.kind"))
    elif problems := dns1035_label(name.lower()):
        why = f"may have mixed case, but should otherwise match: {','.join(problems)}"
        errors.append(invalid_value(f"{path}.kind", name, why))


def _validate_variables(spec: Fields, errors: Errors) -> dict[str, CelType]:
    types: dict[str, CelType] = {}
    for number, variable in enumerate(spec.get("variables") or ()):
        path, name = f"spec.variables[{number}]", variable.get("name") or ""
        if not name.strip():
            errors.append(required(f"{path}.name", "name is not specified"))
        elif not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
            errors.append(invalid_value(f"{path}.name", name, "must be a valid CEL identifier"))
        text = variable.get("expression") or ""
        if not text.strip():
            errors.append(required(f"{path}.expression", "expression is not specified"))
        else:
            types[name] = expressions().type_of(text, spec, types, f"{path}.expression", errors)
    return types


def expressions() -> ModuleType:
    """What compiles expressions; imported when the first policy is written."""
    from apiserver.registry import expressions

    return expressions


def param_kind(policy: Object) -> Cell:
    """The kind of a policy's parameters."""
    kind = get_path(policy, "spec", "paramKind")
    return "<unset>" if kind is None else f"{kind.get('apiVersion') or ''}/{kind.get('kind') or ''}"
