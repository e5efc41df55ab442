"""Small factories for the objects that control loops work on."""

from __future__ import annotations

import itertools
from typing import Any

from apimachinery.meta import Object
from apimachinery.time import rfc3339

EPOCH = 1_800_000_000.0
_numbers = itertools.count(1)


def metadata(name: str, namespace: str | None = "default", **more: Any) -> Object:
    """The metadata of an object that a server has stored; each has a uid of its own."""
    number = next(_numbers)
    found = {"name": name, "uid": f"uid-{number}", "resourceVersion": str(number), "generation": 1}
    found |= {"creationTimestamp": rfc3339(EPOCH)}
    return {**found, **({"namespace": namespace} if namespace else {}), **more}


def template(image: str = "nginx:1", app: str = "web") -> Object:
    """A pod template."""
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": image}]}}


def deployment(name: str = "web", *, replicas: int = 3, image: str = "nginx:1", **spec: Any) -> Object:
    """A Deployment, as the server defaults it."""
    rolling = {"maxSurge": spec.pop("max_surge", "25%"), "maxUnavailable": spec.pop("max_unavailable", "25%")}
    defaults: Object = {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(image),
        "strategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }
    kind = {"apiVersion": "apps/v1", "kind": "Deployment"}
    return {**kind, "metadata": metadata(name), "spec": {**defaults, **spec}}


def replica_set(
    name: str = "web-1",
    *,
    replicas: int = 3,
    available: int | None = None,
    image: str = "nginx:1",
    created: float = EPOCH,
    **meta: Any,
) -> Object:
    """A ReplicaSet all of whose pods exist; `available` of them (all, unless told) are available."""
    up = replicas if available is None else available
    found = metadata(name, creationTimestamp=rfc3339(created), **meta)
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "template": template(image)}
    status = {"replicas": replicas, "readyReplicas": up, "availableReplicas": up, "observedGeneration": 1}
    return {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": found, "spec": spec, "status": status}


def pod(
    name: str = "web-1-a",
    *,
    node: str = "",
    phase: str = "Pending",
    ready_since: float | None = None,
    restarts: int = 0,
    **meta: Any,
) -> Object:
    """A pod."""
    found = metadata(name, **{"labels": {"app": "web"}, **meta})
    status: Object = {"phase": phase}
    if ready_since is not None:
        status["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(ready_since)}]
    if restarts:
        status["containerStatuses"] = [{"name": "c", "restartCount": restarts}]
    spec: Object = {"containers": [{"name": "c", "image": "nginx:1"}]}
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": found, "spec": spec, "status": status}


def owned_by(obj: Object, owner: Object, *, block: bool = True, controller: bool = True) -> Object:
    """The object with a reference to its owner."""
    reference = {key: owner["metadata"][key] for key in ("name", "uid")}
    reference |= {"apiVersion": owner["apiVersion"], "kind": owner["kind"]}
    reference |= {"controller": controller, "blockOwnerDeletion": block}
    known = obj["metadata"].get("ownerReferences", [])
    return {**obj, "metadata": {**obj["metadata"], "ownerReferences": [*known, reference]}}


def node(name: str = "node-1", *, ready: str | None = "True", heartbeat: float = EPOCH, **spec: Any) -> Object:
    """A node whose agent has posted its conditions, unless `ready` is None."""
    conditions = []
    if ready is not None:
        stamp = rfc3339(heartbeat)
        for kind, status in (("Ready", ready), ("MemoryPressure", "False"), ("DiskPressure", "False")):
            told = {"lastHeartbeatTime": stamp, "lastTransitionTime": stamp, "reason": "Kubelet", "message": ""}
            conditions.append({"type": kind, "status": status, **told})
    found = metadata(name, None)
    return {"apiVersion": "v1", "kind": "Node", "metadata": found, "spec": spec, "status": {"conditions": conditions}}
