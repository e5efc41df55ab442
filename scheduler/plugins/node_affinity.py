"""Holds `nodeSelector` and node affinity: the nodes that a pod must run on, and those it would rather run on.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from apimachinery.meta import Object, get_path
from scheduler.columns import BoolColumn, IntColumn, Rows
from scheduler.framework import Choice, Plugin, Rejection, normalize_up
from scheduler.snapshot import Change, Snapshot

NAME = "NodeAffinity"
REASON = "node(s) didn't match Pod's node affinity/selector"
REASON_ENFORCED = "node(s) didn't match scheduler-enforced node affinity"
REASON_CONFLICT = "pod affinity terms conflict"
_INTEGER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement on a label, or (`field`) on the node's name."""

    key: str
    operator: str
    values: tuple[str, ...]
    field: bool = False

    def holds(self, snapshot: Snapshot, rows: Rows) -> BoolColumn:
        """The nodes that meet it."""
        if self.field:
            named = np.zeros(snapshot.height, dtype=np.bool_)
            named[[row for value in self.values if (row := snapshot.row(value)) is not None]] = True
            return named[rows] if self.operator == "In" else ~named[rows]
        column = snapshot.label(self.key)
        match self.operator:
            case "In":
                return column.is_in(self.values, rows)
            case "NotIn":
                return ~column.is_in(self.values, rows)
            case "Exists":
                return column.is_set(rows)
            case "DoesNotExist":
                return ~column.is_set(rows)
        return column.where(self._compares, rows)

    def _compares(self, label: str | None) -> bool:
        """Gt and Lt: both sides must be whole numbers."""
        bound = self.values[0] if len(self.values) == 1 else ""
        if label is None or not (_INTEGER.fullmatch(label) and _INTEGER.fullmatch(bound)):
            return False
        return int(label) > int(bound) if self.operator == "Gt" else int(label) < int(bound)


Term = tuple[Requirement, ...]


@dataclass(frozen=True, slots=True)
class Demand:
    """`selector` must hold and one of the `required` terms, if there are any; `preferred` terms have weights."""

    selector: Term
    required: tuple[Term, ...] | None
    preferred: tuple[tuple[int, Term], ...]


NOTHING_ASKED = Demand((), None, ())


def demand(pod: Object) -> Demand | None:
    """What a pod says about nodes; None if nothing."""
    spec = pod["spec"]
    selector = tuple(
        Requirement(key, "In", (value,)) for key, value in sorted((spec.get("nodeSelector") or {}).items())
    )
    required, preferred = parse_affinity(get_path(spec, "affinity", "nodeAffinity", default={}))
    if not selector and required is None and not preferred:
        return None
    return Demand(selector, required, preferred)


def parse_affinity(affinity: Mapping[str, Any]) -> tuple[tuple[Term, ...] | None, tuple[tuple[int, Term], ...]]:
    """The required terms of a node affinity, None if it names none, and the preferred ones with their weights."""
    must = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    required = None if must is None else tuple(parse_term(term) for term in must.get("nodeSelectorTerms") or ())
    preferred = tuple(
        (preference["weight"], term)
        for preference in affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or ()
        if (term := parse_term(preference.get("preference") or {})) and preference["weight"]
    )
    return required, preferred


def parse_term(term: Mapping[str, Any]) -> Term:
    """A term of a node selector, as the API has it."""
    return tuple(
        Requirement(entry["key"], entry["operator"], tuple(entry.get("values") or ()), field)
        for field, entries in ((False, term.get("matchExpressions")), (True, term.get("matchFields")))
        for entry in entries or ()
    )


def choose_nodes(demand: Demand) -> Choice | None:
    """The nodes that are named, if every required term names some, as those of DaemonSets' pods do."""
    named: set[str] = set()
    for term in demand.required or ((),):
        sets = [set(requirement.values) for requirement in term if requirement.field and requirement.operator == "In"]
        if not sets:
            return None
        named |= set.intersection(*sets)
    return Choice(frozenset(named), REASON_CONFLICT)


def all_hold(term: Term, snapshot: Snapshot, rows: Rows) -> BoolColumn:
    """The nodes that meet all requirements of a term."""
    found = np.ones(len(snapshot.present[rows]), dtype=np.bool_)
    for requirement in term:
        found &= requirement.holds(snapshot, rows)
    return found


def any_holds(terms: Sequence[Term], snapshot: Snapshot, rows: Rows) -> BoolColumn:
    """The nodes that meet one of the terms; a term without requirements is met by none."""
    found = np.zeros(len(snapshot.present[rows]), dtype=np.bool_)
    for term in terms:
        if term:
            found |= all_hold(term, snapshot, rows)
    return found


def filter_nodes(demand: Demand, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down nodes that miss the selector or every required term."""
    matched = all_hold(demand.selector, snapshot, rows)
    if demand.required is not None:
        matched &= any_holds(demand.required, snapshot, rows)
    return [Rejection(~matched, REASON, for_good=True)]


def score_nodes(demand: Demand, snapshot: Snapshot, rows: Rows) -> IntColumn:
    """The sum of the weights of the preferred terms that each node meets."""
    rates = np.zeros(len(snapshot.present[rows]), dtype=np.int64)
    for weight, term in demand.preferred:
        rates += weight * all_hold(term, snapshot, rows)
    return rates


def _demand_beside(added: Demand, pod: Object) -> Demand:
    """What the pod says, with the preferences that all pods of the profile have."""
    own = demand(pod) or NOTHING_ASKED
    return replace(own, preferred=(*own.preferred, *added.preferred))


def _filter_beside(added: Demand, demand: Demand, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down nodes that the profile's own affinity leaves out, and of the others those that the pod's does."""
    (enforced,), (own,) = filter_nodes(added, snapshot, rows), filter_nodes(demand, snapshot, rows)
    return [enforced._replace(reason=REASON_ENFORCED), own._replace(nodes=own.nodes & ~enforced.nodes)]


def plugin(added: Demand | None = None) -> Plugin:
    """The plugin, with an affinity that every pod of the profile has beside its own (`addedAffinity`)."""
    return Plugin(
        NAME,
        demand if added is None else partial(_demand_beside, added),
        filter=filter_nodes if added is None else partial(_filter_beside, added),
        score=score_nodes,
        normalize=normalize_up,
        choose=choose_nodes,
        helped_by=Change.NODE_ADDED | Change.NODE_LABELS,
    )


PLUGIN = plugin()
