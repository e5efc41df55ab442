"""Which of its pods a ReplicaSet gives up first when it has too many.

Sources: https://kubernetes.io/docs/concepts/workloads/controllers/replicaset/#scaling-down-a-replicaset and
KEP-2185 (random-ish choice among pods of about the same age).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

from apimachinery import meta
from apimachinery.meta import Object, uid
from controllers.pods import created, is_active, is_ready, node_name, phase, ready_since, restarts_max

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_PHASE_RANKS = {"Pending": 0, "Unknown": 1, "Running": 2}
_COST_MAX = 2**31 - 1


def choose_pods_to_delete(pods: list[Object], related: Iterable[Object], count: int, now: float) -> list[Object]:
    """The `count` of these pods to be deleted, the least worth keeping first.

    `related` are the active pods of all ReplicaSets of the same owner: of two pods that are alike otherwise, the one
    that shares its node with more of them goes.
    """
    if count >= len(pods):
        return list(pods)
    neighbours = Counter(node_name(pod) for pod in related if is_active(pod))
    return sorted(pods, key=lambda pod: _rank(pod, neighbours[node_name(pod)], now))[:count]


def _rank(pod: Object, neighbours: int, now: float) -> tuple[Any, ...]:
    """Smaller goes first: unscheduled, pending, not ready, cheap, co-located, lately ready, restarted, young."""
    ready = is_ready(pod)
    restarts, sidecars_restarts = restarts_max(pod)
    return (
        node_name(pod) != "",
        _PHASE_RANKS.get(phase(pod), 2),
        ready,
        deletion_cost(pod),
        -neighbours,
        _age_rank(ready_since(pod), now) if ready else 0,
        -restarts,
        -sidecars_restarts,
        _age_rank(created(pod), now),
        uid(pod),
    )


def _age_rank(moment: float | None, now: float) -> float:
    """Ages count by their order of magnitude only, so that not always the youngest zone or node loses its pods."""
    if not moment:
        return -2
    age = int(now - moment)
    return -1 if age <= 0 else int(math.log2(age))


def deletion_cost(pod: Object) -> int:
    """What the user says that losing the pod costs; what is no 32-bit integer counts as 0."""
    text = meta.annotations(pod).get(DELETION_COST, "0")
    digits = text.removeprefix("-")
    # Kubernetes refuses a plus sign and leading zeros.
    if not (digits.isascii() and digits.isdigit()) or (digits[0] == "0" and text != "0"):
        return 0
    cost = int(text)
    return cost if -_COST_MAX - 1 <= cost <= _COST_MAX else 0
