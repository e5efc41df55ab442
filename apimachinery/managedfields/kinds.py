"""What must be known of a kind and of a request to say who manages what: versions, and what can be written at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from apimachinery.managedfields import sets
from apimachinery.managedfields.compare import Changes
from apimachinery.managedfields.elements import Path
from apimachinery.managedfields.entries import Identity, identity
from apimachinery.managedfields.sets import Fields
from apimachinery.managedfields.types import Type
from apimachinery.meta import Object


def unconverted(obj: Object, api_version: str) -> Object:
    """The conversion of kinds whose versions don't differ."""
    return obj if obj.get("apiVersion") == api_version else {**obj, "apiVersion": api_version}


class Unconverted(Exception):
    """An object is needed in another version, and only somebody else can convert it."""

    def __init__(self, obj: Object, api_version: str) -> None:
        super().__init__(api_version)
        self.obj = obj
        self.api_version = api_version


def converted_apart(obj: Object, api_version: str) -> Object:
    """The conversion of kinds that others convert. Raises Unconverted."""
    if obj.get("apiVersion") == api_version:
        return obj
    raise Unconverted(obj, api_version)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind in its versions: the type of each, and the way from one to another.

    Managers in a version that is not among these are forgotten. What `convert` raises comes through.
    """

    types: Mapping[str, Type]
    convert: Callable[[Object, str], Object] = unconverted
    # Whether its schemas may change, so that what once had parts may now be one whole.
    changes: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Scope:
    """What a request can write at all: not what is `reset` to what it was, or nothing but what is at `only`."""

    reset: Fields = field(default_factory=dict)
    only: tuple[Path, ...] = ()

    def part(self, obj: Object) -> Object:
        """The object without what is reset as a whole, which nobody needs to look at."""
        whole = [element[2:] for element, below in self.reset.items() if not below]
        return {name: value for name, value in obj.items() if name not in whole} if whole else obj

    def filter(self, fields: Fields) -> Fields:
        """What of these fields the request can write."""
        if self.only:
            return sets.only_below(fields, self.only)
        return sets.without_all(fields, self.reset)

    def changes(self, changes: Changes) -> Changes:
        """What of these changes the request can make."""
        return Changes(self.filter(changes.changed), self.filter(changes.removed))


EVERYTHING = Scope()


class Writer(NamedTuple):
    """Who writes, in which version of the kind, through which subresource (empty: through none), and when."""

    manager: str
    api_version: str
    subresource: str
    time: str

    def identity(self, operation: str) -> Identity:
        """Which manager that is."""
        return identity(self.manager, operation, self.api_version, self.subresource)
