"""ComponentStatuses: read only, and made anew at each look. An old way to ask after the parts of a control plane.

Source: kubernetes/pkg/printers/internalversion/printers.go (printComponentStatus).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apimachinery.meta import Object
from apimachinery.resources import COMPONENTSTATUSES
from apiserver.registry.strategy import NAME, Cell, CellOf, Column, Strategy


def component_status(name: str, *, healthy: bool, message: str = "", error: str = "") -> Object:
    """The object that tells of one part."""
    condition = {"type": "Healthy", "status": "True" if healthy else "False", "message": message, "error": error}
    return {
        "kind": COMPONENTSTATUSES.kind,
        "apiVersion": COMPONENTSTATUSES.api_version,
        "metadata": {"name": name, "creationTimestamp": None},
        "conditions": [{field: value for field, value in condition.items() if value}],
    }


def _condition(status: Object) -> Mapping[str, Any]:
    return next((one for one in status.get("conditions") or () if one.get("type") == "Healthy"), {})


def _status(status: Object) -> Cell:
    condition = _condition(status)
    if not condition:
        return "Unknown"
    return "Healthy" if condition.get("status") == "True" else "Unhealthy"


def _text(field: str) -> CellOf:
    return lambda status: _condition(status).get(field) or ""


STRATEGY = Strategy(
    COMPONENTSTATUSES,
    columns=(
        NAME,
        Column("Status", _status, description="Status of the component conditions"),
        Column("Message", _text("message"), description="Message of the component conditions"),
        Column("Error", _text("error"), description="Error of the component conditions"),
    ),
)
