"""The pods that wait for room on a node: their victims are on the way out, and nobody less important may slip in.

Pure: what is kept here is told in the pods' `status.nominatedNodeName`, and found there by whoever takes over.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/#user-exposed-information
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from apimachinery.meta import Object
from scheduler.pods import Usage
from scheduler.residents import Resident


class Applicant(NamedTuple):
    """A pod that looks for a node. It has to leave alone what is kept for others of its priority, or a higher one."""

    priority: int
    uid: str


@dataclass(frozen=True, slots=True, eq=False)
class Nominee:
    """A pod that waits for room on a node, and what it will take up there."""

    pod: Object
    node: str
    priority: int
    usage: Usage
    resident: Resident

    def counts_as(self) -> tuple[str, int, Usage, Resident]:
        """All about it that matters to others."""
        return self.node, self.priority, self.usage, self.resident


class Nominations:
    """All nominees, by uid and by node. `version` grows with every change.

    `victims` are the uids of the pods that have been sent away for them and are not known to be gone yet.
    """

    def __init__(self) -> None:
        self.version = 0
        self.victims: set[str] = set()
        self._nominees: dict[str, Nominee] = {}
        self._on: dict[str, dict[str, Nominee]] = {}

    def __len__(self) -> int:
        return len(self._nominees)

    def get(self, uid: str) -> Nominee | None:
        """A pod that waits for room."""
        return self._nominees.get(uid)

    def on(self, node: str) -> Mapping[str, Nominee]:
        """The pods that wait for room on a node."""
        return self._on.get(node, {})

    def add(self, uid: str, nominee: Nominee) -> None:
        """A pod that waits for room nowhere begins to."""
        self._nominees[uid] = nominee
        self._on.setdefault(nominee.node, {})[uid] = nominee
        self.version += 1

    def discard(self, uid: str) -> Nominee | None:
        """A pod waits for room no longer."""
        nominee = self._nominees.pop(uid, None)
        if nominee is not None:
            on_node = self._on[nominee.node]
            del on_node[uid]
            if not on_node:
                del self._on[nominee.node]
            self.version += 1
        return nominee


def ahead_of(applicant: Applicant, nominees: Mapping[str, Nominee]) -> list[Nominee]:
    """Those whose room an applicant has to leave alone."""
    return [one for uid, one in nominees.items() if one.priority >= applicant.priority and uid != applicant.uid]
