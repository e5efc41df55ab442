"""Puts pods where the volumes of their claims can be used, or can be found or made.

A claim whose class waits for its first consumer gets its volume with the node: what it gets there is decided when the
pod is placed (`scheduler.storage`), and carried out before the pod is bound (`scheduler.volume_binder`).

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#node-affinity
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apimachinery.meta import Object, get_path, labels, name
from apimachinery.persistent_volumes import affinity_terms
from scheduler.columns import BoolColumn, Rows
from scheduler.framework import VOLUME_BINDING, Plugin, Rejection
from scheduler.plugins.node_affinity import any_holds, parse_term
from scheduler.snapshot import Change, Snapshot
from scheduler.storage import Claims, Options, decide, options_for, wanted_claims

REASON_GONE = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)"
REASON_ELSEWHERE = "node(s) had volume node affinity conflict"
REASON_NONE = "node(s) didn't find available persistent volumes to bind"


def demand(pod: Object) -> Claims | None:
    """The claims that a pod uses; None if it uses none."""
    return (wanted_claims(pod) or None) if "volumes" in pod["spec"] else None


def objection(demand: Claims, snapshot: Snapshot) -> str:
    """Claims that are missing, lost, going, or bound by nobody yet though nobody is to wait for us."""
    return snapshot.storage.objection(demand)


def filter_nodes(demand: Claims, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down nodes that can't reach a volume, and those on which a claim would get none."""
    bound, unbound = snapshot.storage.split(demand)
    gone = elsewhere = np.zeros(len(snapshot.present[rows]), dtype=np.bool_)
    for claim in bound:
        volume = snapshot.storage.volume(get_path(claim, "spec", "volumeName"))
        if volume is None:
            gone = np.ones_like(gone)
        elif (terms := affinity_terms(volume)) is not None:
            elsewhere = elsewhere | ~any_holds([parse_term(term) for term in terms], snapshot, rows)
    rejections = [Rejection(gone, REASON_GONE, for_good=True), Rejection(elsewhere, REASON_ELSEWHERE, for_good=True)]
    if unbound:
        options = options_for(snapshot.storage, unbound)
        rejections.append(Rejection(_without(options, snapshot, rows), REASON_NONE, for_good=True))
    return rejections


def _without(options: Sequence[Options], snapshot: Snapshot, rows: Rows) -> BoolColumn:
    """The nodes on which a claim would get nothing."""
    if all(one.same_everywhere for one in options):
        # Made on any node, or on none: no need to look at them one by one.
        nothing = any(one.topologies is None for one in options)
        return np.full(len(snapshot.present[rows]), nothing, dtype=np.bool_)
    found = np.ones(len(snapshot.present[rows]), dtype=np.bool_)
    for index, row in enumerate(np.arange(snapshot.height)[rows]):
        node = snapshot.node(int(row))
        if node is not None:
            found[index] = decide(options, name(node), labels(node)) is None
    return found


PLUGIN = Plugin(
    VOLUME_BINDING,
    demand,
    filter=filter_nodes,
    objection=objection,
    fleeting=True,
    helped_by=Change.STORAGE | Change.NODE_ADDED | Change.NODE_LABELS,
)
