"""ValidatingAdmissionPolicies: what must hold of requests, in CEL.

Source: kubernetes/pkg/apis/admissionregistration/v1/defaults.go, validation/validation.go and
pkg/registry/admissionregistration/validatingadmissionpolicy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from apimachinery.field import duplicate, invalid_value, required
from apimachinery.meta import Object, get_path
from apimachinery.names import dns1035_label, dns1123_subdomain, qualified_name
from apimachinery.resources import VALIDATINGADMISSIONPOLICIES
from apiserver.registry import checks
from apiserver.registry.admission_rules import (
    FAILURE_POLICIES,
    default_matching,
    default_rules,
    validate_match_conditions,
    validate_match_resources,
    validate_policy_choice,
)
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.conditions import validate_conditions
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, keep_spec

ANNOTATIONS_MAX, ANNOTATION_EXPRESSION_MAX = 20, 5 * 1024
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")
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


def default_match_resources(match: dict[str, object] | None) -> None:
    """What a policy, or its binding, is about."""
    if match is None:
        return
    default_matching(match)
    for field in ("resourceRules", "excludeResourceRules"):
        default_rules(match.get(field))  # type: ignore[arg-type]


def validate(policy: Object) -> Errors:
    """What is wrong with a policy in itself."""
    errors: Errors = []
    spec = policy.get("spec") or {}
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
    validate_match_conditions(spec.get("matchConditions") or (), "spec.matchConditions", errors)
    for number, variable in enumerate(spec.get("variables") or ()):
        _validate_variable(variable, f"spec.variables[{number}]", errors)
    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        why = "validations or auditAnnotations must contain at least one item"
        errors += [required(f"spec.{field}", why) for field in ("validations", "auditAnnotations")]
    for number, validation in enumerate(validations):
        _validate_validation(validation, f"spec.validations[{number}]", errors)
    _validate_annotations(policy["metadata"].get("name") or "", annotations, errors)
    return errors


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


def _validate_variable(variable: Fields, path: str, errors: Errors) -> None:
    name = variable.get("name") or ""
    if not name.strip():
        errors.append(required(f"{path}.name", "name is not specified"))
    elif not _IDENTIFIER.fullmatch(name) or name in _RESERVED:
        errors.append(invalid_value(f"{path}.name", name, "must be a valid CEL identifier"))
    if not (variable.get("expression") or "").strip():
        errors.append(required(f"{path}.expression", "expression is not specified"))


def _validate_validation(validation: Fields, path: str, errors: Errors) -> None:
    if not (validation.get("expression") or "").strip():
        errors.append(required(f"{path}.expression", "expression is not specified"))
    for field in ("messageExpression", "message"):
        text = validation.get(field) or ""
        if text and not text.strip():
            errors.append(invalid_value(f"{path}.{field}", text, "must be non-empty if specified"))
    message = validation.get("message") or ""
    if any(character in message.strip() for character in "\r\n"):
        errors.append(invalid_value(f"{path}.message", message, "must not contain line breaks"))
    checks.optional_choice(validation.get("reason"), REASONS, f"{path}.reason", errors)


def _validate_annotations(policy: str, annotations: Sequence[Fields], errors: Errors) -> None:
    path = "spec.auditAnnotations"
    if len(annotations) > ANNOTATIONS_MAX:
        why = f"must not have more than {ANNOTATIONS_MAX} auditAnnotations"
        errors.append(invalid_value(path, annotations, why))
    seen: set[str] = set()
    for number, annotation in enumerate(annotations):
        at, key = f"{path}[{number}]", annotation.get("key") or ""
        if not policy:
            errors.append(invalid_value(f"{at}.key", key, "requires metadata.name be non-empty"))
        else:
            # In the audit log the policy's name stands before it.
            whole = f"{policy}/{key}"
            errors += [invalid_value(f"{at}.key", whole, why) for why in qualified_name(whole)]
        expression = (annotation.get("valueExpression") or "").strip()
        if not expression:
            errors.append(required(f"{at}.valueExpression", "valueExpression is not specified"))
        elif len(expression) > ANNOTATION_EXPRESSION_MAX:
            why = f"must not exceed {ANNOTATION_EXPRESSION_MAX} bytes in length"
            errors.append(required(f"{at}.valueExpression", why))
        if key in seen:
            errors.append(duplicate(f"{at}.key", key))
        seen.add(key)


def validate_status(policy: Object, old: Object) -> Errors:
    """What the checking of types has found, and conditions."""
    errors: Errors = []
    for number, warning in enumerate(get_path(policy, "status", "typeChecking", "expressionWarnings", default=())):
        path = f"status.typeChecking.expressionWarnings[{number}]"
        for field in ("warning", "fieldRef"):
            if not warning.get(field):
                errors.append(required(f"{path}.{field}"))
    validate_conditions(get_path(policy, "status", "conditions", default=()), "status.conditions", errors)
    return errors


def _count(policy: Object) -> Cell:
    return len(get_path(policy, "spec", "validations", default=()))


def _param_kind(policy: Object) -> Cell:
    kind = get_path(policy, "spec", "paramKind")
    return "<unset>" if kind is None else f"{kind.get('apiVersion') or ''}/{kind.get('kind') or ''}"


STRATEGY = Strategy(
    VALIDATINGADMISSIONPOLICIES,
    default=default,
    prepare_status=keep_spec,
    validate=validate,
    validate_status=validate_status,
    columns=(
        NAME,
        Column(
            "Validations",
            _count,
            type="integer",
            description="Validations indicates the number of validation rules defined in this configuration",
        ),
        Column(
            "ParamKind",
            _param_kind,
            description="ParamKind specifies the kind of resources used to parameterize this policy",
        ),
        AGE,
    ),
    counts_generations=True,
    unconditional_update=False,
)
