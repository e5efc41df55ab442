"""ConfigMaps.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidateConfigMap).
"""

from __future__ import annotations

from apimachinery import names
from apimachinery.field import NOWHERE, forbidden_field, invalid_value, too_long
from apimachinery.meta import Object
from apimachinery.resources import CONFIGMAPS
from apiserver.registry.base64_data import decoded_bytes
from apiserver.registry.checks import Errors
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, nothing, replace_all

DATA_BYTES_MAX = 1024 * 1024
IMMUTABLE_WHEN_SET = "field is immutable when `immutable` is set"


def validate(config: Object) -> Errors:
    """Keys that are file names, each once, and not too much of it all."""
    errors: Errors = []
    data, binary = config.get("data") or {}, config.get("binaryData") or {}
    size = 0
    for key, value in data.items():
        errors += [invalid_value(f"data[{key}]", key, why) for why in names.config_key(key)]
        if key in binary:
            errors.append(invalid_value(f"data[{key}]", key, "duplicate of key present in binaryData"))
        size += len((value or "").encode())
    for key, value in binary.items():
        errors += [invalid_value(f"binaryData[{key}]", key, why) for why in names.config_key(key)]
        size += decoded_bytes(value, f"binaryData[{key}]", errors)
    if size > DATA_BYTES_MAX:
        errors.append(too_long(NOWHERE, DATA_BYTES_MAX))
    return errors


def validate_update(config: Object, old: Object) -> Errors:
    """Once it is immutable it stays so, and stays what it is."""
    errors: Errors = []
    if old.get("immutable"):
        if not config.get("immutable"):
            errors.append(forbidden_field("immutable", IMMUTABLE_WHEN_SET))
        for field in ("data", "binaryData"):
            if (config.get(field) or {}) != (old.get(field) or {}):
                errors.append(forbidden_field(field, IMMUTABLE_WHEN_SET))
    return errors


def _count(config: Object) -> Cell:
    return len(config.get("data") or ()) + len(config.get("binaryData") or ())


STRATEGY = Strategy(
    CONFIGMAPS,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(NAME, Column("Data", _count, description="The number of keys."), AGE),
)
