"""CSIStorageCapacities: how much room a driver has where.

Source: kubernetes/pkg/apis/storage/validation/validation.go, pkg/registry/storage/csistoragecapacity.
"""

from __future__ import annotations

from apimachinery import names
from apimachinery.field import invalid_value
from apimachinery.meta import Object
from apimachinery.resources import CSISTORAGECAPACITIES
from apiserver.registry import amounts, checks
from apiserver.registry.checks import Errors
from apiserver.registry.equality import immutable
from apiserver.registry.metadata import validate_label_selector
from apiserver.registry.storage_classes import text
from apiserver.registry.strategy import NAME, Column, Strategy, nothing, replace_all


def validate(capacity: Object) -> Errors:
    """What is wrong with it in itself."""
    errors: Errors = []
    validate_label_selector(capacity.get("nodeTopology"), "nodeTopology", errors)
    name = capacity.get("storageClassName") or ""
    errors += [invalid_value("storageClassName", name, why) for why in names.dns1123_subdomain(name)]
    found = amounts.amount(capacity["capacity"]) if capacity.get("capacity") is not None else None
    if found is not None and found.nanos < 0:
        errors.append(invalid_value("capacity", capacity["capacity"], checks.NOT_NEGATIVE))
    return errors


def validate_update(capacity: Object, old: Object) -> Errors:
    """Where it is, and of what, stays."""
    errors: Errors = []
    for field in ("nodeTopology", "storageClassName"):
        immutable(capacity.get(field), old.get(field), field, errors)
    return errors


STRATEGY = Strategy(
    CSISTORAGECAPACITIES,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("StorageClassName", text("storageClassName"), description="The class of the volumes."),
        Column("Capacity", text("capacity", "<unset>"), description="How much room there is."),
    ),
    unconditional_update=False,
)
