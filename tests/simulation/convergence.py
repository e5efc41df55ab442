"""What a cluster comes to when nothing goes wrong any more: all that was asked for is there, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from apimachinery.meta import Object, find_condition, get_path
from apimachinery.quantity import milli_value
from apimachinery.resources import (
    DAEMONSETS,
    DEPLOYMENTS,
    JOBS,
    NODES,
    PODS,
    REPLICASETS,
    STATEFULSETS,
)
from tests.simulation.node import Machine
from tests.simulation.observed import ENDED, State, cpu, is_ready, key, lives, occupies, owner_uid, uid
from tests.simulation.users import LIMITED


def unfinished(state: State, machines: Mapping[str, Machine]) -> Iterator[str]:
    """What is still to be done, in words."""
    yield from _nodes(state)
    yield from _leftovers(state)
    waiting = {uid(pod) for pod in state.of(PODS).values() if not get_path(pod, "spec", "nodeName")}
    for pod in state.of(PODS).values():
        if uid(pod) in waiting:
            if fitting := [node for node in state.of(NODES).values() if _fits(state, pod, node)]:
                yield f"pod {key(pod)} waits, and fits {key(fitting[0])[1]}"
        elif get_path(pod, "status", "phase") not in ENDED and not is_ready(pod):
            yield f"pod {key(pod)} is not ready"
    for resource in (DEPLOYMENTS, REPLICASETS, STATEFULSETS, DAEMONSETS):
        for one in state.of(resource).values():
            if one["metadata"].get("generation") != get_path(one, "status", "observedGeneration"):
                yield f"{one['kind']} {key(one)} was not looked at"
            elif key(one)[0] != LIMITED:
                yield from _workload(state, one, waiting)
    for job in state.of(JOBS).values():
        yield from _job(state, job, waiting)
    for machine in machines.values():
        for identity, running in machine.running.items():
            if not any(uid(pod) == identity for pod in state.of(PODS).values()):
                yield f"{running.key} runs on {machine.name}, and is gone"


def _nodes(state: State) -> Iterator[str]:
    for node in state.of(NODES).values():
        if not is_ready(node) or get_path(node, "spec", "taints"):
            yield f"node {key(node)[1]} is not ready: {get_path(node, 'spec', 'taints')}"


def _leftovers(state: State) -> Iterator[str]:
    everything = {uid(obj) for objects in state.objects.values() for obj in objects.values()}
    for resource, objects in state.objects.items():
        if resource == "core/events":
            continue
        for obj in objects.values():
            if obj["metadata"].get("deletionTimestamp"):
                yield f"{resource} {key(obj)} is to be deleted"
            owners = obj["metadata"].get("ownerReferences") or ()
            if owners and not any(owner["uid"] in everything for owner in owners):
                yield f"{resource} {key(obj)} has lost its owners"


def _fits(state: State, pod: Object, node: Object) -> bool:
    wanted = get_path(pod, "spec", "nodeSelector", default={})
    affinity = get_path(pod, "spec", "affinity", "nodeAffinity")
    if affinity and key(node)[1] not in str(affinity):
        return False  # a DaemonSet's pod, which is for another node
    there = [
        one for one in state.of(PODS).values() if get_path(one, "spec", "nodeName") == key(node)[1] and occupies(one)
    ]
    allocatable = node["status"]["allocatable"]
    return (
        wanted.items() <= node["metadata"]["labels"].items()
        and sum(map(cpu, there)) + cpu(pod) <= milli_value(allocatable["cpu"])
        and len(there) < int(allocatable["pods"])
    )


def _workload(state: State, one: Object, waiting: set[str]) -> Iterator[str]:
    kind, status = one["kind"], one.get("status") or {}
    if kind == DEPLOYMENTS.kind:
        sets = {uid(each) for each in state.of(REPLICASETS).values() if owner_uid(each) == uid(one)}
        pods = [pod for pod in state.of(PODS).values() if owner_uid(pod) in sets]
    else:
        pods = state.owned_by(uid(one))
    if any(uid(pod) in waiting for pod in pods):
        return  # there is no room for all of them
    there = sum(map(lives, pods))
    if kind == DAEMONSETS.kind:
        selector = get_path(one, "spec", "template", "spec", "nodeSelector", default={})
        wanted = sum(selector.items() <= node["metadata"]["labels"].items() for node in state.of(NODES).values())
        told = {"desiredNumberScheduled": wanted, "numberReady": wanted, "updatedNumberScheduled": wanted}
    else:
        wanted = one["spec"].get("replicas", 1)
        told = {"replicas": wanted, "readyReplicas": wanted, "availableReplicas": wanted}
    if kind == DEPLOYMENTS.kind:
        told["updatedReplicas"] = wanted
    if kind == STATEFULSETS.kind and not get_path(one, "spec", "updateStrategy", "rollingUpdate", "partition"):
        told["updatedReplicas"] = wanted
    if there != wanted:
        yield f"{kind} {key(one)} has {there} pods of {wanted}"
    wrong = {name: status.get(name, 0) for name, value in told.items() if status.get(name, 0) != value}
    if wrong:
        yield f"{kind} {key(one)} tells {wrong} of {wanted}"


def _job(state: State, job: Object, waiting: set[str]) -> Iterator[str]:
    pods = state.owned_by(uid(job))
    if job["spec"].get("suspend"):
        if any(map(lives, pods)):
            yield f"Job {key(job)} is suspended, and has pods that run"
        return
    done = any((find_condition(job, kind) or {}).get("status") == "True" for kind in ("Complete", "Failed"))
    blocked = key(job)[0] == LIMITED or any(uid(pod) in waiting for pod in pods)
    if not done and not blocked:
        yield f"Job {key(job)} is not done: {job.get('status')}"
    if done and get_path(job, "status", "uncountedTerminatedPods"):
        yield f"Job {key(job)} is done, and has pods that it has not counted"
