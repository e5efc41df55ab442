"""Keeps pods near others or away from them, as they ask, and as those ask that are there already.

Near is the same domain: all nodes with the same value of a label.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np

from apimachinery.meta import Object, labels, namespace
from scheduler.affinity_terms import Newcomer, Term, terms_of
from scheduler.columns import BoolColumn, IntColumn, Rows
from scheduler.framework import SCORE_MAX, Plugin, Rejection
from scheduler.residents import Question, Resident, resident_labels, sums
from scheduler.snapshot import Change, Snapshot

NAME = "InterPodAffinity"
REASON_AFFINITY = "node(s) didn't match pod affinity rules"
REASON_ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
REASON_EXISTING = "node(s) didn't satisfy existing pods anti-affinity rules"


@dataclass(frozen=True, slots=True)
class Meant:
    """Residents that all of these terms mean."""

    terms: tuple[Term, ...]

    def weigh(self, resident: Resident) -> int:
        """1 for those that are meant. (Terms have the names of all namespaces, so that the labels don't matter.)"""
        own = dict(resident.labels)
        return int(all(term.matches(resident.namespace, own, {}) for term in self.terms))


@dataclass(frozen=True, slots=True)
class Shunning:
    """Residents that will not have a newcomer in their domain of one key."""

    key: str
    newcomer: Newcomer

    def weigh(self, resident: Resident) -> int:
        """The number of terms that say so."""
        terms = resident.terms.anti_affinity
        return sum(term.key == self.key and self.newcomer.is_meant_by(term) for term in terms)


@dataclass(frozen=True, slots=True)
class Fond:
    """Residents that would rather have a newcomer in their domain of one key, or rather not."""

    key: str
    newcomer: Newcomer
    required_weight: int

    def weigh(self, resident: Resident) -> int:
        """The sum of the weights of the terms that say so."""
        return sum(
            weight
            for weight, term in resident.terms.weighted(self.required_weight)
            if term.key == self.key and self.newcomer.is_meant_by(term)
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """The pod's own terms, whether its affinity means the pod itself, and what others look at, if any do."""

    affinity: tuple[Term, ...]
    anti_affinity: tuple[Term, ...]
    preferred: tuple[tuple[int, Term], ...]
    itself: bool
    newcomer: Newcomer | None


def demand(pod: Object, snapshot: Snapshot) -> Demand | None:
    """What a pod asks of others, and others of it; None if nobody asks anything."""
    terms, standing = terms_of(pod), snapshot.residents.terms
    if not (standing or any(terms)):
        return None
    known, scope, own = snapshot.groups.namespaces, namespace(pod), labels(pod)
    scope_labels = known.get(scope, {})
    newcomer = Newcomer(scope, resident_labels(own), resident_labels(scope_labels))
    meant = standing.mean(newcomer)
    if not (meant or any(terms)):
        return None
    affinity = tuple(term.with_namespaces(known) for term in terms.affinity)
    return Demand(
        affinity,
        tuple(term.with_namespaces(known) for term in terms.anti_affinity),
        tuple((weight, term.with_namespaces(known)) for weight, term in terms.preferred),
        itself=all(term.matches(scope, own, scope_labels) for term in affinity),
        newcomer=newcomer if meant else None,
    )


def filter_nodes(demand: Demand, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down nodes for a pod's affinity, its anti-affinity, and that of others; one reason a node."""
    undecided = np.ones(len(snapshot.present[rows]), dtype=np.bool_)
    rejections = []
    for reason, rejected, for_good in (
        (REASON_AFFINITY, _far(demand, snapshot, rows), True),
        (REASON_ANTI_AFFINITY, _too_near(demand, snapshot, rows), False),
        (REASON_EXISTING, _shunned(demand, snapshot, rows), False),
    ):
        if rejected is not None:
            rejections.append(Rejection(rejected & undecided, reason, for_good))
            undecided &= ~rejected
    return rejections


def _far(demand: Demand, snapshot: Snapshot, rows: Rows) -> BoolColumn | None:
    """Nodes without a pod near that all affinity means; the first of pods that want each other may be anywhere."""
    if not demand.affinity:
        return None
    labelled = np.ones(len(snapshot.present[rows]), dtype=np.bool_)
    near, nobody = labelled.copy(), True
    for term in demand.affinity:
        codes = snapshot.label(term.key).codes[rows]
        found = _by_domain(Meant(demand.affinity), term.key, snapshot)
        labelled &= codes != 0
        near &= found[codes] > 0
        nobody = nobody and not found.any()
    return ~labelled if nobody and demand.itself else ~(labelled & near)


def _too_near(demand: Demand, snapshot: Snapshot, rows: Rows) -> BoolColumn | None:
    """Nodes with a pod near that a term of anti-affinity means."""
    if not demand.anti_affinity:
        return None
    found = np.zeros(len(snapshot.present[rows]), dtype=np.bool_)
    for term in demand.anti_affinity:
        found |= _by_domain(Meant((term,)), term.key, snapshot)[snapshot.label(term.key).codes[rows]] > 0
    return found


def _shunned(demand: Demand, snapshot: Snapshot, rows: Rows) -> BoolColumn | None:
    """Nodes with a pod near whose anti-affinity means this one."""
    if demand.newcomer is None or not snapshot.residents.anti_affinity_keys:
        return None
    found = np.zeros(len(snapshot.present[rows]), dtype=np.bool_)
    for key in snapshot.residents.anti_affinity_keys:
        found |= _by_domain(Shunning(key, demand.newcomer), key, snapshot)[snapshot.label(key).codes[rows]] > 0
    return found


class Args(NamedTuple):
    """InterPodAffinityArgs: what the required affinity of pods that are there is worth to those that they mean.

    And whether their preferences count for nothing unless the pod has some of its own.
    """

    hard_pod_affinity_weight: int = 1
    ignore_preferred_terms_of_existing_pods: bool = False


def score_nodes(args: Args, demand: Demand, snapshot: Snapshot, rows: Rows, passed: BoolColumn) -> IntColumn:
    """The weights of the preferences that pods near each node meet, this one's and their own; from 0 to 100."""
    rates = np.zeros(len(passed), dtype=np.int64)
    for weight, term in demand.preferred:
        rates += weight * _by_domain(Meant((term,)), term.key, snapshot)[snapshot.label(term.key).codes[rows]]
    if demand.newcomer is not None and (demand.preferred or not args.ignore_preferred_terms_of_existing_pods):
        for key in snapshot.residents.weighted_keys:
            fond = Fond(key, demand.newcomer, args.hard_pod_affinity_weight)
            rates += _by_domain(fond, key, snapshot)[snapshot.label(key).codes[rows]]
    among = rates[passed]
    lowest, highest = (int(among.min()), int(among.max())) if len(among) else (0, 0)
    if lowest == highest:
        return np.zeros(len(passed), dtype=np.int64)
    scores: IntColumn = (SCORE_MAX * ((rates - lowest) / (highest - lowest))).astype(np.int64)
    return scores


def _by_domain(question: Question, key: str, snapshot: Snapshot) -> IntColumn:
    """The tally of each domain, by its code; none where the label is missing."""
    tally = snapshot.residents.tally(question)
    domains = snapshot.label(key)
    if not tally.any():
        return np.zeros(len(domains), dtype=np.int64)
    found = sums(domains, tally, snapshot.present[: snapshot.height])
    found[0] = 0
    return found


def heeds(demand: Demand, resident: Resident) -> bool:
    """Whether a pod that comes or goes is one that the pod's required terms mean, or that will not have it."""
    if demand.affinity and Meant(demand.affinity).weigh(resident):
        return True
    if any(Meant((term,)).weigh(resident) for term in demand.anti_affinity):
        return True
    newcomer = demand.newcomer
    return newcomer is not None and any(newcomer.is_meant_by(term) for term in resident.terms.anti_affinity)


def plugin(args: Args) -> Plugin:
    """The plugin with these arguments."""
    return Plugin(
        NAME,
        demand_among=demand,
        filter=filter_nodes,
        compare=partial(score_nodes, args),
        heeds=heeds,
        helped_by=Change.NODE_ADDED | Change.NODE_REMOVED | Change.NODE_LABELS,
    )


PLUGIN = plugin(Args())
