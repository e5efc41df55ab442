"""The pods on nodes, as other pods ask for them: how many of those that are meant are on each node.

Pods in the same namespace with the same labels and terms are one kind of resident. A question (which pods are meant)
is answered once a kind; its tally, a column, is made when the question is first asked, and kept up to date pod by pod
from then on. So a pod costs nothing here but its kind, until somebody asks.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from apimachinery.selectors import Selector
from scheduler.affinity_terms import NO_TERMS, Terms
from scheduler.columns import ROWS_FIRST, BoolColumn, CodedColumn, IntColumn, grown
from scheduler.standing_terms import StandingTerms

TALLIES_KEPT = 128


class Resident(NamedTuple):
    """What other pods may ask of a pod, and what it asks of them (`terms`); `labels` are sorted."""

    namespace: str
    labels: tuple[tuple[str, str], ...]
    terminating: bool = False
    terms: Terms = NO_TERMS


NOBODY = Resident("", ())


class Question(Hashable, Protocol):
    """Which residents are meant: those that it does not weigh 0."""

    def weigh(self, resident: Resident) -> int:
        """How much a resident of this kind counts."""
        ...


@dataclass(frozen=True, slots=True)
class Living:
    """The pods of a namespace that a selector matches and that are not about to end; an empty one means none."""

    namespace: str
    selector: Selector

    def weigh(self, resident: Resident) -> int:
        """1 for those that are meant."""
        if resident.namespace != self.namespace or resident.terminating or self.selector.empty:
            return 0
        return int(self.selector.matches(dict(resident.labels)))


@dataclass(slots=True, eq=False)
class _Tally:
    column: IntColumn


@dataclass(slots=True)
class _Kind:
    """How many of them are on which row, and the tallies in which they count, each with their weight."""

    rows: dict[int, int] = field(default_factory=dict)
    tallies: list[tuple[_Tally, int]] = field(default_factory=list)


class Residents:
    """All pods on nodes that exist, by kind.

    The keys are those of the domains that some of them ask about, in required anti-affinity and with weights.
    `terms` are what those ask that are here. `renamed` grows with every pod that becomes of another kind where it is.
    """

    def __init__(self) -> None:
        self.terms = StandingTerms()
        self.renamed = 0
        self.anti_affinity_keys: Counter[str] = Counter()
        self.weighted_keys: Counter[str] = Counter()
        self._kinds: dict[Resident, _Kind] = {}
        self._tallies: OrderedDict[Question, _Tally] = OrderedDict()
        self._height = ROWS_FIRST

    def count(self, row: int, resident: Resident, sign: int) -> None:
        """One more of a kind on a row, or one less."""
        kind = self._kinds.get(resident)
        if kind is None:
            kind = self._kinds[resident] = _Kind()
            if resident.terms is not NO_TERMS:
                self._count_terms(resident.terms, 1)
            for question, tally in self._tallies.items():
                if weight := question.weigh(resident):
                    kind.tallies.append((tally, weight))
        number = kind.rows.get(row, 0) + sign
        if number:
            kind.rows[row] = number
        else:
            del kind.rows[row]
        for tally, weight in kind.tallies:
            tally.column[row] += sign * weight
        if not kind.rows:
            del self._kinds[resident]
            if resident.terms is not NO_TERMS:
                self._count_terms(resident.terms, -1)

    def rename(self, row: int, old: Resident, new: Resident) -> None:
        """One of a kind on a row has become another."""
        self.count(row, old, -1)
        self.count(row, new, 1)
        self.renamed += 1

    @property
    def version(self) -> int:
        """Grows when others have to be asked something else of a pod that comes."""
        return self.terms.version

    def _count_terms(self, terms: Terms, sign: int) -> None:
        self.terms.count(terms, sign)
        keys = Counter(term.key for term in terms.anti_affinity), Counter(term.key for _, term in terms.weighted(1))
        for counts, changes in zip((self.anti_affinity_keys, self.weighted_keys), keys, strict=True):
            for key, number in changes.items():
                counts[key] += sign * number
                if not counts[key]:
                    del counts[key]

    def tally(self, question: Question) -> IntColumn:
        """The sum of the weights of the pods on each node."""
        tally = self._tallies.get(question)
        if tally is None:
            tally = self._tallies[question] = self._made(question)
            if len(self._tallies) > TALLIES_KEPT:
                self._drop(self._tallies.popitem(last=False)[1])
        else:
            self._tallies.move_to_end(question)
        return tally.column

    def grow(self, rows: int) -> None:
        """Make room for more rows."""
        self._height = rows
        for tally in self._tallies.values():
            tally.column = grown(tally.column, rows)

    def _made(self, question: Question) -> _Tally:
        tally = _Tally(np.zeros(self._height, dtype=np.int64))
        for resident, kind in self._kinds.items():
            if weight := question.weigh(resident):
                kind.tallies.append((tally, weight))
                for row, number in kind.rows.items():
                    tally.column[row] += weight * number
        return tally

    def _drop(self, tally: _Tally) -> None:
        for kind in self._kinds.values():
            kind.tallies = [(kept, weight) for kept, weight in kind.tallies if kept is not tally]


def resident_labels(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Labels as a resident has them."""
    return tuple(sorted(labels.items()))


def sums(domains: CodedColumn[str], counts: IntColumn, among: BoolColumn) -> IntColumn:
    """The sum of the counts of these nodes in each domain, by the domain's code; 0 is of nodes without the label."""
    codes: NDArray[np.int32] = domains.codes[: len(among)][among]
    added = np.bincount(codes, weights=counts[: len(among)][among], minlength=len(domains))
    return added.astype(np.int64)


def occupied(codes: NDArray[np.int32]) -> BoolColumn:
    """Which domains these nodes are in, by the domain's code."""
    found: BoolColumn = np.bincount(codes) > 0
    return found
