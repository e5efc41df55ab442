"""The terms of the pods that are on nodes, and which pods any of them means: most pods are meant by none.

Every term stands here once, however many pods have it, and is found by the namespaces that it names.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterator

from scheduler.affinity_terms import Newcomer, Term, Terms

NEWCOMERS_REMEMBERED = 4096


class StandingTerms:
    """`version` grows when a term begins to stand, or the last pod that has it is gone."""

    def __init__(self) -> None:
        self.version = 0
        self._counts: Counter[Term] = Counter()
        self._in: dict[str, dict[Term, None]] = {}
        self._by_labels: dict[Term, None] = {}
        self._answers: OrderedDict[Newcomer, bool] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._counts)

    def count(self, terms: Terms, sign: int) -> None:
        """The terms of one kind of pods more, or of one less."""
        for term in (*terms.affinity, *terms.anti_affinity, *(term for _, term in terms.preferred)):
            before = self._counts[term]
            self._counts[term] = before + sign
            if not before:
                self._begin(term)
            elif not self._counts[term]:
                self._end(term)

    def mean(self, newcomer: Newcomer) -> bool:
        """Whether any of them means a pod."""
        known = self._answers.get(newcomer)
        if known is None:
            known = self._answers[newcomer] = any(map(newcomer.is_meant_by, self._candidates(newcomer.namespace)))
            if len(self._answers) > NEWCOMERS_REMEMBERED:
                self._answers.popitem(last=False)
        return known

    def _candidates(self, namespace: str) -> Iterator[Term]:
        yield from self._in.get(namespace, ())
        yield from self._by_labels

    def _begin(self, term: Term) -> None:
        for namespace in term.namespaces:
            self._in.setdefault(namespace, {})[term] = None
        if term.namespace_selector is not None:
            self._by_labels[term] = None
        self._changed()

    def _end(self, term: Term) -> None:
        del self._counts[term]
        for namespace in term.namespaces:
            del self._in[namespace][term]
            if not self._in[namespace]:
                del self._in[namespace]
        self._by_labels.pop(term, None)
        self._changed()

    def _changed(self) -> None:
        self.version += 1
        self._answers.clear()
