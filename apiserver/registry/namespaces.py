"""Namespaces: one whose deletion has been asked for stays, terminating, until its content is gone.

Source: kubernetes/pkg/registry/core/namespace, pkg/apis/core/validation/validation.go (ValidateNamespace).
"""

from __future__ import annotations

from apimachinery import names
from apimachinery.field import invalid_value
from apimachinery.meta import Object, deletion_requested, get_path
from apimachinery.resources import NAMESPACES
from apiserver.registry.checks import Errors
from apiserver.registry.metadata import validate_finalizer
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, keep_spec, keep_status

ACTIVE, TERMINATING = "Active", "Terminating"
FINALIZER = "kubernetes"
NAME_LABEL = "kubernetes.io/metadata.name"


def default(namespace: Object) -> None:
    """A label with its own name, by which selectors can find it."""
    metadata = namespace.setdefault("metadata", {})
    if metadata.get("name"):
        metadata["labels"] = {**(metadata.get("labels") or {}), NAME_LABEL: metadata["name"]}


def prepare_create(namespace: Object) -> None:
    """Active, and held by the finalizer that the namespace controller takes away when all content is gone."""
    namespace["status"] = {"phase": ACTIVE}
    spec = namespace["spec"] = namespace.get("spec") or {}
    if FINALIZER not in (spec.get("finalizers") or ()):
        spec["finalizers"] = [*(spec.get("finalizers") or ()), FINALIZER]
    # The name may have been generated.
    default(namespace)


def prepare_update(namespace: Object, old: Object) -> None:
    """Finalizers of the spec are changed through `finalize` only."""
    keep_status(namespace, old)
    spec = {**(namespace.get("spec") or {})}
    spec.pop("finalizers", None)
    if get_path(old, "spec", "finalizers"):
        spec["finalizers"] = old["spec"]["finalizers"]
    namespace["spec"] = spec


def validate(namespace: Object) -> Errors:
    """Finalizers have proper names."""
    errors: Errors = []
    for finalizer in get_path(namespace, "spec", "finalizers", default=()):
        validate_finalizer(finalizer, "spec.finalizers", errors)
    return errors


def validate_status(namespace: Object, old: Object) -> Errors:
    """The phase says whether it is being deleted."""
    phase = get_path(namespace, "status", "phase", default="")
    if deletion_requested(old):
        if phase != TERMINATING:
            why = "may only be 'Terminating' if `deletionTimestamp` is not empty"
            return [invalid_value("status.Phase", phase, why)]
    elif phase != ACTIVE:
        return [invalid_value("status.Phase", phase, "may only be 'Active' if `deletionTimestamp` is empty")]
    return []


def begin_deletion(namespace: Object) -> None:
    """From now on nothing new is made in it."""
    namespace["status"] = {**(namespace.get("status") or {}), "phase": TERMINATING}


def kept(namespace: Object) -> bool:
    """It has content still, or nobody has looked yet."""
    return bool(get_path(namespace, "spec", "finalizers"))


def _phase(namespace: Object) -> Cell:
    found: str = get_path(namespace, "status", "phase", default="")
    return found


STRATEGY = Strategy(
    NAMESPACES,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=keep_spec,
    validate=validate,
    validate_status=validate_status,
    validate_name=names.dns1123_label,
    columns=(NAME, Column("Status", _phase, description="The status of the namespace"), AGE),
    selectable=("status.phase",),
    begin_deletion=begin_deletion,
    kept=kept,
)
