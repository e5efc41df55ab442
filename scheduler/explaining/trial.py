"""What would become of a pod if its turn were now: one attempt by the scheduler's own rules, on a copy."""

from __future__ import annotations

from dataclasses import dataclass

from apimachinery.meta import Object, namespaced_key, uid
from scheduler.cluster import Cluster
from scheduler.diagnosis import Diagnosis


@dataclass(frozen=True, slots=True)
class Outcome:
    """The node that the pod would go to; or why to none, and whom it would have sent away from where."""

    node: str = ""
    message: str = ""
    room_on: str = ""
    victims: tuple[str, ...] = ()


def attempt(cluster: Cluster, pod: Object) -> Outcome | None:
    """The outcome for a pod without gates that is counted nowhere; None for one of a gang, which goes with others.

    The cluster is of no use for anything else afterwards.
    """
    cluster.pod_changed("ADDED", None, pod, now=0.0)
    waiting = cluster.queue.get(uid(pod))
    if waiting is None or waiting.pod_class.gang is not None:
        return None
    # Others that wait here are those for which room is being made: it stays theirs.
    while (queued := cluster.next_pod(0.0)) is not waiting:
        assert queued is not None, "the pod is due"
    found = cluster.place(waiting, 0.0)
    if not isinstance(found, Diagnosis):
        return Outcome(node=found.node)
    remedy = found.remedy
    if remedy is None or not remedy.victims:
        return Outcome(message=found.message)
    victims = tuple(namespaced_key(victim.pod) for victim in remedy.victims)
    return Outcome(message=found.message, room_on=remedy.node or "", victims=victims)
