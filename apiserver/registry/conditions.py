"""Conditions in the newer, common form (meta/v1 Condition) that some statuses have.

Source: k8s.io/apimachinery/pkg/apis/meta/v1/validation/validation.go (ValidateConditions).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from apimachinery.field import duplicate, invalid_value, not_supported, required, too_long
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields

REASON_MAX, MESSAGE_MAX = 1024, 32 * 1024
STATUSES = ("False", "True", "Unknown")
_REASON = re.compile(r"[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?")
_REASON_MESSAGE = (
    "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
    "characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  or "
    "'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is "
    f"'{_REASON.pattern}')"
)


def validate_conditions(conditions: Iterable[Fields], path: str, errors: Errors) -> None:
    """Each type once, with a status and a reason."""
    seen: set[str] = set()
    for number, condition in enumerate(conditions):
        at, kind = f"{path}[{number}]", condition.get("type") or ""
        if kind in seen:
            errors.append(duplicate(f"{at}.type", kind))
        seen.add(kind)
        _validate_condition(condition, at, errors)


def _validate_condition(condition: Fields, path: str, errors: Errors) -> None:
    checks.qualified_name(condition.get("type") or "", f"{path}.type", errors)
    status, reason = condition.get("status") or "", condition.get("reason") or ""
    if status not in STATUSES:
        errors.append(not_supported(f"{path}.status", status, STATUSES))
    generation = condition.get("observedGeneration") or 0
    if generation < 0:
        why = "must be greater than or equal to zero"
        errors.append(invalid_value(f"{path}.observedGeneration", generation, why))
    if not condition.get("lastTransitionTime"):
        errors.append(required(f"{path}.lastTransitionTime"))
    if not reason:
        errors.append(required(f"{path}.reason"))
    else:
        if not _REASON.fullmatch(reason):
            errors.append(invalid_value(f"{path}.reason", reason, _REASON_MESSAGE))
        if len(reason) > REASON_MAX:
            errors.append(too_long(f"{path}.reason", REASON_MAX))
    if len((condition.get("message") or "").encode()) > MESSAGE_MAX:
        errors.append(too_long(f"{path}.message", MESSAGE_MAX))
