"""What if: pods that are counted on nodes though they are not there, or not counted though they are, for a while."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol

from apimachinery.meta import Object, uid
from scheduler.pods import Usage
from scheduler.residents import Resident
from scheduler.snapshot import Snapshot


class Countable(Protocol):
    """A pod as it counts on a node."""

    @property
    def pod(self) -> Object:
        """The pod itself."""
        ...

    @property
    def usage(self) -> Usage:
        """What it takes up."""
        ...

    @property
    def resident(self) -> Resident:
        """What it is to others."""
        ...


class Supposition:
    """A state of the cluster that ends with the `with` it is opened by, and leaves no trace in the journals.

    Only with `relations` do pods elsewhere find others gone or there; without, nothing may be asked but what goes by
    each node alone.
    """

    def __init__(self, snapshot: Snapshot, *, relations: bool) -> None:
        self._snapshot = snapshot
        self._relations = relations
        # What is supposed of a row and a pod: 1 that it is there though it is not, -1 that it is not though it is.
        self._supposed: dict[tuple[int, int], tuple[int, Countable]] = {}
        self._version = snapshot.residents.terms.version

    def __enter__(self) -> Supposition:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for (row, _), (sign, pod) in self._supposed.items():
            self._count(row, pod, -sign)
        # Nobody need be described anew because of what only might have been.
        self._snapshot.residents.terms.version = self._version

    def add(self, row: int, pod: Countable) -> None:
        """Suppose that a pod is on this node, or (after `remove`) that it is there after all."""
        self._suppose(row, pod, 1)

    def remove(self, row: int, pod: Countable) -> None:
        """Suppose that a pod is not on this node."""
        self._suppose(row, pod, -1)

    def _suppose(self, row: int, pod: Countable, sign: int) -> None:
        self._count(row, pod, sign)
        if self._supposed.pop((row, id(pod)), None) is None:
            self._supposed[row, id(pod)] = sign, pod

    def _count(self, row: int, pod: Countable, sign: int) -> None:
        self._snapshot.count_usage(row, pod.usage, sign)
        if self._relations:
            self._snapshot.residents.count(row, pod.resident, sign)
            self._snapshot.storage.suppose(uid(pod.pod), uses=sign > 0)
