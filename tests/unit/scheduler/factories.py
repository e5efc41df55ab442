"""Small nodes and pods for the scheduler's tests, and a cluster to put them in."""

from __future__ import annotations

import itertools
import random
from typing import Any

from apimachinery.meta import Object
from scheduler.cluster import Cluster, Placement
from scheduler.diagnosis import Diagnosis
from scheduler.plugins import default_profile

_versions = itertools.count(1)


def make_node(
    name: str,
    *,
    cpu: str | int = "4",
    memory: str = "8Gi",
    pods: int = 110,
    labels: dict[str, str] | None = None,
    taints: list[dict[str, str]] | None = None,
    unschedulable: bool = False,
    **extended: str,
) -> Object:
    """A node; further keyword arguments are resources, `_` standing for `-` and `__` for `/`."""
    allocatable = {"cpu": str(cpu), "memory": memory, "ephemeral-storage": "100Gi", "pods": str(pods)}
    allocatable |= {key.replace("__", "/").replace("_", "-"): value for key, value in extended.items()}
    spec: Object = {}
    if taints:
        spec["taints"] = taints
    if unschedulable:
        spec["unschedulable"] = True
    metadata = {"name": name, "uid": f"node-{name}", "resourceVersion": str(next(_versions)), "labels": labels or {}}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": metadata,
        "spec": spec,
        "status": {"allocatable": allocatable},
    }


def container(name: str = "app", *, requests: dict[str, str] | None = None, **fields: Any) -> Object:
    """A container with these requests."""
    return {"name": name, "image": "x", **({"resources": {"requests": requests}} if requests else {}), **fields}


def make_pod(
    name: str = "pod",
    *,
    namespace: str = "default",
    cpu: str | None = None,
    memory: str | None = None,
    ports: list[int] | None = None,
    node: str | None = None,
    phase: str = "Pending",
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    """A pod with one container; further keyword arguments are fields of its spec."""
    requests = {key: value for key, value in (("cpu", cpu), ("memory", memory)) if value is not None}
    app = container(requests=requests)
    if ports:
        app["ports"] = [{"containerPort": port, "hostPort": port} for port in ports]
    metadata = {
        "name": name,
        "namespace": namespace,
        "uid": f"uid-{namespace}-{name}",
        "resourceVersion": str(next(_versions)),
        "labels": labels or {},
    }
    filled = {"containers": [app], "schedulerName": "default-scheduler", **spec}
    if node is not None:
        filled["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": filled, "status": {"phase": phase}}


def make_cluster(*nodes: Object, seed: int = 1) -> Cluster:
    """A cluster of these nodes."""
    cluster = Cluster(default_profile(), rng=random.Random(seed))
    for node in nodes:
        add_node(cluster, node)
    return cluster


def add_node(cluster: Cluster, node: Object) -> None:
    """Tell the cluster of a node that is new or has changed."""
    cluster.node_changed("ADDED", None, node)


def add_pod(cluster: Cluster, pod: Object, *, now: float = 0.0) -> None:
    """Tell the cluster of a pod that is new or has changed."""
    cluster.pod_changed("ADDED", None, pod, now=now)


def delete_pod(cluster: Cluster, pod: Object, *, now: float = 0.0) -> None:
    """Tell the cluster that a pod is gone."""
    cluster.pod_changed("DELETED", pod, None, now=now)


def place_next(cluster: Cluster, *, now: float = 0.0) -> Placement | Diagnosis | None:
    """Place the pod whose turn it is; None if no pod is due."""
    queued = cluster.next_pod(now)
    return None if queued is None else cluster.place(queued, now)


def place(cluster: Cluster, pod: Object, *, now: float = 0.0) -> str:
    """Place this pod at once: the node's name, or the message that says why none takes it as things are."""
    add_pod(cluster, pod, now=now)
    found = place_next(cluster, now=now)
    assert found is not None, "the pod was not due"
    return found.node if isinstance(found, Placement) else found.message.partition(" preemption: ")[0]


def bind(cluster: Cluster, placement: Placement) -> Object:
    """Let the API server take a placement, and the watch tell of it."""
    pod = placement.queued.pod
    assigned = {**pod, "spec": {**pod["spec"], "nodeName": placement.node}}
    cluster.bound(placement, 0.0)
    add_pod(cluster, assigned)
    return assigned
