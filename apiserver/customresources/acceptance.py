"""Whether a definition's names are free, and what its conditions say. Pure.

Of one group, a name of a resource (plural, singular or short) belongs to the first definition that has asked for it,
and so does a name of a kind. A definition keeps what it was given; what it asks for instead, it gets once it is free.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/ and
k8s.io/apiextensions-apiserver/pkg/controller (status, establish, apiapproval), whose words are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apimachinery.meta import Object, find_condition, get_path, with_condition
from apiserver.registry.customresourcedefinition_conditions import (
    FINALIZER,
    approval_condition,
    bundle_problem,
    webhook_bundle,
)

APPROVAL = "KubernetesAPIApprovalPolicyConformant"
Fields = Mapping[str, Any]
# (field, whether it names a resource, the reason why it can't be accepted); of several reasons the last is told.
_NAMES = (
    ("plural", True, "PluralConflict"),
    ("singular", True, "SingularConflict"),
    ("shortNames", True, "ShortNamesConflict"),
    ("kind", False, "KindConflict"),
    ("listKind", False, "ListKindConflict"),
)


@dataclass(frozen=True, slots=True)
class Taken:
    """The names of a group that other definitions have."""

    resources: frozenset[str]
    kinds: frozenset[str]


def taken(others: Iterable[Fields]) -> Taken:
    """The names in the `acceptedNames` of others."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for names in others:
        resources.update((names.get("plural") or "", names.get("singular") or "", *(names.get("shortNames") or ())))
        kinds.update((names.get("kind") or "", names.get("listKind") or ""))
    return Taken(frozenset(resources - {""}), frozenset(kinds - {""}))


def plan_status(definition: Object, others: Taken, now: str) -> Object | None:
    """The status that a definition should have; None if that is the one that it has."""
    status: Object = definition.get("status") or {}
    wanted, accepted = definition["spec"]["names"], status.get("acceptedNames") or {}
    names, reason, message = _accept(wanted, accepted, others)
    conditions = status.get("conditions") or []
    if names != accepted or find_condition(conditions, "NamesAccepted") is None or reason:
        ok = ("True", "NoConflicts", "no conflicts found")
        state, why, told = ("False", reason, message) if reason else ok
        conditions = _set(conditions, "NamesAccepted", state, why, told, now)
    conditions = _establish(definition, conditions, accepted=not reason, now=now)
    approval = approval_condition(definition)
    if approval is not None:
        conditions = _set(conditions, APPROVAL, *approval, now)
    planned = {**status, "acceptedNames": names, "conditions": conditions}
    return planned if planned != status else None


def _accept(wanted: Fields, accepted: Fields, others: Taken) -> tuple[Object, str, str]:
    """(the names that are accepted, why not all are, in words)."""
    names: Object = {key: value for key, value in accepted.items() if value}
    reason = message = ""
    for field, is_resource, why in _NAMES:
        value, used = wanted.get(field), others.resources if is_resource else others.kinds
        have = accepted.get(field)
        conflicts = [name for name in _each(value) if name not in _each(have) and name in used]
        if conflicts:
            told = [f'"{name}" is already in use' for name in conflicts]
            reason, message = why, told[0] if len(told) == 1 else f"[{', '.join(told)}]"
        else:
            _put(names, field, value)
    _put(names, "categories", wanted.get("categories"))
    return names, reason, message


def _each(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value or []


def _put(names: Object, field: str, value: Any) -> None:
    names.pop(field, None)
    if value:
        names[field] = value


def _establish(definition: Object, conditions: list[Any], *, accepted: bool, now: str) -> list[Any]:
    """What is established stays so, whatever it is changed to."""
    old = find_condition(conditions, "Established")
    if old is not None and old["status"] == "True":
        return conditions
    if not accepted:
        why = ("False", "NotAccepted", "not all names are accepted")
    elif bundle_problem(webhook_bundle(definition)):
        why = ("False", "InvalidCABundle", "The conversion webhook CABundle is invalid")
    else:
        why = ("True", "InitialNamesAccepted", "the initial names have been accepted")
    return _set(conditions, "Established", *why, now)


def _set(conditions: list[Any], kind: str, status: str, reason: str, message: str, now: str) -> list[Any]:
    old = find_condition(conditions, kind)
    if old is not None and (old["status"], old.get("reason"), old.get("message")) == (status, reason, message):
        return conditions
    return with_condition(conditions, type=kind, status=status, reason=reason, message=message, now=now)


def terminating(definition: Object, status: str, reason: str, message: str, now: str) -> Object:
    """The status of a definition whose end is at this stage."""
    have: Object = definition.get("status") or {}
    conditions = have.get("conditions") or []
    return {**have, "conditions": _set(conditions, "Terminating", status, reason, message, now)}


def is_going(definition: Object) -> bool:
    """Whether a definition waits for its objects to go."""
    metadata = definition["metadata"]
    return bool(metadata.get("deletionTimestamp")) and FINALIZER in (metadata.get("finalizers") or ())


def accepted_names(definition: Object) -> Fields:
    """The names that a definition has."""
    found: Fields = get_path(definition, "status", "acceptedNames") or {}
    return found
