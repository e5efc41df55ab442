"""Bytes inside JSON, which ConfigMaps and Secrets have.

Source: the schemas' format `byte`, https://pkg.go.dev/encoding/json
"""

from __future__ import annotations

import binascii

from apimachinery.field import invalid_value
from apiserver.registry.checks import Errors


def decoded(value: str | None) -> bytes | None:
    """The bytes, or None if it is no base64."""
    try:
        return binascii.a2b_base64((value or "").replace("\n", "").replace("\r", ""), strict_mode=True)
    except (binascii.Error, ValueError):
        return None


def decoded_bytes(value: str | None, path: str, errors: Errors) -> int:
    """How many bytes there are; 0 and an error if it is no base64."""
    found = decoded(value)
    if found is None:
        # What it holds may be a secret that was not encoded: it is not repeated.
        errors.append(invalid_value(path, "<redacted>", "must be base64 encoded"))
        return 0
    return len(found)
