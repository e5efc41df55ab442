"""The managers of the number of replicas: through the object itself, and through its `scale` subresource.

    of the object    {"f:spec":{"f:replicas":{}, …}}   in apps/v1
    of its Scale     {"f:spec":{"f:replicas":{}}}      in autoscaling/v1

Source: k8s.io/apimachinery/pkg/util/managedfields/scalehandler.go
"""

from __future__ import annotations

from collections.abc import Mapping

from apimachinery.managedfields import sets
from apimachinery.managedfields.elements import Path
from apimachinery.managedfields.entries import Entry, Managed, collected

SCALE_VERSION = "autoscaling/v1"
REPLICAS: Path = ("f:spec", "f:replicas")
_REPLICAS = sets.of_paths([REPLICAS])

# Where the number of replicas is, by the versions of the kind.
ReplicasPaths = Mapping[str, Path]


def to_scale(managed: Managed, replicas: ReplicasPaths) -> Managed:
    """The managers of a Scale: those of the object that manage its number of replicas."""
    return collected(
        entry.in_version(SCALE_VERSION).with_fields(_REPLICAS) for entry in managed if _manages(entry, replicas)
    )


def from_scale(managed: Managed, before: Managed, after: Managed, version: str, replicas: ReplicasPaths) -> Managed:
    """The managers of the object after its Scale has been written.

    `before` and `after` are those of the Scale. Who does not manage the number there any more doesn't here either;
    who does so newly is a manager through the subresource, in this version of the object.
    """
    had, have = {entry.identity for entry in before}, {entry.identity: entry for entry in after}
    entries: list[Entry] = []
    for entry in managed:
        if entry.api_version not in replicas:
            continue
        there = entry.in_version(SCALE_VERSION).identity
        if not _manages(entry, replicas):
            entries.append(entry)
        elif there in have:
            entries.append(entry.at(have[there].time))
        else:
            path = sets.of_paths([replicas[entry.api_version]])
            if left := sets.difference(sets.loads(entry.fields), path):
                entries.append(entry.with_fields(left))
    fields = sets.of_paths([replicas[version]])
    for who, entry in have.items():
        if who not in had and sets.has(sets.loads(entry.fields), REPLICAS):
            entries.append(entry.in_version(version).with_fields(fields))
    return collected(entries)


def _manages(entry: Entry, replicas: ReplicasPaths) -> bool:
    path = replicas.get(entry.api_version)
    return path is not None and sets.has(sets.loads(entry.fields), path)
