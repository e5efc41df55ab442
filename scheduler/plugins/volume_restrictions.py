"""Keeps a claim with the access mode ReadWriteOncePod to one pod.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#access-modes
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apimachinery.persistent_volumes import ONE_POD, access_modes
from scheduler.columns import Rows
from scheduler.framework import Plugin, Rejection
from scheduler.plugins.volume_binding import demand
from scheduler.snapshot import Change, Snapshot
from scheduler.storage import Claims

REASON = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode"


def filter_nodes(demand: Claims, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down all nodes while another pod, wherever it is, has one of the claims for itself."""
    storage = snapshot.storage
    known = ((wanted.key, storage.claim(wanted.key)) for wanted in demand)
    taken = any(
        claim is not None and ONE_POD in access_modes(claim) and storage.used_by_others(key) for key, claim in known
    )
    return [Rejection(np.full(len(snapshot.present[rows]), taken, dtype=np.bool_), REASON)]


PLUGIN = Plugin("VolumeRestrictions", demand, filter=filter_nodes, fleeting=True, helped_by=Change.STORAGE)
