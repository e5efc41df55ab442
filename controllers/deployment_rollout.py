"""How large each ReplicaSet of a Deployment should be: the arithmetic of rollouts, and nothing else.

Two limits hold at every step of a rolling update: never more than `replicas + maxSurge` pods, never fewer available
ones than `replicas - maxUnavailable`. All functions are pure; sizes are maps from ReplicaSet names to replicas.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#strategy
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from apimachinery import meta
from apimachinery.meta import Object, get_path, name
from controllers.pods import created

DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
Sizes = dict[str, int]


def replicas(obj: Object) -> int:
    """`spec.replicas` of a Deployment or ReplicaSet."""
    return int(get_path(obj, "spec", "replicas", default=1))


def available(replica_set: Object) -> int:
    """`status.availableReplicas`."""
    return int(get_path(replica_set, "status", "availableReplicas", default=0))


def total(replica_sets: Iterable[Object]) -> int:
    """The pods that these ReplicaSets are to have."""
    return sum(map(replicas, replica_sets))


def total_available(replica_sets: Iterable[Object]) -> int:
    """The pods of these ReplicaSets that are available."""
    return sum(map(available, replica_sets))


def _lasting(replica_set: Object) -> int:
    """The available pods that the ReplicaSet will still have once it is as large as it is to be.

    Kubernetes counts the others too, and may remove the last available pod in their favour when templates change
    quickly.
    """
    return min(replicas(replica_set), available(replica_set))


def is_rolling(deployment: Object) -> bool:
    """True unless the strategy is Recreate."""
    return bool(get_path(deployment, "spec", "strategy", "type", default="RollingUpdate") == "RollingUpdate")


def limits(deployment: Object) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods: percentages of the surge are rounded up, of the unavailable down.

    Both 0 would never get anywhere: then one pod may be unavailable.
    """
    if not is_rolling(deployment):
        return 0, 0
    wanted = replicas(deployment)
    rolling = get_path(deployment, "spec", "strategy", "rollingUpdate", default={})
    surge = _scaled(rolling.get("maxSurge", "25%"), wanted, math.ceil)
    unavailable = _scaled(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return surge, min(unavailable, wanted)


def _scaled(value: int | str, base: int, rounding: Any) -> int:
    """An absolute number as it is, a percentage of `base`."""
    if isinstance(value, int):
        return value
    return int(rounding(int(value.removesuffix("%")) * base / 100))


def _existing(replica_set: Object) -> int:
    """The pods that the ReplicaSet has or is about to have."""
    return max(replicas(replica_set), int(get_path(replica_set, "status", "replicas", default=0)))


def active(replica_sets: Iterable[Object]) -> list[Object]:
    """Those that are to have pods."""
    return [replica_set for replica_set in replica_sets if replicas(replica_set) > 0]


def new_size(deployment: Object, replica_sets: Sequence[Object], new: Object) -> int:
    """How large the new ReplicaSet may be now; `replica_sets` are all, the new one among them."""
    wanted = replicas(deployment)
    if replicas(new) >= wanted or not is_rolling(deployment):
        return wanted
    # Pods that are still to be deleted count too: Kubernetes forgets them, and exceeds the limit for a moment.
    room = wanted + limits(deployment)[0] - sum(map(_existing, replica_sets))
    return replicas(new) + max(0, min(room, wanted - replicas(new)))


def rolling_sizes(deployment: Object, new: Object, old: Sequence[Object]) -> Sizes:
    """The next step of a rolling update: first the new ReplicaSet grows into its room, else the old ones shrink."""
    everything = [*old, new]
    size = new_size(deployment, everything, new)
    if size != replicas(new):
        return {name(new): size}
    return _shrink_old(deployment, new, active(old))


def _shrink_old(deployment: Object, new: Object, old: list[Object]) -> Sizes:
    """First the old pods that are not available anyway, then as many others as may be unavailable."""
    least_available = replicas(deployment) - limits(deployment)[1]
    # Unavailable pods of the new ReplicaSet may still become available: they don't entitle to remove old ones.
    new_unavailable = replicas(new) - _lasting(new)
    removable = total([*old, new]) - least_available - new_unavailable
    sizes: Sizes = {}
    if removable <= 0:
        return sizes
    oldest_first = sorted(old, key=lambda rs: (created(rs), name(rs)))
    for replica_set in oldest_first:
        unhealthy = min(removable, replicas(replica_set) - _lasting(replica_set))
        if unhealthy > 0:
            sizes[name(replica_set)] = replicas(replica_set) - unhealthy
            removable -= unhealthy
    spare = sum(map(_lasting, [*old, new])) - least_available
    for replica_set in oldest_first:
        size = sizes.get(name(replica_set), replicas(replica_set))
        healthy = min(spare, size)
        if healthy > 0:
            sizes[name(replica_set)] = size - healthy
            spare -= healthy
    return sizes


def recreate_sizes(deployment: Object, new: Object | None, old: Sequence[Object], *, old_pods_run: bool) -> Sizes:
    """The next step of a Recreate: all old pods go, and only when none runs any more the new ones come."""
    if shrinking := active(old):
        return {name(replica_set): 0 for replica_set in shrinking}
    if old_pods_run or new is None or replicas(new) == replicas(deployment):
        return {}
    return {name(new): replicas(deployment)}


def is_scaling(deployment: Object, replica_sets: Iterable[Object]) -> bool:
    """True if the Deployment's size has changed since its ReplicaSets were last sized."""
    wanted = str(replicas(deployment))
    return any(meta.annotations(rs).get(DESIRED_REPLICAS, wanted) != wanted for rs in active(replica_sets))


def scaled_sizes(deployment: Object, new: Object | None, old: Sequence[Object]) -> Sizes:
    """The sizes after a change of `spec.replicas`, also in the middle of a rollout: each in its proportion."""
    wanted = replicas(deployment)
    everything = [*old, *([new] if new is not None else [])]
    growing = active(everything)
    if len(growing) <= 1:
        only = growing[0] if growing else new or _newest(old)
        return {} if only is None else {name(only): wanted}
    if new is not None and _is_saturated(deployment, new):
        return {name(replica_set): 0 for replica_set in active(old)}
    return _proportional_sizes(deployment, growing) if is_rolling(deployment) else {}


def _newest(replica_sets: Sequence[Object]) -> Object | None:
    return max(replica_sets, key=lambda rs: (created(rs), name(rs)), default=None)


def _is_saturated(deployment: Object, new: Object) -> bool:
    wanted = replicas(deployment)
    desired = meta.annotations(new).get(DESIRED_REPLICAS)
    return replicas(new) == wanted and desired == str(wanted) and available(new) == wanted


def _proportional_sizes(deployment: Object, replica_sets: list[Object]) -> Sizes:
    """Share what is to be added or removed among the active ReplicaSets by their sizes; the rest to the largest.

    Growing, the newest of equally large ones comes first; shrinking, the oldest.
    """
    wanted = replicas(deployment)
    allowed = wanted + limits(deployment)[0] if wanted > 0 else 0
    change = allowed - total(replica_sets)
    direction = -1 if change > 0 else 1
    ordered = sorted(replica_sets, key=lambda rs: (-replicas(rs), direction * created(rs), name(rs)))
    sizes: Sizes = {}
    given = 0
    for replica_set in ordered:
        share = _share(deployment, replica_set, change - given) if change != given else 0
        sizes[name(replica_set)] = replicas(replica_set) + share
        given += share
    largest = name(ordered[0])
    sizes[largest] = max(0, sizes[largest] + change - given)
    return sizes


def _share(deployment: Object, replica_set: Object, left: int) -> int:
    fraction = _fraction(deployment, replica_set)
    return min(fraction, left) if left > 0 else max(fraction, left)


def _fraction(deployment: Object, replica_set: Object) -> int:
    """By how much the ReplicaSet changes if it keeps its part of the Deployment's largest size."""
    size = replicas(replica_set)
    wanted = replicas(deployment)
    if wanted == 0:
        return -size
    text = meta.annotations(replica_set).get(MAX_REPLICAS, "")
    before = int(text) if text.isdigit() else 0
    before = before or int(get_path(deployment, "status", "replicas", default=0))
    if before == 0:
        return 0
    exact = size * (wanted + limits(deployment)[0]) / before
    return math.floor(exact + 0.5) - size
