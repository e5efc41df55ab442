"""Prefers nodes that have a pod's images already, the larger ones the more.

An image that few nodes have counts for less: else all pods that use it would follow the first one.

Source: https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins (ImageLocality)
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import numpy as np

from apimachinery.meta import Object
from scheduler.columns import IntColumn, Rows
from scheduler.framework import SCORE_MAX, Plugin
from scheduler.snapshot import Snapshot

# Less than this is pulled so fast that it does not matter; more than the other, for each container, does not count.
SUM_BYTES_MIN = 23 * 2**20
CONTAINER_BYTES_MAX = 1000 * 2**20


class Demand(NamedTuple):
    """The images that some nodes have, with what each is worth there in bytes, and how many containers there are."""

    images: tuple[tuple[str, int], ...]
    containers: int


def demand(pod: Object, snapshot: Snapshot) -> Demand | None:
    """What a pod's images are worth now; None if they make no difference, whichever nodes have them."""
    if not snapshot.images:
        return None
    spec = pod["spec"]
    containers = (*(spec.get("initContainers") or ()), *spec["containers"])
    worth: Counter[str] = Counter()
    for container in containers:
        image = with_tag(container.get("image") or "")
        found = snapshot.images.find(image)
        if found is not None:
            size_bytes, nodes = found
            worth[image] += int(size_bytes * (nodes / snapshot.node_count))
    if worth.total() <= SUM_BYTES_MIN:
        return None
    return Demand(tuple(sorted(worth.items())), len(containers))


def with_tag(image: str) -> str:
    """The name of an image as nodes tell it."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


def score_nodes(demand: Demand, snapshot: Snapshot, rows: Rows) -> IntColumn:
    """What the images are worth that each node has, from 0 to 100."""
    sums = np.zeros(len(snapshot.present[rows]), dtype=np.int64)
    for image, worth in demand.images:
        sums += worth * snapshot.images.has(image, snapshot.height)[rows]
    sum_max = CONTAINER_BYTES_MAX * demand.containers
    scores: IntColumn = SCORE_MAX * (np.clip(sums, SUM_BYTES_MIN, sum_max) - SUM_BYTES_MIN)
    return scores // (sum_max - SUM_BYTES_MIN)


PLUGIN = Plugin("ImageLocality", demand_among=demand, score=score_nodes)
