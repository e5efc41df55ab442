"""Room for a gang: where its pods could be if less important ones were sent away, and all of it would be placed then.

Pods are sent away for one pod at a time (`scheduler.preemption`). A gang is of no use in parts, so for each of its
pods that is only supposed, and the next one is looked at as if it had been done. Only if enough of the gang find room
that way it is done, and for each of the gang its room is kept until all of them can be placed. Else nobody has to go.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

from apimachinery.meta import uid
from scheduler.framework import Remedy
from scheduler.pods import priority
from scheduler.preemption import room_is_being_made
from scheduler.queue import QueuedPod
from scheduler.snapshot import PlacedPod, Snapshot

if TYPE_CHECKING:
    from scheduler.cluster import Cluster, Placement


def faring_alike(queued: QueuedPod, snapshot: Snapshot) -> Hashable:
    """What pods have in common of which one fits nowhere where the other does; None for one that is like no other.

    Verdicts on some classes are on one pod only, and one for which room is kept somewhere finds that.
    """
    if queued.pod_class.fleeting or snapshot.nominations.get(queued.uid) is not None:
        return None
    return queued.pod_class, priority(queued.pod), queued.pod["spec"].get("preemptionPolicy")


def waits_for_room(pods: Sequence[QueuedPod], snapshot: Snapshot) -> bool:
    """Whether pods are on their way out already for one of these."""
    for queued in pods:
        nominee = snapshot.nominations.get(queued.uid)
        row = snapshot.row(nominee.node) if nominee is not None else None
        if nominee is not None and row is not None and room_is_being_made(snapshot, row, nominee.priority):
            return True
    return False


def room_to_make(cluster: Cluster, pods: Sequence[QueuedPod], needed: int) -> list[tuple[QueuedPod, Remedy]]:
    """Where each pod of a gang would be, and who has to go for that; nothing if that is of no use for the gang."""
    snapshot = cluster.snapshot
    if min(snapshot.priorities, default=0) >= max(priority(queued.pod) for queued in pods):
        return []
    found: list[tuple[QueuedPod, Remedy]] = []
    placements: list[Placement] = []
    gone: list[PlacedPod] = []
    hopeless: set[Hashable] = set()
    try:
        # The most important ones first: so none of them has to go for another one.
        for queued in sorted(pods, key=lambda queued: -priority(queued.pod)):
            alike = faring_alike(queued, snapshot)
            if alike is not None and alike in hopeless:
                continue
            victims: Sequence[PlacedPod] = ()
            placement = cluster.assume(queued)
            if placement is None:
                remedy = cluster.diagnosis(queued, makes_room=True).remedy
                victims = remedy.victims if remedy is not None else ()
                for victim in victims:
                    gone.append(victim)
                    snapshot.remove(uid(victim.pod))
                placement = cluster.assume(queued) if victims else None
            if placement is None:
                hopeless.add(alike)
                continue
            placements.append(placement)
            found.append((queued, Remedy(placement.node, tuple(victims))))
    finally:
        for placement in reversed(placements):
            cluster.take_back(placement)
        for pod in gone:
            snapshot.place(uid(pod.pod), pod.node, pod.usage, pod.resident, assumed=pod.assumed, pod=pod.pod)
    return found if len(found) >= needed and gone else []
