"""PriorityClasses.

Source: kubernetes/pkg/apis/scheduling/v1/defaults.go, validation/validation.go and the printers.
"""

from __future__ import annotations

from apimachinery.field import forbidden_field
from apimachinery.meta import Object
from apimachinery.resources import PRIORITYCLASSES
from apiserver.registry import checks
from apiserver.registry.checks import Errors
from apiserver.registry.equality import immutable
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, replace_all

USER_VALUE_MAX = 1_000_000_000
SYSTEM_PREFIX = "system-"
# The classes that every cluster has, for what it can't do without.
SYSTEM_VALUES = {"system-cluster-critical": 2 * USER_VALUE_MAX, "system-node-critical": 2 * USER_VALUE_MAX + 1000}
POLICIES = ("Never", "PreemptLowerPriority")


def default(priority_class: Object) -> None:
    """Pods take the places of less important ones. None is more important than another unless somebody says so."""
    if priority_class.get("value") is None:
        priority_class["value"] = 0
    if priority_class.get("preemptionPolicy") is None:
        priority_class["preemptionPolicy"] = "PreemptLowerPriority"


def validate(priority_class: Object) -> Errors:
    """A value, of which the greatest are the system's own."""
    errors: Errors = []
    name, value = priority_class["metadata"].get("name") or "", priority_class.get("value") or 0
    if name.startswith(SYSTEM_PREFIX):
        problem = _system_problem(priority_class, name, value)
        if problem:
            reserved = f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only"
            errors.append(forbidden_field("metadata.name", f"{reserved}. error: {problem}"))
    elif value > USER_VALUE_MAX:
        why = f"maximum allowed value of a user defined priority is {USER_VALUE_MAX}"
        errors.append(forbidden_field("value", why))
    checks.optional_choice(priority_class.get("preemptionPolicy"), POLICIES, "preemptionPolicy", errors)
    return errors


def _system_problem(priority_class: Object, name: str, value: int) -> str:
    expected = SYSTEM_VALUES.get(name)
    if expected is None:
        return f"{name} is not a known system priority class"
    if value != expected:
        return f"value of {name} PriorityClass must be {expected}"
    if priority_class.get("globalDefault"):
        return f"globalDefault of {name} PriorityClass must be false"
    return ""


def validate_update(priority_class: Object, old: Object) -> Errors:
    """What a class means stays, since pods have been given its value."""
    errors: Errors = []
    if (priority_class.get("value") or 0) != (old.get("value") or 0):
        errors.append(forbidden_field("value", "may not be changed in an update."))
    policy, before = priority_class.get("preemptionPolicy"), old.get("preemptionPolicy")
    immutable(policy, before, "preemptionPolicy", errors)
    return errors


def _value(priority_class: Object) -> Cell:
    return priority_class.get("value") or 0


def _is_default(priority_class: Object) -> Cell:
    return bool(priority_class.get("globalDefault"))


def _policy(priority_class: Object) -> Cell:
    return priority_class.get("preemptionPolicy") or ""


def prepare_create(priority_class: Object) -> None:
    """The first generation, and the only one: nothing that counts can change."""
    priority_class["metadata"]["generation"] = 1


STRATEGY = Strategy(
    PRIORITYCLASSES,
    default=default,
    prepare_create=prepare_create,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Value", _value, type="integer", description="The priority of its pods."),
        Column("Global-Default", _is_default, type="boolean", description="Whether pods without a class are of it."),
        AGE,
        Column("PreemptionPolicy", _policy, description="Whether its pods take the places of others."),
    ),
)
