"""CSINodes: the drivers on each node.

Source: kubernetes/pkg/apis/storage/validation/validation.go, pkg/registry/storage/csinode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apimachinery.field import duplicate, invalid_value, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import CSINODES
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import immutable
from apiserver.registry.pod_volumes import validate_driver
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, nothing, replace_all

NODE_ID_MAX = 256


def default(node: Object) -> None:
    """A node without drivers says so."""
    node.setdefault("spec", {}).setdefault("drivers", [])


def validate(node: Object) -> Errors:
    """Each driver once."""
    errors: Errors = []
    seen: set[str] = set()
    for number, driver in enumerate(_drivers(node)):
        path, name = f"spec.drivers[{number}]", driver.get("name") or ""
        _validate_driver(driver, path, errors)
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
    return errors


def _drivers(node: Object) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = get_path(node, "spec", "drivers", default=())
    return found


def _validate_driver(driver: Fields, path: str, errors: Errors) -> None:
    validate_driver(driver.get("name") or "", f"{path}.name", errors)
    node_id = driver.get("nodeID") or ""
    if not node_id:
        errors.append(required(f"{path}.nodeID"))
    if len(node_id) > NODE_ID_MAX:
        errors.append(invalid_value(f"{path}.nodeID", node_id, f"must be {NODE_ID_MAX} characters or less"))
    checks.not_negative(get_path(driver, "allocatable", "count"), f"{path}.allocatable.count", errors)
    keys: set[str] = set()
    for key in driver.get("topologyKeys") or ():
        if not key:
            errors.append(required(path))
        if key in keys:
            errors.append(duplicate(path, key))
        keys.add(key)
        checks.qualified_name(key, path, errors)


def validate_update(node: Object, old: Object) -> Errors:
    """A driver that is there stays as it is, but for how many volumes it can have."""
    errors: Errors = []
    before = {driver.get("name"): driver for driver in _drivers(old)}
    for driver in _drivers(node):
        was = before.get(driver.get("name"))
        if was is not None:
            immutable({**driver, "allocatable": None}, {**was, "allocatable": None}, "spec.drivers", errors)
    return errors


def _count(node: Object) -> Cell:
    return len(_drivers(node))


STRATEGY = Strategy(
    CSINODES,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column(
            "Drivers",
            _count,
            type="integer",
            description="Drivers indicates the number of CSI drivers registered on the node",
        ),
        AGE,
    ),
    unconditional_update=False,
)
