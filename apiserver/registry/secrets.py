"""Secrets.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidateSecret), pkg/registry/core/secret.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping

import orjson

from apimachinery import meta, names
from apimachinery.field import FieldError, forbidden_field, invalid_value, required, too_long
from apimachinery.meta import Object
from apimachinery.resources import SECRETS
from apiserver.registry.base64_data import decoded, decoded_bytes
from apiserver.registry.checks import Errors
from apiserver.registry.configmaps import DATA_BYTES_MAX, IMMUTABLE_WHEN_SET
from apiserver.registry.equality import immutable
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, nothing, replace_all

OPAQUE = "Opaque"
SERVICE_ACCOUNT_NAME = "kubernetes.io/service-account.name"
# The keys that each type must have.
_KEYS: dict[str, tuple[str, ...]] = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_JSON = ("kubernetes.io/dockercfg", "kubernetes.io/dockerconfigjson")


def default(secret: Object) -> None:
    """`stringData` is there to write plain text: it becomes part of `data`, which alone is kept."""
    plain = secret.pop("stringData", None)
    if plain:
        encoded = {
            key: binascii.b2a_base64((value or "").encode(), newline=False).decode() for key, value in plain.items()
        }
        secret["data"] = {**(secret.get("data") or {}), **encoded}
    if not secret.get("type"):
        secret["type"] = OPAQUE


def validate(secret: Object) -> Errors:
    """Keys that are file names, what the type must have, and not too much of it all."""
    errors: Errors = []
    data = secret.get("data") or {}
    size = 0
    for key, value in data.items():
        errors += [invalid_value(f"data[{key}]", key, why) for why in names.config_key(key)]
        size += decoded_bytes(value, f"data[{key}]", errors)
    if size > DATA_BYTES_MAX:
        errors.append(too_long("data", DATA_BYTES_MAX))
    return errors + _of_type(secret, data)


def _of_type(secret: Object, data: Mapping[str, str]) -> list[FieldError]:
    kind = secret.get("type") or OPAQUE
    if kind == "kubernetes.io/service-account-token" and not meta.annotations(secret).get(SERVICE_ACCOUNT_NAME):
        return [required(f"metadata.annotations[{SERVICE_ACCOUNT_NAME}]")]
    if kind == "kubernetes.io/basic-auth" and not data.keys() & {"username", "password"}:
        return [required("data[username]"), required("data[password]")]
    if missing := [key for key in _KEYS.get(kind, ()) if key not in data]:
        return [required(f"data[{key}]") for key in missing]
    if kind in _JSON:
        (key,) = _KEYS[kind]
        try:
            document = orjson.loads(decoded(data[key]) or b"")
        except orjson.JSONDecodeError as error:
            return [invalid_value(f"data[{key}]", "<secret contents redacted>", str(error))]
        if not isinstance(document, dict):
            return [invalid_value(f"data[{key}]", "<secret contents redacted>", "must be a JSON object")]
    return []


def validate_update(secret: Object, old: Object) -> Errors:
    """The type stays; once it is immutable all of it does."""
    errors: Errors = []
    immutable(secret.get("type"), old.get("type"), "type", errors)
    if old.get("immutable"):
        if not secret.get("immutable"):
            errors.append(forbidden_field("immutable", IMMUTABLE_WHEN_SET))
        if (secret.get("data") or {}) != (old.get("data") or {}):
            errors.append(forbidden_field("data", IMMUTABLE_WHEN_SET))
    return errors


def _type(secret: Object) -> Cell:
    return secret.get("type") or ""


def _count(secret: Object) -> Cell:
    return len(secret.get("data") or ())


STRATEGY = Strategy(
    SECRETS,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Type", _type, description="What the secret is for, and so which keys it has."),
        Column("Data", _count, description="The number of keys."),
        AGE,
    ),
    selectable=("type",),
)
