"""RuntimeClasses.

Source: kubernetes/pkg/apis/node/validation/validation.go, pkg/registry/node/runtimeclass.
"""

from __future__ import annotations

from apimachinery import names
from apimachinery.field import duplicate, invalid_value
from apimachinery.meta import Object
from apimachinery.resources import RUNTIMECLASSES
from apiserver.registry import amounts
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import immutable
from apiserver.registry.metadata import validate_labels
from apiserver.registry.pod_scheduling import validate_tolerations
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, nothing, replace_all

_TOLERATION_KEYS = ("key", "operator", "value", "effect")


def validate(runtime_class: Object) -> Errors:
    """What runs the containers, what that costs, and where it is."""
    errors: Errors = []
    handler = runtime_class.get("handler") or ""
    errors += [invalid_value("handler", handler, why) for why in names.dns1123_label(handler)]
    overhead, scheduling = runtime_class.get("overhead"), runtime_class.get("scheduling")
    if overhead is not None:
        amounts.requirements({"limits": overhead.get("podFixed") or {}}, (), "overhead", errors)
    if scheduling is not None:
        _validate_scheduling(scheduling, errors)
    return errors


def _validate_scheduling(scheduling: Fields, errors: Errors) -> None:
    if scheduling.get("nodeSelector"):
        validate_labels(scheduling["nodeSelector"], "scheduling.nodeSelector", errors)
    tolerations, path = scheduling.get("tolerations") or (), "scheduling.tolerations"
    validate_tolerations(tolerations, path, errors)
    seen: set[tuple[str, ...]] = set()
    for number, toleration in enumerate(tolerations):
        key = tuple(toleration.get(field) or "" for field in _TOLERATION_KEYS)
        if key in seen:
            errors.append(duplicate(f"{path}[{number}]", toleration))
        seen.add(key)


def validate_update(runtime_class: Object, old: Object) -> Errors:
    """What runs the containers stays."""
    errors: Errors = []
    immutable(runtime_class.get("handler"), old.get("handler"), "handler", errors)
    return errors


def _handler(runtime_class: Object) -> Cell:
    return runtime_class.get("handler") or ""


STRATEGY = Strategy(
    RUNTIMECLASSES,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(NAME, Column("Handler", _handler, description="What runs the containers."), AGE),
    create_on_update=True,
    unconditional_update=False,
)
