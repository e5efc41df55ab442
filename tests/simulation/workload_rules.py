"""What must hold of the pods of workloads: how many there are, how many stay available, and which come first."""

from __future__ import annotations

from collections.abc import Iterator

from apimachinery.meta import Object, get_path
from apimachinery.resources import DAEMONSETS, DEPLOYMENTS, JOBS, NODES, PODS, REPLICASETS, STATEFULSETS
from tests.simulation.observed import (
    STALE_SECONDS,
    Change,
    State,
    is_available,
    is_ready,
    key,
    lives,
    node_of,
    occupies,
    owner_uid,
    uid,
)

INDEX = "batch.kubernetes.io/job-completion-index"
DONE = {"Complete", "Failed", "SuccessCriteriaMet", "FailureTarget"}


def no_more_pods_than_wanted(state: State, change: Change) -> Iterator[str]:
    """A new pod is never one more than is wanted, nor than the surge allows."""
    if change.before is not None or change.after is None:
        return
    controller, workload = state.controller(change.after), state.workload(change.after)
    for one in (controller, workload if workload is not controller else None):
        if one is None:
            continue
        count = sum(map(lives, state.pods_of(one)))
        if one["kind"] == STATEFULSETS.kind:
            # Surplus pods go after those that are missing have come: what counts is the ordinal.
            count = int(key(change.after)[1].rpartition("-")[2]) + 1
        most = state.limit(one, change.time).pods_max
        if count > most:
            yield f"it is number {count} of {one['kind']} {key(one)[1]}, which wants {most} at most"


def no_two_for_one_place(state: State, change: Change) -> Iterator[str]:
    """An index of a Job has one pod at a time, a node one of a DaemonSet and another in its place."""
    if change.before is not None or change.after is None:
        return
    controller = state.controller(change.after)
    if controller is None:
        return
    others = [pod for pod in state.owned_by(uid(controller)) if lives(pod) and uid(pod) != uid(change.after)]
    doubtful = state.doubtful(change.time)
    index = _index(change.after)
    if index is not None and sum(_index(pod) == index for pod in others) > doubtful:
        yield f"index {index} of Job {key(controller)[1]} has a pod already"
    if controller["kind"] == DAEMONSETS.kind:
        node = node_of(change.after)
        if sum(node_of(pod) == node for pod in others) > 1 + doubtful:
            yield f"{node} has two pods of DaemonSet {key(controller)[1]} already"


def _index(pod: Object) -> str | None:
    found: str | None = get_path(pod, "metadata", "annotations", default={}).get(INDEX)
    return found


def jobs_that_are_done_get_no_pods(state: State, change: Change) -> Iterator[str]:
    """What a Job has told of its end holds."""
    if change.before is None and change.after is not None:
        controller = state.controller(change.after)
        if controller is not None and controller["kind"] == JOBS.kind:
            told = {one["type"] for one in get_path(controller, "status", "conditions", default=())}
            if told & DONE:
                yield f"it is for Job {key(controller)[1]}, which is done"


def no_fewer_pods_than_needed(state: State, change: Change) -> Iterator[str]:
    """When a controller has an available pod go, enough others stay available, as long as nothing fails by itself."""
    before, after = change.before, change.after
    if before is None or not is_available(before) or (after is not None and is_available(after)):
        return
    workload = state.workload(before)
    if uid(before) in state.evicted or uid(before) in state.deleted or not state.is_calm(change.time):
        return
    if workload is None or workload["kind"] not in (DEPLOYMENTS.kind, STATEFULSETS.kind, DAEMONSETS.kind):
        return
    if workload["metadata"].get("deletionTimestamp"):
        return
    # (What has just become ready, its controller may not know to be.)
    if change.time - state.ready_since.get(uid(before), change.time) < STALE_SECONDS:
        return
    available = [pod for pod in state.pods_of(workload) if is_available(pod)]
    if workload["kind"] == DAEMONSETS.kind:
        node = state.of(NODES).get(("", node_of(before)))
        selector = get_path(workload, "spec", "template", "spec", "nodeSelector", default={})
        if node is None or not selector.items() <= node["metadata"]["labels"].items():
            return  # it is not wanted there any more
        if any(node_of(pod) == node_of(before) for pod in available):
            return  # its node has another one, which was made to take its place
    left = len(available)
    least = state.limit(workload, change.time).available_min
    if left < least:
        yield f"{left} pods of {workload['kind']} {key(workload)[1]} stay available, of {least} at least"


def recreation_waits_for_the_end(state: State, change: Change) -> Iterator[str]:
    """A Deployment that recreates its pods has none of a new template while there is one of an old one."""
    if change.before is not None or change.after is None:
        return
    workload = state.workload(change.after)
    if workload is None or workload["kind"] != DEPLOYMENTS.kind or not state.limit(workload, change.time).recreates:
        return
    for pod in state.pods_of(workload):
        if owner_uid(pod) == owner_uid(change.after) or not occupies(pod):
            continue
        if change.time - state.made_at[uid(pod)] > STALE_SECONDS:
            yield f"{key(pod)[1]} is still there"


def stateful_pods_come_in_order(state: State, change: Change) -> Iterator[str]:
    """A pod of a StatefulSet that goes by order is made when all before it are ready."""
    if change.before is not None or change.after is None or not state.is_calm(change.time):
        return
    controller = state.controller(change.after)
    if controller is None or controller["spec"].get("podManagementPolicy") != "OrderedReady":
        return
    namespace, name = key(change.after)
    base, _, ordinal = name.rpartition("-")
    start = get_path(controller, "spec", "ordinals", "start", default=0)
    for number in range(start, int(ordinal)):
        pod = state.of(PODS).get((namespace, f"{base}-{number}"))
        if pod is None or not is_ready(pod):
            yield f"it was made before {base}-{number} was ready"


def revisions_are_of_deployments(state: State, change: Change) -> Iterator[str]:
    """No two ReplicaSets of a Deployment are for the same template."""
    if change.before is not None or change.after is None or owner_uid(change.after) is None:
        return
    for other in state.of(REPLICASETS).values():
        if owner_uid(other) != owner_uid(change.after) or uid(other) == uid(change.after):
            continue
        if other["spec"]["template"]["spec"] == change.after["spec"]["template"]["spec"]:
            yield f"{key(other)[1]} is for the same template"


RULES = (
    no_more_pods_than_wanted,
    no_two_for_one_place,
    jobs_that_are_done_get_no_pods,
    no_fewer_pods_than_needed,
    recreation_waits_for_the_end,
    stateful_pods_come_in_order,
)
