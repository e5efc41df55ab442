"""Semantic versions.

Sources: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-semver-library, https://semver.org
"""

from __future__ import annotations

import re
from functools import total_ordering

from apimachinery.cel.errors import CelEvaluationError
from apimachinery.cel.functions import Library
from apimachinery.cel.library.strings import traversal
from apimachinery.cel.types import BOOL, INT, STRING, opaque
from apimachinery.cel.values import UINT_MAX

LIBRARY = Library()
SEMVER = opaque("kubernetes.Semver")
_PART = re.compile(r"0|[1-9][0-9]{0,19}")
_IDENTIFIER = re.compile(r"[0-9A-Za-z-]+")


@total_ordering
class Semver:
    """A version. Its build metadata plays no part in comparison."""

    __slots__ = ("numbers", "prerelease")
    cel_type = SEMVER

    def __init__(self, numbers: tuple[int, ...], prerelease: tuple[str, ...]) -> None:
        self.numbers = numbers
        self.prerelease = prerelease

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Semver) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __lt__(self, other: Semver) -> bool:
        return self._key() < other._key()

    def _key(self) -> tuple[object, ...]:
        # A release comes after its prereleases; numbers before words.
        identifiers = tuple((0, int(i), "") if i.isdigit() else (1, 0, i) for i in self.prerelease)
        return (self.numbers, not self.prerelease, identifiers)


def parse_semver(text: str, normalize: bool = False) -> Semver:
    """The version of a text. Raises ValueError.

    With `normalize` it may begin with `v`, be short, and have leading zeros.
    """
    parts = (_normalized(text) if normalize else text).split(".", 2)
    if len(parts) != 3:
        raise ValueError("No Major.Minor.Patch elements found" if text else "Version string empty")
    patch, build = re.match(r"([^+]*)(.*)", parts[2], re.DOTALL).groups()  # type: ignore[union-attr]
    patch, dash, prerelease = patch.partition("-")
    identifiers = tuple(prerelease.split(".")) if dash else ()
    for name, number in zip(("major", "minor", "patch"), (parts[0], parts[1], patch), strict=True):
        if not _PART.fullmatch(number) or int(number) > UINT_MAX:
            raise ValueError(f'Invalid character(s) found in {name} number "{number}"')
    for identifier in (*identifiers, *(build[1:].split(".") if build else ())):
        if not _IDENTIFIER.fullmatch(identifier):
            raise ValueError(f'Invalid character(s) found in prerelease or build "{identifier}"')
    for identifier in identifiers:
        if identifier.isdigit() and not _PART.fullmatch(identifier):
            raise ValueError(f'Numeric PreRelease version must not contain leading zeroes "{identifier}"')
    return Semver((int(parts[0]), int(parts[1]), int(patch)), identifiers)


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for number, part in enumerate(parts):
        if len(part) > 1:
            stripped = part.lstrip("0")
            parts[number] = stripped if stripped[:1].isdigit() else f"0{stripped}"
    if len(parts) < 3:
        if re.search(r"[+-]", parts[-1]):
            raise ValueError("short version cannot contain PreRelease/Build meta data")
        parts += ["0"] * (3 - len(parts))
    return ".".join(parts)


@LIBRARY.function("semver", STRING, result=SEMVER, cost=traversal)
def _semver(text: str) -> Semver:
    return _semver_normalized(text, False)


@LIBRARY.function("semver", STRING, BOOL, result=SEMVER, cost=traversal)
def _semver_normalized(text: str, normalize: bool) -> Semver:
    try:
        return parse_semver(text, normalize)
    except ValueError as error:
        raise CelEvaluationError(str(error))


@LIBRARY.function("isSemver", STRING, result=BOOL, cost=traversal)
def _is_semver(text: str) -> bool:
    return _is_semver_normalized(text, False)


@LIBRARY.function("isSemver", STRING, BOOL, result=BOOL, cost=traversal)
def _is_semver_normalized(text: str, normalize: bool) -> bool:
    try:
        parse_semver(text, normalize)
    except ValueError:
        return False
    return True


LIBRARY.method("major", SEMVER, result=INT)(lambda version: version.numbers[0])
LIBRARY.method("minor", SEMVER, result=INT)(lambda version: version.numbers[1])
LIBRARY.method("patch", SEMVER, result=INT)(lambda version: version.numbers[2])
LIBRARY.method("isGreaterThan", SEMVER, SEMVER, result=BOOL)(lambda one, other: one > other)
LIBRARY.method("isLessThan", SEMVER, SEMVER, result=BOOL)(lambda one, other: one < other)
LIBRARY.method("compareTo", SEMVER, SEMVER, result=INT)(lambda one, other: (one > other) - (one < other))
