"""Whether two versions of an object say the same, and where they differ.

Kubernetes compares decoded objects, in which a field that is absent and one that holds its type's zero value are
alike. A zero counts as set only where Go keeps a pointer to tell the two apart (`automountServiceAccountToken:
false` says something, `hostNetwork: false` doesn't); those few fields that are no pointers are named here.

Source: k8s.io/apimachinery/pkg/api/equality and the Go types in k8s.io/api.
"""

from __future__ import annotations

from typing import Any

import orjson

from apimachinery.field import FieldError, invalid_value
from apimachinery.quantity import parse
from apiserver.registry.metadata import IMMUTABLE

DIFFERENCES_MAX = 20
# Booleans and numbers of Go types that are no pointers.
_ZERO_IS_UNSET = frozenset(
    (
        *("hostNetwork", "hostPID", "hostIPC"),
        *("stdin", "stdinOnce", "tty", "readOnly", "hostPort", "initialDelaySeconds"),
        *("minReadySeconds", "paused", "unschedulable"),
        *("publishNotReadyAddresses", "nodePort", "healthCheckNodePort"),
    )
)
_QUANTITIES = frozenset(("limits", "requests", "hard", "capacity", "overhead"))


def equal(a: Any, b: Any, key: str = "") -> bool:
    """True if the two say the same; `key` is the field that holds them."""
    if a == b:
        return True
    if isinstance(a, dict) or isinstance(b, dict):
        a, b = a or {}, b or {}
        if not isinstance(a, dict) or not isinstance(b, dict):
            return False
        if key in _QUANTITIES:
            return a.keys() == b.keys() and all(_same_amount(a[name], b[name]) for name in a)
        return all(equal(a.get(name), b.get(name), name) for name in a.keys() | b.keys())
    if isinstance(a, list) or isinstance(b, list):
        a, b = a or [], b or []
        if not isinstance(a, list) or not isinstance(b, list) or len(a) != len(b):
            return False
        return all(equal(mine, yours) for mine, yours in zip(a, b, strict=True))
    return _unset(a, key) and _unset(b, key)


def _unset(value: Any, key: str) -> bool:
    return value in (None, "") or (key in _ZERO_IS_UNSET and not value)


def _same_amount(a: Any, b: Any) -> bool:
    try:
        return parse(a).nanos == parse(b).nanos
    except ValueError:
        return bool(a == b)


def immutable(new: Any, old: Any, path: str, errors: list[FieldError]) -> None:
    """A field that stays as it was made."""
    if not equal(new, old):
        errors.append(invalid_value(path, new, IMMUTABLE))


def differences(old: Any, new: Any, path: str) -> str:
    """What has changed, a line for each field that was and one for each that is, as `+ spec.nodeName: "a"`."""
    lines: list[str] = []
    _differences(old, new, path, "", lines)
    if len(lines) > DIFFERENCES_MAX:
        lines[DIFFERENCES_MAX:] = [f"... and {len(lines) - DIFFERENCES_MAX} more"]
    return "\n".join(lines)


def _differences(old: Any, new: Any, path: str, key: str, lines: list[str]) -> None:
    if equal(old, new, key):
        return
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            _differences(old.get(name), new.get(name), f"{path}.{name}", name, lines)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            _differences(before, after, f"{path}[{number}]", "", lines)
    else:
        lines += [
            f"{sign} {path}: {orjson.dumps(value).decode()}"
            for sign, value in (("-", old), ("+", new))
            if value is not None
        ]
