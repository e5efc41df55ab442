"""What the resources of storage.k8s.io have in common.

Source: kubernetes/pkg/apis/storage/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from apimachinery.field import forbidden_field, invalid_value, required, too_long
from apimachinery.meta import Object
from apiserver.registry import checks
from apiserver.registry.checks import Errors
from apiserver.registry.strategy import Cell, CellOf

PARAMETERS_MAX, PARAMETERS_BYTES_MAX = 512, 256 * 1024


def validate_provisioner(name: str, path: str, errors: Errors) -> None:
    """The name of a driver; case does not matter."""
    if not name:
        errors.append(required(path))
    else:
        checks.qualified_name(name.lower(), path, errors)


def validate_parameters(parameters: Mapping[str, str], path: str, errors: Errors) -> None:
    """What the driver is told."""
    if len(parameters) > PARAMETERS_MAX:
        errors.append(too_long(path, PARAMETERS_MAX))
        return
    if "" in parameters:
        errors.append(invalid_value(path, "", "field can not be empty."))
    if (
        sum(len(key.encode()) + len((value or "").encode()) for key, value in parameters.items())
        > PARAMETERS_BYTES_MAX
    ):
        errors.append(too_long(path, PARAMETERS_BYTES_MAX))


def forbid_changes(obj: Object, old: Object, fields: tuple[str, ...], errors: Errors) -> None:
    """Volumes have been made by what these fields say."""
    for field in fields:
        if (obj.get(field) or None) != (old.get(field) or None):
            errors.append(forbidden_field(field, f"updates to {field} are forbidden."))


def text(field: str, otherwise: str = "") -> CellOf:
    """The cell of a field of the object itself."""

    def cell(obj: Object) -> Cell:
        return obj.get(field) or otherwise

    return cell
