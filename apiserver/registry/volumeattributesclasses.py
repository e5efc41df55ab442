"""VolumeAttributesClasses.

Source: kubernetes/pkg/apis/storage/validation/validation.go, the printers.
"""

from __future__ import annotations

from apimachinery.field import required
from apimachinery.meta import Object
from apimachinery.resources import VOLUMEATTRIBUTESCLASSES
from apiserver.registry.checks import Errors
from apiserver.registry.storage_classes import forbid_changes, text, validate_parameters, validate_provisioner
from apiserver.registry.strategy import AGE, NAME, Column, Strategy, nothing, replace_all


def validate(attributes_class: Object) -> Errors:
    """A driver and what it is told."""
    errors: Errors = []
    validate_provisioner(attributes_class.get("driverName") or "", "driverName", errors)
    parameters = attributes_class.get("parameters") or {}
    validate_parameters(parameters, "parameters", errors)
    if not parameters:
        errors.append(required("parameters", "must contain at least one key/value pair"))
    return errors


def validate_update(attributes_class: Object, old: Object) -> Errors:
    """What a class means stays."""
    errors: Errors = []
    forbid_changes(attributes_class, old, ("driverName", "parameters"), errors)
    return errors


STRATEGY = Strategy(
    VOLUMEATTRIBUTESCLASSES,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(NAME, Column("DriverName", text("driverName"), description="Who changes the volumes."), AGE),
)
