""".dockerignore: which files of the context do not belong to it.

Patterns are matched against paths relative to the context; `*` stops at a slash, `**` does not, `!` takes back what
an earlier pattern has excluded, and what is excluded takes everything below it along.

Source: https://docs.docker.com/build/concepts/context/#dockerignore-files
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from kubelet.images.building.errors import BuildError

PATTERNS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Ignore:
    """The patterns, each with whether it excludes."""

    patterns: Sequence[tuple[re.Pattern[str], bool]] = ()

    def excludes(self, path: str) -> bool:
        """Whether a path is excluded: the last pattern that matches it, or a folder above it, decides."""
        excluded = False
        parents = [path]
        while parent := posixpath.dirname(parents[-1]):
            parents.append(parent)
        for pattern, excludes in self.patterns:
            if excludes != excluded and any(pattern.fullmatch(part) for part in parents):
                excluded = excludes
        return excluded

    @property
    def has_exceptions(self) -> bool:
        """Whether something below an excluded folder may still be included."""
        return any(not excludes for _, excludes in self.patterns)


def parse(text: str) -> Ignore:
    """Read a .dockerignore. Raises BuildError."""
    patterns = []
    for line in text.removeprefix("\ufeff").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        excludes = not line.startswith("!")
        bare = posixpath.normpath("/" + line.removeprefix("!").strip()).lstrip("/")
        if bare and bare != ".":
            patterns.append((re.compile(_expression(bare)), excludes))
    if len(patterns) > PATTERNS_MAX:
        raise BuildError(".dockerignore has too many patterns")
    return Ignore(patterns)


def _expression(pattern: str) -> str:
    """A regular expression for a pattern."""
    out, position = "", 0
    while position < len(pattern):
        character = pattern[position]
        if pattern.startswith("**/", position):
            out, position = out + "(?:.*/)?", position + 3
        elif pattern.startswith("**", position):
            out, position = out + ".*", position + 2
        elif character == "*":
            out, position = out + "[^/]*", position + 1
        elif character == "?":
            out, position = out + "[^/]", position + 1
        elif character == "[" and (end := pattern.find("]", position + 2)) > 0:
            inner = pattern[position + 1 : end].replace("\\", "\\\\")
            out, position = out + f"[{'^' + inner[1:] if inner[0] in '^!' else inner}]", end + 1
        elif character == "\\" and position + 1 < len(pattern):
            out, position = out + re.escape(pattern[position + 1]), position + 2
        else:
            out, position = out + re.escape(character), position + 1
    return out
