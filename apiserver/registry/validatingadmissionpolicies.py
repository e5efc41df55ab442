"""ValidatingAdmissionPolicies: what must hold of requests, in CEL.

Source: kubernetes/pkg/apis/admissionregistration/v1/defaults.go, validation/validation.go and
pkg/registry/admissionregistration/validatingadmissionpolicy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from apimachinery.field import duplicate, invalid_value, required
from apimachinery.meta import Object, get_path
from apimachinery.names import qualified_name
from apimachinery.resources import VALIDATINGADMISSIONPOLICIES
from apiserver.registry import checks
from apiserver.registry.admission_policies import default, expressions, param_kind, validate_policy
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.conditions import validate_conditions
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, keep_spec

if TYPE_CHECKING:
    from apimachinery.cel import CelType

ANNOTATIONS_MAX, ANNOTATION_EXPRESSION_MAX = 20, 5 * 1024
REASONS = ("Forbidden", "Invalid", "RequestEntityTooLarge")


def validate(policy: Object) -> Errors:
    """What is wrong with a policy in itself."""
    errors: Errors = []
    spec = policy.get("spec") or {}
    types = validate_policy(spec, errors)
    validations, annotations = spec.get("validations") or (), spec.get("auditAnnotations") or ()
    if not validations and not annotations:
        why = "validations or auditAnnotations must contain at least one item"
        errors += [required(f"spec.{field}", why) for field in ("validations", "auditAnnotations")]
    for number, validation in enumerate(validations):
        _validate_validation(validation, f"spec.validations[{number}]", spec, types, errors)
    _validate_annotations(policy["metadata"].get("name") or "", spec, types, errors)
    return errors


def _validate_validation(
    validation: Fields, path: str, spec: Fields, types: dict[str, CelType], errors: Errors
) -> None:
    text = validation.get("expression") or ""
    if not text.strip():
        errors.append(required(f"{path}.expression", "expression is not specified"))
    else:
        cel = expressions()
        errors += cel.problems(text, cel.environment_of(spec, types), cel.BOOLEAN, f"{path}.expression")
    text = validation.get("messageExpression") or ""
    if text and not text.strip():
        errors.append(invalid_value(f"{path}.messageExpression", text, "must be non-empty if specified"))
    elif text:
        cel = expressions()
        environment = cel.environment_of(spec, types, has_authorizer=False)
        errors += cel.problems(text, environment, cel.TEXT, f"{path}.messageExpression")
    text = validation.get("message") or ""
    if text and not text.strip():
        errors.append(invalid_value(f"{path}.message", text, "must be non-empty if specified"))
    message = validation.get("message") or ""
    if any(character in message.strip() for character in "\r\n"):
        errors.append(invalid_value(f"{path}.message", message, "must not contain line breaks"))
    checks.optional_choice(validation.get("reason"), REASONS, f"{path}.reason", errors)


def _validate_annotations(policy: str, spec: Fields, types: dict[str, CelType], errors: Errors) -> None:
    path, annotations = "spec.auditAnnotations", spec.get("auditAnnotations") or ()
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
        else:
            cel = expressions()
            environment = cel.environment_of(spec, types)
            errors += cel.problems(expression, environment, cel.TEXT_OR_NULL, f"{at}.valueExpression")
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
            param_kind,
            description="ParamKind specifies the kind of resources used to parameterize this policy",
        ),
        AGE,
    ),
    counts_generations=True,
    unconditional_update=False,
    status_resets=("spec", "metadata"),
)
