"""A CustomResourceDefinition as the server goes by it: names, versions, and where its schemas are to be found.

It holds the definition's bytes, which are in memory anyway, and of what they say only what serving needs: schemas
are most of it, and are read when they are asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from apimachinery.resources import STANDARD_VERBS, Resource
from apimachinery.versions import version_order
from apiserver.registry.customresourcedefinition_conditions import is_true
from apiserver.storage.entry import Entry

# What discovery tells of a resource whose definition is going.
TERMINATING_VERBS = ("delete", "deletecollection", "get", "list", "watch")
Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a custom resource, without its schema."""

    name: str
    served: bool
    storage: bool
    warning: str
    subresources: Fields
    columns: tuple[Fields, ...]
    selectable: tuple[str, ...]


@dataclass(slots=True)
class Source:
    """Where a definition stands: the newest stored version that says the same about what is served."""

    entry: Entry

    def schema(self, version: str) -> Fields:
        """The schema of a version, read from the bytes of the definition."""
        versions = self.entry.copy()["spec"]["versions"]
        found: Fields = next(one for one in versions if one["name"] == version)["schema"]["openAPIV3Schema"]
        return found


@dataclass(frozen=True, slots=True)
class Definition:
    """What serving needs to know. `established`: it is served, under `names`; `accepted` are its own for good."""

    source: Source
    name: str
    uid: str
    generation: int
    group: str
    namespaced: bool
    names: Fields
    accepted: Fields
    conversion: Fields
    versions: tuple[Version, ...]
    established: bool
    terminating: bool

    @property
    def storage_version(self) -> Version:
        """The version in which objects are stored."""
        return next(version for version in self.versions if version.storage)

    @property
    def key(self) -> str:
        """What its objects are stored under."""
        return f"{self.group}/{self.names['plural']}"

    def same_service(self, other: Definition) -> bool:
        """Whether another state of the definition says the same about everything that is served."""
        return (
            (self.uid, self.generation) == (other.uid, other.generation)
            and (self.names, self.accepted) == (other.names, other.accepted)
            and (self.established, self.terminating) == (other.established, other.terminating)
        )

    def resource(self, version: Version) -> Resource:
        """The resource of a version."""
        names = self.names
        return Resource(
            self.group,
            version.name,
            names["kind"],
            names["plural"],
            names["singular"],
            tuple(names.get("shortNames") or ()),
            tuple(names.get("categories") or ()),
            namespaced=self.namespaced,
            subresources=tuple(name for name in ("status", "scale") if name in version.subresources),
            verbs=TERMINATING_VERBS if self.terminating else STANDARD_VERBS,
            list_name=names["listKind"],
        )


def read(entry: Entry) -> Definition:
    """The definition of a stored CustomResourceDefinition."""
    obj = entry.copy()
    metadata, spec = obj["metadata"], obj["spec"]
    accepted = (obj.get("status") or {}).get("acceptedNames") or {}
    complete = all(accepted.get(name) for name in ("plural", "singular", "kind", "listKind"))
    return Definition(
        Source(entry),
        entry.name,
        metadata["uid"],
        metadata.get("generation") or 0,
        spec["group"],
        spec["scope"] == "Namespaced",
        accepted if complete else spec["names"],
        accepted,
        spec.get("conversion") or {"strategy": "None"},
        tuple(_version(version, spec) for version in spec["versions"]),
        established=complete and is_true(obj, "Established"),
        terminating=is_true(obj, "Terminating"),
    )


def _version(version: Fields, spec: Fields) -> Version:
    return Version(
        version["name"],
        bool(version.get("served")),
        bool(version.get("storage")),
        _warning(version, spec) if version.get("deprecated") else "",
        {name: value for name, value in (version.get("subresources") or {}).items() if value is not None},
        tuple(version.get("additionalPrinterColumns") or ()),
        tuple(field["jsonPath"].removeprefix(".") for field in version.get("selectableFields") or ()),
    )


def _warning(version: Fields, spec: Fields) -> str:
    """What everybody is told who uses a deprecated version."""
    own = version.get("deprecationWarning")
    if own is not None:
        return str(own)
    group, kind, order = spec["group"], spec["names"]["kind"], version_order(version["name"])
    told = f"{group}/{version['name']} {kind} is deprecated"
    better = [one["name"] for one in spec["versions"] if one.get("served") and not one.get("deprecated")]
    better = sorted((name for name in better if version_order(name) < order), key=version_order)
    return f"{told}; use {group}/{better[0]} {kind}" if better else told
