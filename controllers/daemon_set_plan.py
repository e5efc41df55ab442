"""The next step of a DaemonSet: which nodes get a pod, which pods go, and what the status says; pure.

First every node gets what it should have (`plan_nodes`); only where that leaves nothing to do is the next part of a
rolling update due (`plan_rollout`), within `maxUnavailable`, or within `maxSurge` where the new pod comes before the
old one goes.

Source: https://kubernetes.io/docs/tasks/manage-daemon/update-daemon-set/
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from apimachinery.meta import Object, deletion_requested, get_path, labels, name
from controllers.daemon_set_nodes import HASH_LABEL, Places, is_updated
from controllers.pods import created, is_finished, is_ready, node_name, seconds_until_available

HISTORY_LIMIT = 10

PodsByNode = Mapping[str, Sequence[Object]]


@dataclass(slots=True)
class Step:
    """Nodes that get a pod, pods that go, and pods that have ended and go, each after its backoff."""

    create: list[str] = field(default_factory=list)
    delete: list[Object] = field(default_factory=list)
    finished: list[Object] = field(default_factory=list)


def surge_and_unavailable(daemon_set: Object, desired: int) -> tuple[int, int]:
    """(maxSurge, maxUnavailable) in pods, percentages rounded up; both 0 would never get anywhere."""
    rolling = get_path(daemon_set, "spec", "updateStrategy", "rollingUpdate", default={})
    surge = scaled_up(rolling.get("maxSurge", 0), desired)
    unavailable = scaled_up(rolling.get("maxUnavailable", 1), desired)
    return surge, unavailable if surge or unavailable else 1


def scaled_up(value: int | str, base: int) -> int:
    """A number as it is, a percentage of `base` rounded up."""
    return value if isinstance(value, int) else -(-int(value.removesuffix("%")) * base // 100)


def is_rolling(daemon_set: Object) -> bool:
    """True unless pods are replaced only when somebody deletes them (OnDelete)."""
    return bool(get_path(daemon_set, "spec", "updateStrategy", "type", default="RollingUpdate") == "RollingUpdate")


def allows_surge(daemon_set: Object) -> bool:
    """True if a node may have an old and a new pod for a while."""
    surge = get_path(daemon_set, "spec", "updateStrategy", "rollingUpdate", "maxSurge", default=0)
    return is_rolling(daemon_set) and surge not in (0, "0%")


def is_available(daemon_set: Object, pod: Object, now: float) -> bool:
    """True if the pod has been ready for `minReadySeconds`."""
    return seconds_until_available(pod, get_path(daemon_set, "spec", "minReadySeconds", default=0), now) == 0


def plan_nodes(daemon_set: Object, places: Places, pods: PodsByNode, digest: str, now: float) -> Step:
    """What every node needs to have one pod where one belongs, and none elsewhere."""
    step, surging = Step(), allows_surge(daemon_set)
    for node, (should_run, may_go_on) in places.items():
        here = pods.get(node)
        if here is None:
            if should_run:
                step.create.append(node)
        elif not may_go_on:
            step.delete += (pod for pod in here if not deletion_requested(pod))
        else:
            staying = [pod for pod in here if not deletion_requested(pod)]
            step.finished += filter(is_finished, staying)
            running = _by_seniority([pod for pod in staying if not is_finished(pod)])
            if not surging:
                step.delete += running[1:]
            elif len(running) > 1:
                step.delete += _outlived(daemon_set, running, digest, now)
            elif not running and should_run:
                # Who may surge does not wait for the pod that is on its way out.
                step.create.append(node)
    # Nobody else deletes what waits for a node that is gone: it was never bound.
    gone = (pod for node, waiting in sorted(pods.items()) if node not in places for pod in waiting)
    step.delete += (pod for pod in gone if not node_name(pod) and not deletion_requested(pod))
    return step


def _by_seniority(pods: Sequence[Object]) -> Sequence[Object]:
    return sorted(pods, key=_seniority) if len(pods) > 1 else pods


def _seniority(pod: Object) -> tuple[Any, ...]:
    """Smaller stays: bound, old."""
    return not node_name(pod), created(pod), name(pod)


def _outlived(daemon_set: Object, running: Sequence[Object], digest: str, now: float) -> list[Object]:
    """Of the pods of one node all but the oldest new and the oldest old one; that one too once it is of no use."""
    new = [pod for pod in running if is_updated(pod, daemon_set, digest)]
    old = [pod for pod in running if not is_updated(pod, daemon_set, digest)]
    surplus = [*new[1:], *old[1:]]
    if new and old and (not is_ready(old[0]) or is_available(daemon_set, new[0], now)):
        surplus.append(old[0])
    return surplus


def plan_rollout(daemon_set: Object, places: Places, pods: PodsByNode, digest: str, now: float) -> Step:
    """The next part of a rolling update, where every node has what it should have."""
    wanted = {node for node, (should_run, _) in places.items() if should_run}
    surge, unavailable = surge_and_unavailable(daemon_set, len(wanted))
    everywhere = sorted(wanted | pods.keys())
    views = [(node, *_new_and_old(daemon_set, pods.get(node, ()), digest)) for node in everywhere]
    if surge:
        return _surge(daemon_set, views, wanted, surge, now)
    return _replace(daemon_set, views, unavailable, now)


View = tuple[str, list[Object], list[Object]]


def _new_and_old(daemon_set: Object, pods: Sequence[Object], digest: str) -> tuple[list[Object], list[Object]]:
    new: list[Object] = []
    old: list[Object] = []
    for pod in pods:
        if not deletion_requested(pod):
            (new if is_updated(pod, daemon_set, digest) else old).append(pod)
    return new, old


def _replace(daemon_set: Object, views: Iterable[View], unavailable: int, now: float) -> Step:
    """Old pods go: those that are of no use at once, as many others as may be unavailable."""
    missing, useless, candidates = 0, [], []
    for _, new, old in views:
        if (len(new), len(old)) == (0, 1):
            if is_available(daemon_set, old[0], now):
                candidates.append(old[0])
            else:
                useless.append(old[0])
                missing += 1
        elif not ((len(new), len(old)) == (1, 0) and is_available(daemon_set, new[0], now)):
            missing += 1
    return Step(delete=[*useless, *candidates[: max(0, unavailable - missing)]])


def _surge(daemon_set: Object, views: Iterable[View], wanted: Collection[str], surge: int, now: float) -> Step:
    """New pods come beside old ones: beside those that are of no use at once, beside `surge` others at a time."""
    step = Step()
    surging = available = 0
    candidates: list[str] = []
    misplaced: list[Object] = []
    for node, new, old in views:
        if len(new) > 1 or len(old) > 1:
            surging += 1
            continue
        useful = any(is_available(daemon_set, pod, now) for pod in old or new)
        available += useful
        if not old:
            continue
        if new:
            if is_available(daemon_set, new[0], now):
                step.delete.append(old[0])
            else:
                surging += 1
        elif node in wanted:
            (candidates if useful else step.create).append(node)
        else:
            (misplaced if useful else step.delete).append(old[0])
    # A pod whose node should not have it any more serves until there are enough others.
    step.delete += misplaced[: max(0, available - len(wanted))]
    step.create += candidates[: max(0, surge - surging)]
    return step


def plan_status(daemon_set: Object, places: Places, pods: PodsByNode, digest: str, now: float) -> Object:
    """The status that tells of these pods: of each node the senior one counts."""
    desired = misscheduled = 0
    seniors = []
    for node, (should_run, _) in places.items():
        here = pods.get(node)
        if should_run:
            desired += 1
            if here:
                seniors.append(_by_seniority(here)[0])
        elif here:
            misscheduled += 1
    available = sum(is_available(daemon_set, pod, now) for pod in seniors)
    status: Object = {
        "currentNumberScheduled": len(seniors),
        "numberMisscheduled": misscheduled,
        "desiredNumberScheduled": desired,
        "numberReady": sum(map(is_ready, seniors)),
        "updatedNumberScheduled": sum(is_updated(pod, daemon_set, digest) for pod in seniors),
        "numberAvailable": available,
        "numberUnavailable": desired - available,
        "observedGeneration": daemon_set["metadata"].get("generation", 0),
    }
    known = daemon_set.get("status") or {}
    return {**{key: known[key] for key in ("collisionCount", "conditions") if key in known}, **status}


def seconds_to_next_availability(daemon_set: Object, pods: Iterable[Object], now: float) -> float | None:
    """When the next ready pod will have been ready for `minReadySeconds`; None if none is waiting for that."""
    min_ready = get_path(daemon_set, "spec", "minReadySeconds", default=0)
    waits = (seconds_until_available(pod, min_ready, now) for pod in pods)
    return min((wait for wait in waits if wait), default=None)


def outlived(daemon_set: Object, old: Sequence[Object], live: Collection[str]) -> list[Object]:
    """Of the revisions of earlier templates, oldest first, those beyond the limit; none whose hash a pod has."""
    surplus = len(old) - int(get_path(daemon_set, "spec", "revisionHistoryLimit", default=HISTORY_LIMIT))
    return [one for one in old if revision_hash(one) not in live][: max(0, surplus)]


def revision_hash(revision: Object) -> str:
    """The hash that a revision's pods are labelled with; its name, if it has none."""
    return labels(revision).get(HASH_LABEL) or name(revision)
