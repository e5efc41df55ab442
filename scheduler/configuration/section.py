"""Reads objects of a document strictly: every field has its type, and those that nobody has asked for are wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from apimachinery.duration import parse_duration
from apimachinery.field import FieldError, wrong_type

T = TypeVar("T")


class Problems:
    """All that is wrong with a document, in the order in which it was found."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, error: FieldError) -> None:
        """A field is wrong."""
        self.messages.append(error.message())

    def unknown(self, path: str) -> None:
        """There is no such field."""
        self.messages.append(f'unknown field "{path}"')


class Section:
    """One object of a document, at a path; `close` tells of the fields that were not asked for."""

    def __init__(self, value: Mapping[str, Any], path: str, problems: Problems) -> None:
        self.path = path
        self.problems = problems
        self._value = value
        self._asked: set[str] = set()

    def at(self, field: str) -> str:
        """The path of a field."""
        return f"{self.path}.{field}" if self.path else field

    def has(self, field: str) -> bool:
        """Whether a field is set."""
        return self._value.get(field) is not None

    def string(self, field: str, default: str = "") -> str:
        """Text."""
        return self._typed(field, str, default, "a string")

    def integer(self, field: str, default: int = 0) -> int:
        """A whole number."""
        if isinstance(self._value.get(field), bool):
            self._asked.add(field)
            self.problems.add(wrong_type(self.at(field), self._value[field], "must be an integer"))
            return default
        return self._typed(field, int, default, "an integer")

    def boolean(self, field: str, *, default: bool = False) -> bool:
        """True or false."""
        return self._typed(field, bool, default, "a boolean")

    def seconds(self, field: str, default: float) -> float:
        """A duration such as `15s`."""
        text = self._typed(field, str, "", 'a duration such as "15s"')
        try:
            return parse_duration(text) if text else default
        except ValueError as error:
            self.problems.add(wrong_type(self.at(field), text, str(error)))
            return default

    def anything(self, field: str) -> Any:
        """A value that is not looked into here; None if it is not set."""
        self._asked.add(field)
        return self._value.get(field)

    def section(self, field: str) -> Section:
        """An object; an empty one if the field is not set."""
        return Section(self._typed(field, dict, {}, "an object"), self.at(field), self.problems)

    def sections(self, field: str) -> list[Section]:
        """A list of objects."""
        return [
            Section(entry if isinstance(entry, dict) else {}, path, self.problems)
            for path, entry in self._entries(field, dict, "an object")
        ]

    def strings(self, field: str) -> list[tuple[str, str]]:
        """A list of texts, each with its path."""
        return [(path, entry) for path, entry in self._entries(field, str, "a string") if isinstance(entry, str)]

    def close(self) -> None:
        """Tell of every field that was not asked for."""
        for field in self._value:
            if field not in self._asked:
                self.problems.unknown(self.at(str(field)))

    def _entries(self, field: str, kind: type[T], called: str) -> list[tuple[str, Any]]:
        entries: list[Any] = self._typed(field, list, [], "a list")
        found = [(f"{self.at(field)}[{index}]", entry) for index, entry in enumerate(entries)]
        for path, entry in found:
            if not isinstance(entry, kind):
                self.problems.add(wrong_type(path, entry, f"must be {called}"))
        return found

    def _typed(self, field: str, kind: type[T], default: T, called: str) -> T:
        self._asked.add(field)
        value = self._value.get(field)
        if value is None:
            return default
        if not isinstance(value, kind):
            self.problems.add(wrong_type(self.at(field), value, f"must be {called}"))
            return default
        return value
