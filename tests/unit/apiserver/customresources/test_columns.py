"""additionalPrinterColumns: what a cell shows of an object."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.customresources.columns import columns
from apiserver.registry.strategy import Since

SPEC = {"size": 3, "ratio": 0.5, "on": True, "text": "t", "list": ["p", "q"], "map": {"b": 1, "a": 2}, "none": None}
OBJECT = {
    "metadata": {"name": "a", "creationTimestamp": "2024-01-01T00:00:00Z", "labels": {"app.kubernetes.io/name": "x"}},
    "spec": SPEC,
    "status": {"conditions": [{"type": "Alive", "status": "False"}, {"type": "Ready", "status": "True"}]},
}


def cell(path: str, kind: str) -> Any:
    (_, column) = columns([{"name": "C", "type": kind, "jsonPath": path}])
    return column.cell(OBJECT)


@pytest.mark.parametrize(
    ("path", "kind", "shown"),
    [
        (".spec.text", "string", "t"),
        (".spec.size", "integer", 3),
        (".spec.size", "string", "3"),
        (".spec.ratio", "number", 0.5),
        (".spec.ratio", "integer", 0),
        (".spec.on", "boolean", True),
        (".spec.text", "integer", None),
        (".spec.none", "string", None),
        (".spec.absent", "string", None),
        (".spec.list", "string", '["p","q"]'),
        (".spec.list[*]", "string", "p"),
        (".spec.list[1]", "string", "q"),
        (".spec.list[-1:]", "string", "q"),
        (".spec.map", "string", '{"a":2,"b":1}'),
        ('.status.conditions[?(@.type=="Ready")].status', "string", "True"),
        (".status.conditions[?(@.type=='None')].status", "string", None),
        (r".metadata.labels.app\.kubernetes\.io/name", "string", "x"),
        (".spec.text", "date", "<invalid>"),
    ],
)
def test_a_cell_shows_what_the_path_finds(path: str, kind: str, shown: Any) -> None:
    assert cell(path, kind) == shown


def test_dates_show_how_long_ago_they_were() -> None:
    assert cell(".metadata.creationTimestamp", "date") == Since(("2024-01-01T00:00:00Z",))


def test_without_columns_there_is_the_age() -> None:
    assert [(column.name, column.type) for column in columns([])] == [("Name", "string"), ("Age", "date")]


def test_priorities_formats_and_descriptions_are_kept() -> None:
    told = {"name": "C", "type": "integer", "jsonPath": ".a", "priority": 1, "format": "int32", "description": "d"}
    _, column = columns([told])
    assert (column.priority, column.format, column.description) == (1, "int32", "d")
    _, column = columns([{"name": "C", "type": "integer", "jsonPath": ".a"}])
    assert column.description == "Custom resource definition column (in JSONPath format): .a"
