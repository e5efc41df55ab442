"""Keeps pods in the zone and region that the labels of their volumes name, as volumes of clouds have them.

Source: https://kubernetes.io/docs/reference/labels-annotations-taints/#topologykubernetesiozone
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apimachinery.meta import get_path, labels
from scheduler.columns import Rows
from scheduler.framework import Plugin, Rejection
from scheduler.plugins.volume_binding import demand
from scheduler.snapshot import Change, Snapshot
from scheduler.storage import Claims

REASON = "node(s) had no available volume zone"
# The labels, each with the one that stands for it where a node has not got it: volumes of old have other ones.
KEYS = {
    "topology.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": "topology.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
}
# A volume that can be used in several zones has them in one label.
_BETWEEN = "__"


def filter_nodes(demand: Claims, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down nodes of other zones; those that say nothing of where they are count as being everywhere."""
    bound, _ = snapshot.storage.split(demand)
    columns = {key: snapshot.label(key) for key in KEYS}
    somewhere = np.logical_or.reduce([column.is_set(rows) for column in columns.values()])
    elsewhere = np.zeros_like(somewhere)
    for claim in bound:
        volume = snapshot.storage.volume(get_path(claim, "spec", "volumeName"))
        for key, column in columns.items():
            zones = labels(volume).get(key) if volume is not None else None
            if zones is not None:
                named = tuple(zones.split(_BETWEEN))
                here = column.is_in(named, rows) | (~column.is_set(rows) & columns[KEYS[key]].is_in(named, rows))
                elsewhere |= somewhere & ~here
    return [Rejection(elsewhere, REASON, for_good=True)]


PLUGIN = Plugin(
    "VolumeZone",
    demand,
    filter=filter_nodes,
    fleeting=True,
    helped_by=Change.STORAGE | Change.NODE_ADDED | Change.NODE_LABELS,
)
