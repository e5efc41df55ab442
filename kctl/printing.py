"""Prints objects: the server's tables, YAML, JSON or names."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import orjson

from apimachinery.meta import Object
from apimachinery.resources import Resource
from kctl.errors import CommandError
from kctl.resources import shown_name

FORMATS = ("wide", "yaml", "json", "name")
TABLE_ACCEPT = "application/json;as=Table;v=v1;g=meta.k8s.io;managedFields=omit,application/json"
GAP = "   "


def add_output(parser: argparse.ArgumentParser) -> None:
    """The flag `-o FORMAT`."""
    parser.add_argument("-o", "--output", choices=FORMATS, help="default: a table")


def print_object(document: Object, output: str) -> None:
    """One object (or List) as YAML or JSON."""
    shown = _without_managed_fields(document)
    if output == "json":
        print(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode())
    elif output == "yaml":
        import yaml

        print(yaml.safe_dump(shown, sort_keys=True, default_flow_style=False, allow_unicode=True), end="")
    else:
        raise CommandError(f"unknown output format {output!r}", exit_status=2)


def print_names(resource: Resource, objects: Sequence[Object]) -> None:
    """One `kind/name` a line."""
    for item in objects:
        print(shown_name(resource, item["metadata"]["name"]))


def _without_managed_fields(document: Object) -> Object:
    if "items" in document:
        return {**document, "items": [_without_managed_fields(item) for item in document["items"]]}
    metadata = {k: v for k, v in (document.get("metadata") or {}).items() if k != "managedFields"}
    return {**document, "metadata": metadata}


class TablePrinter:
    """Prints rows of the server's Table objects in columns; while watching, widths only ever grow."""

    def __init__(
        self,
        *,
        wide: bool,
        with_namespace: bool,
        prefix: str = "",
        headers: bool = True,
        label_columns: Sequence[str] = (),
        all_labels: bool = False,
    ) -> None:
        self._wide = wide
        self._with_namespace = with_namespace
        self._prefix = prefix
        self._headers = headers
        self._label_columns = label_columns
        self._all_labels = all_labels
        self._columns: list[dict[str, Any]] = []
        self._widths: list[int] = []

    def print(self, table: Object) -> int:
        """Print a Table's rows, after a heading if it is the first; returns how many rows there were."""
        first = not self._columns
        self._columns = table.get("columnDefinitions") or self._columns
        lines = [self._cells(row) for row in table.get("rows") or []]
        heading = self._heading()
        shown = [heading, *lines] if first and self._headers and lines else lines
        for line in [heading, *lines]:
            self._widths = [
                max(len(cell), old) for cell, old in zip(line, self._widths or [0] * len(line), strict=True)
            ]
        for line in shown:
            text = GAP.join(cell.ljust(width) for cell, width in zip(line, self._widths, strict=True))
            print(text.rstrip())
        sys.stdout.flush()
        return len(lines)

    def _visible(self) -> list[int]:
        return [n for n, column in enumerate(self._columns) if self._wide or not column.get("priority")]

    def _heading(self) -> list[str]:
        names = [str(self._columns[n]["name"]).upper() for n in self._visible()]
        names += [label.rpartition("/")[2].upper() for label in self._label_columns]
        names += ["LABELS"] if self._all_labels else []
        return ["NAMESPACE", *names] if self._with_namespace else names

    def _cells(self, row: dict[str, Any]) -> list[str]:
        cells = [_text(row["cells"][n]) for n in self._visible()]
        if self._prefix and cells:
            cells[0] = self._prefix + cells[0]
        metadata = (row.get("object") or {}).get("metadata") or {}
        labels = metadata.get("labels") or {}
        cells += [labels.get(label, "") for label in self._label_columns]
        if self._all_labels:
            cells.append(",".join(f"{key}={value}" for key, value in sorted(labels.items())) or "<none>")
        if self._with_namespace:
            cells.insert(0, metadata.get("namespace", ""))
        return cells


def _text(cell: object) -> str:
    if cell is None or cell == "":
        return "<none>" if cell is None else ""
    return str(cell)
