"""A strict reader of Prometheus' text form, for tests: what a scraper would refuse or misread is an AssertionError.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import re

Labels = tuple[tuple[str, str], ...]

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (\S+)(?: (-?\d+))?")
_HEADER = re.compile(rf"# (HELP|TYPE) ({_NAME}) (.+)")
_PARTS = ("_bucket", "_sum", "_count")
_TYPES = ("counter", "gauge", "histogram")


class Page:
    """What a page says: `samples` by name and labels."""

    def __init__(self, text: str) -> None:
        assert text.endswith("\n"), "the last line does not end"
        self.samples: dict[tuple[str, Labels], float] = {}
        self.types: dict[str, str] = {}
        self._current = ""
        for line in text.splitlines():
            self._header(line) if line.startswith("#") else self._sample(line)

    def _header(self, line: str) -> None:
        match = _HEADER.fullmatch(line)
        assert match is not None, line
        kind, name, words = match.groups()
        if kind == "TYPE":
            assert name not in self.types, f"{name} comes twice"
            assert words in _TYPES, line
            self.types[name] = words
            self._current = name

    def _sample(self, line: str) -> None:
        match = _SAMPLE.fullmatch(line)
        assert match is not None, line
        name, inside, value, _ = match.groups()
        family = name
        if self.types.get(self._current) == "histogram":
            family = next((name.removesuffix(end) for end in _PARTS if name == self._current + end), name)
        assert family == self._current, f"{name} stands among the samples of {self._current}"
        found, end = [], 0
        for label in _LABEL.finditer(inside or ""):
            assert label.start() == end, line
            end = label.end()
            found.append((label[1], re.sub(r"\\(.)", lambda one: "\n" if one[1] == "n" else one[1], label[2])))
        assert end == len(inside or ""), line
        key = (name, tuple(sorted(found)))
        assert key not in self.samples, f"{line} comes twice"
        self.samples[key] = float(value)

    def value(self, name: str, **labels: str) -> float:
        """The value of the only sample that has at least these labels."""
        (value,) = self.values(name, **labels).values()
        return value

    def values(self, name: str, **labels: str) -> dict[Labels, float]:
        """The values of all samples that have at least these labels."""
        return {
            found: value
            for (known, found), value in self.samples.items()
            if known == name and labels.items() <= dict(found).items()
        }

    def names(self) -> set[str]:
        """The names of all samples."""
        return {name for name, _ in self.samples}
