"""Spreads pods over zones, nodes or other domains: no domain may have many more of them than another.

Which pods count is told by a selector; a domain is all nodes with the same value of a label. Pods that ask for
nothing but belong to a Service or a controller are spread over nodes and zones as far as other scores let them.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from apimachinery.meta import Object, labels, namespace
from apimachinery.selectors import Requirement, Selector, selector_from_object
from scheduler.columns import BoolColumn, IntColumn, Rows
from scheduler.framework import SCORE_MAX, Plugin, Rejection
from scheduler.plugins import node_affinity, taint_toleration
from scheduler.residents import Living, Resident, occupied, sums
from scheduler.snapshot import Change, Snapshot

NAME = "PodTopologySpread"
REASON = "node(s) didn't match pod topology spread constraints"
REASON_LABEL = f"{REASON} (missing required label)"
HOSTNAME = "kubernetes.io/hostname"
ZONE = "topology.kubernetes.io/zone"
REQUIRED, PREFERRED = "DoNotSchedule", "ScheduleAnyway"
# What holds for pods of Services and controllers that say nothing themselves, unless the profile says otherwise.
SYSTEM_DEFAULTS: tuple[Object, ...] = tuple(
    {"topologyKey": key, "maxSkew": skew_max, "whenUnsatisfiable": PREFERRED}
    for key, skew_max in ((HOSTNAME, 3), (ZONE, 5))
)


@dataclass(frozen=True, slots=True)
class Constraint:
    """One constraint; `itself` is 1 if the pod is one of those that are counted."""

    key: str
    skew_max: int
    counted: Living
    itself: int
    domains_min: int = 1
    honors_affinity: bool = True
    honors_taints: bool = False


@dataclass(frozen=True, slots=True)
class Demand:
    """What a pod asks. Nodes without one of the labels are left out, unless the constraints are the system's own.

    `affinity` and `tolerations` tell which nodes count at all, where a constraint honors them.
    """

    required: tuple[Constraint, ...]
    preferred: tuple[Constraint, ...]
    every_key: bool
    affinity: node_affinity.Demand | None
    tolerations: taint_toleration.Tolerations


def demand_by(defaults: Sequence[Object] | None, pod: Object, snapshot: Snapshot) -> Demand | None:
    """The constraints of a pod, or (None: the system's) defaults for what it belongs to; None if there are none."""
    asked: Sequence[Any] = pod["spec"].get("topologySpreadConstraints") or []
    if asked:
        constraints = [(entry["whenUnsatisfiable"], _constraint(entry, pod)) for entry in asked]
    else:
        told = SYSTEM_DEFAULTS if defaults is None else defaults
        selector = snapshot.groups.selector_of(pod) if told else None
        if selector is None:
            return None
        constraints = [(entry["whenUnsatisfiable"], _constraint(entry, pod, selector)) for entry in told]
    required = tuple(constraint for action, constraint in constraints if action == REQUIRED)
    preferred = tuple(constraint for action, constraint in constraints if action == PREFERRED)
    affinity = node_affinity.demand(pod)
    if affinity is not None and not affinity.selector and affinity.required is None:
        affinity = None
    honors_taints = any(constraint.honors_taints for constraint in (*required, *preferred))
    return Demand(
        required,
        preferred,
        every_key=bool(asked) or defaults is not None,
        affinity=replace(affinity, preferred=()) if affinity is not None else None,
        tolerations=taint_toleration.tolerations_of(pod) if honors_taints else (),
    )


def _constraint(entry: Object, pod: Object, default: Selector | None = None) -> Constraint:
    """One constraint; for one of the defaults, the selector of what the pod belongs to tells which pods count."""
    own = labels(pod)
    chosen = _selector(entry, own) if default is None else default
    return Constraint(
        entry["topologyKey"],
        entry["maxSkew"],
        Living(namespace(pod), chosen),
        itself=int(chosen.matches(own)),
        domains_min=entry.get("minDomains") or 1,
        honors_affinity=entry.get("nodeAffinityPolicy") != "Ignore",
        honors_taints=entry.get("nodeTaintsPolicy") == "Honor",
    )


def _selector(entry: Object, own: Mapping[str, str]) -> Selector:
    selector = entry.get("labelSelector")
    keyed = tuple(Requirement(key, "in", (own[key],)) for key in entry.get("matchLabelKeys") or () if key in own)
    # No selector means no pods; one of the keys can't change that.
    return Selector((*selector_from_object(selector).requirements, *keyed)) if selector is not None else _NOTHING


_NOTHING = Selector((Requirement("", "in", ()),))


def filter_nodes(demand: Demand, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down nodes without a label, and those in whose domain there would be too many; the first reason counts."""
    undecided = np.ones(len(snapshot.present[rows]), dtype=np.bool_)
    unlabelled = np.zeros_like(undecided)
    crowded = np.zeros_like(undecided)
    having_keys = _having_keys(demand.required, snapshot)
    for constraint in demand.required:
        domains = snapshot.label(constraint.key)
        included = having_keys & _included(constraint, demand, snapshot)
        counts = sums(domains, snapshot.residents.tally(constraint.counted), included)
        there = occupied(domains.codes[: snapshot.height][included])
        known = counts[: len(there)][there]
        least = int(known.min()) if len(known) >= constraint.domains_min else 0
        codes = domains.codes[rows]
        missing = undecided & (codes == 0)
        unlabelled |= missing
        undecided &= ~missing
        over = undecided & (counts[codes] + constraint.itself - least > constraint.skew_max)
        crowded |= over
        undecided &= ~over
    return [Rejection(unlabelled, REASON_LABEL, for_good=True), Rejection(crowded, REASON)]


def score_nodes(demand: Demand, snapshot: Snapshot, rows: Rows, passed: BoolColumn) -> IntColumn:
    """The fewer in a node's domains the better; the more domains a key has, the more each pod in one counts."""
    scores = np.zeros(len(passed), dtype=np.int64)
    if not demand.preferred:
        return scores
    everywhere = _having_keys(demand.preferred, snapshot) if demand.every_key else snapshot.present[: snapshot.height]
    scored = passed & everywhere[rows]
    if not scored.any():
        return scores
    rates = np.zeros(len(passed), dtype=np.float64)
    for constraint in demand.preferred:
        domains = snapshot.label(constraint.key)
        counts, codes = snapshot.residents.tally(constraint.counted), domains.codes[rows]
        if constraint.key == HOSTNAME:
            here, size = counts[rows], int(np.count_nonzero(scored))
        else:
            included = everywhere & _included(constraint, demand, snapshot)
            here, size = sums(domains, counts, included)[codes], int(np.count_nonzero(occupied(codes[scored])))
        rates += np.where(codes != 0, here * math.log(size + 2) + (constraint.skew_max - 1), 0.0)
    rounded = np.floor(rates + 0.5).astype(np.int64)
    lowest, highest = int(rounded[scored].min()), int(rounded[scored].max())
    better = SCORE_MAX * (highest + lowest - rounded) // highest if highest else np.full_like(rounded, SCORE_MAX)
    scores[scored] = better[scored]
    return scores


def _having_keys(constraints: Sequence[Constraint], snapshot: Snapshot) -> BoolColumn:
    """The nodes that have the labels of all constraints."""
    found = snapshot.present[: snapshot.height].copy()
    for constraint in constraints:
        found &= snapshot.label(constraint.key).codes[: snapshot.height] != 0
    return found


def _included(constraint: Constraint, demand: Demand, snapshot: Snapshot) -> BoolColumn:
    """The nodes whose pods count, and whose domains do."""
    rows = slice(0, snapshot.height)
    found = snapshot.present[rows].copy()
    if constraint.honors_affinity and demand.affinity is not None:
        for rejection in node_affinity.filter_nodes(demand.affinity, snapshot, rows):
            found &= ~rejection.nodes
    if constraint.honors_taints:
        for rejection in taint_toleration.filter_nodes(demand.tolerations, snapshot, rows):
            found &= ~rejection.nodes
    return found


def heeds(demand: Demand, resident: Resident) -> bool:
    """Whether a pod that comes or goes is counted, or was."""
    living = resident._replace(terminating=False)
    return any(constraint.counted.weigh(living) for constraint in demand.required)


def plugin(defaults: Sequence[Object] | None = None) -> Plugin:
    """The plugin, with what holds for pods that say nothing (`defaultConstraints`); None: the system's defaults."""
    return Plugin(
        NAME,
        demand_among=partial(demand_by, defaults),
        filter=filter_nodes,
        compare=score_nodes,
        heeds=heeds,
        helped_by=Change.NODE_ADDED | Change.NODE_REMOVED | Change.NODE_LABELS | Change.NODE_TAINTS,
    )


demand = partial(demand_by, None)
PLUGIN = plugin()
