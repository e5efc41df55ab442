"""Who owns what in the whole cluster, read from the informers' caches; and what follows for one object.

The graph is not stored anew: an owner is looked up where its reference points, dependents through an index by the
uids of their owners. Only metadata is needed. References are by uid: an owner that was deleted and created again
under the same name is not the owner.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from apiclient.informer import Informer
from apimachinery.meta import Object, deletion_requested, name, namespace, uid
from apimachinery.resources import Resource

BY_OWNER = "owner"
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


@dataclass(frozen=True, slots=True)
class Item:
    """One object: its resource, and as much of it as the cache has."""

    resource: Resource
    obj: Object

    @property
    def key(self) -> str:
        """The key of a work queue: resource, namespace, name and uid."""
        return "/".join((self.resource.group_resource, namespace(self.obj), name(self.obj), uid(self.obj)))

    @property
    def references(self) -> list[dict[str, Any]]:
        """The object's owner references."""
        found: list[dict[str, Any]] = self.obj["metadata"].get("ownerReferences") or []
        return found

    @property
    def finalizers(self) -> list[str]:
        """The object's finalizers."""
        found: list[str] = self.obj["metadata"].get("finalizers") or []
        return found

    @property
    def waits_for_dependents(self) -> bool:
        """True while the object is being deleted in the foreground: after its dependents."""
        return deletion_requested(self.obj) and FOREGROUND in self.finalizers

    def blocks(self, owner_uid: str) -> bool:
        """True if this owner's foreground deletion waits for the object."""
        return any(r["uid"] == owner_uid and r.get("blockOwnerDeletion") for r in self.references)


class OwnerState(Enum):
    """What is known of an owner."""

    SOLID = "it exists, or can't be looked up"
    WAITING = "it is being deleted, after its dependents"
    ABSENT = "it does not exist"


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do with one object: give it these references, or delete it, or (neither) leave it."""

    references: list[dict[str, Any]] | None = None
    policy: str | None = None


def plan_item(item: Item, states: Mapping[str, OwnerState], dependents: Iterable[Item]) -> Plan:
    """What follows for an object from the states of its owners, by uid.

    It lives as long as one owner does. An owner that waits for it takes its dependents with it, first.
    """
    gone = [r for r in item.references if states[r["uid"]] is not OwnerState.SOLID]
    if not gone:
        return Plan()
    if len(gone) < len(item.references):
        return Plan(references=[r for r in item.references if r not in gone])
    below = list(dependents)
    if below and any(states[r["uid"]] is OwnerState.WAITING for r in gone):
        if any(dependent.waits_for_dependents for dependent in below):
            # A circle: each would wait for the other. Stop blocking, then the next look deletes it.
            unblocked = [{**r, "blockOwnerDeletion": False} for r in item.references]
            if unblocked != item.references:
                return Plan(references=unblocked)
        return Plan(policy="Foreground")
    if ORPHAN in item.finalizers:
        return Plan(policy="Orphan")
    return Plan(policy="Foreground" if FOREGROUND in item.finalizers else "Background")


class OwnershipGraph:
    """The caches of all resources as one graph."""

    def __init__(self, by_kind: Callable[[str, str], Resource | None]) -> None:
        """`by_kind` knows the resource of an apiVersion and kind."""
        self._by_kind = by_kind
        self._informers: dict[str, Informer] = {}

    def add(self, informer: Informer) -> None:
        """Let a cache be part of the graph."""
        self._informers[informer.resource.group_resource] = informer
        informer.add_index(BY_OWNER, owner_uids)

    def remove(self, informer: Informer) -> None:
        """Let a cache be part of it no more."""
        del self._informers[informer.resource.group_resource]

    def find(self, key: str) -> Item | None:
        """The object of a key, if it is still that very one."""
        plural, scope, named, uid_ = key.split("/")
        informer = self._informers.get(plural)
        if informer is None:
            return None
        obj = informer.get(f"{scope}/{named}" if scope else named)
        return Item(informer.resource, obj) if obj is not None and uid(obj) == uid_ else None

    def owner(self, dependent: Item, reference: Mapping[str, Any]) -> Item | None:
        """The owner that a reference names, if the cache has it where it must be: in the dependent's namespace."""
        resource = self._by_kind(reference["apiVersion"], reference["kind"])
        if resource is None:
            return None
        scope = namespace(dependent.obj) if resource.namespaced else ""
        return self.find("/".join((resource.group_resource, scope, reference["name"], reference["uid"])))

    def dependents(self, owner_uid: str) -> Iterator[Item]:
        """The objects that have a reference to this owner."""
        for informer in self._informers.values():
            for obj in informer.by_index(BY_OWNER, owner_uid):
                yield Item(informer.resource, obj)

    def with_owners_of(self, kinds: Collection[tuple[str, str]]) -> Iterator[Item]:
        """The objects that have a reference to an owner of one of these kinds (apiVersion, kind)."""
        for informer in self._informers.values():
            for obj in informer.list():
                item = Item(informer.resource, obj)
                if any((r["apiVersion"], r["kind"]) in kinds for r in item.references):
                    yield item

    def elsewhere(self, reference: Mapping[str, Any]) -> Item | None:
        """The object of a reference's uid in whatever namespace it is."""
        resource = self._by_kind(reference["apiVersion"], reference["kind"])
        informer = self._informers.get(resource.group_resource) if resource is not None else None
        if informer is None:
            return None
        found = next((obj for obj in informer.list() if uid(obj) == reference["uid"]), None)
        return Item(informer.resource, found) if found is not None else None


def owner_uids(obj: Object) -> Iterable[str]:
    """Index: the uids of an object's owners."""
    return (reference["uid"] for reference in obj["metadata"].get("ownerReferences") or ())
