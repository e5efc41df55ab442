"""StorageClasses.

Source: kubernetes/pkg/apis/storage/v1/defaults.go, validation/validation.go, the printers.
"""

from __future__ import annotations

from apimachinery import meta
from apimachinery.field import duplicate, required
from apimachinery.meta import Object
from apimachinery.resources import STORAGECLASSES
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import immutable
from apiserver.registry.metadata import validate_label_key
from apiserver.registry.storage_classes import forbid_changes, text, validate_parameters, validate_provisioner
from apiserver.registry.strategy import (
    AGE,
    NAME_DESCRIPTION,
    Cell,
    Column,
    Strategy,
    nothing,
    replace_all,
)

BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
RECLAIM_POLICIES = ("Delete", "Retain")
DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def default(storage_class: Object) -> None:
    """Volumes are made at once, and go with their claims."""
    if storage_class.get("reclaimPolicy") is None:
        storage_class["reclaimPolicy"] = "Delete"
    if storage_class.get("volumeBindingMode") is None:
        storage_class["volumeBindingMode"] = "Immediate"


def is_default(storage_class: Object) -> bool:
    """Whether claims without a class are of it."""
    annotations = meta.annotations(storage_class)
    return any(annotations.get(key) == "true" for key in DEFAULT_ANNOTATIONS)


def validate(storage_class: Object) -> Errors:
    """What is wrong with a class in itself."""
    errors: Errors = []
    validate_provisioner(storage_class.get("provisioner") or "", "provisioner", errors)
    validate_parameters(storage_class.get("parameters") or {}, "parameters", errors)
    if storage_class.get("reclaimPolicy"):
        checks.choice(storage_class["reclaimPolicy"], RECLAIM_POLICIES, "reclaimPolicy", errors)
    checks.choice(storage_class.get("volumeBindingMode"), BINDING_MODES, "volumeBindingMode", errors)
    seen: list[dict[str, set[str]]] = []
    for number, term in enumerate(storage_class.get("allowedTopologies") or ()):
        path = f"allowedTopologies[{number}].matchLabelExpressions"
        found = _validate_topology(term, path, errors)
        if found in seen:
            errors.append(duplicate(path, ""))
        seen.append(found)
    return errors


def _validate_topology(term: Fields, path: str, errors: Errors) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for number, expression in enumerate(term.get("matchLabelExpressions") or ()):
        at, key, values = f"{path}[{number}]", expression.get("key") or "", expression.get("values") or ()
        if not values:
            errors.append(required(f"{at}.values"))
        seen: set[str] = set()
        for index, value in enumerate(values):
            if value in seen:
                errors.append(duplicate(f"{at}.values[{index}]", value))
            seen.add(value)
        validate_label_key(key, f"{at}.key", errors)
        if key in found:
            errors.append(duplicate(f"{at}.key", key))
        found[key] = seen
    return found


def validate_update(storage_class: Object, old: Object) -> Errors:
    """How volumes are made stays."""
    errors: Errors = []
    forbid_changes(storage_class, old, ("parameters", "provisioner", "reclaimPolicy"), errors)
    mode, before = storage_class.get("volumeBindingMode"), old.get("volumeBindingMode")
    immutable(mode, before, "volumeBindingMode", errors)
    return errors


def _name(storage_class: Object) -> Cell:
    name: str = storage_class["metadata"]["name"]
    return f"{name} (default)" if is_default(storage_class) else name


def _expandable(storage_class: Object) -> Cell:
    return bool(storage_class.get("allowVolumeExpansion"))


STRATEGY = Strategy(
    STORAGECLASSES,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(
        Column("Name", _name, format="name", description=NAME_DESCRIPTION),
        Column("Provisioner", text("provisioner"), description="Who makes the volumes."),
        Column("ReclaimPolicy", text("reclaimPolicy", "Delete"), description="What becomes of one without a claim."),
        Column("VolumeBindingMode", text("volumeBindingMode", "Immediate"), description="When a claim is bound."),
        Column("AllowVolumeExpansion", _expandable, description="Whether a claim may grow."),
        AGE,
    ),
)
