"""StatefulSets, their pods and what a pass makes of them, for tests of the decisions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apimachinery.meta import Object, deletion_requested, name
from apimachinery.resources import STATEFULSETS
from apimachinery.time import rfc3339
from controllers.controller_history import new_revision, with_revision
from controllers.stateful_set_identity import new_pod
from controllers.stateful_set_plan import Stages, View, plan_pods
from tests.support.workloads import EPOCH, metadata, template

NOW = EPOCH + 1000
OLD, NEW = "web-old", "web-new"


def stateful_set(replicas: int = 3, *, claims: Iterable[str] = (), **spec: Any) -> Object:
    """A StatefulSet, as the server defaults it; `rolling` are the fields of its rolling update."""
    rolling = {"partition": 0, "maxUnavailable": 1, **spec.pop("rolling", {})}
    size = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    defaults: Object = {
        "replicas": replicas,
        "serviceName": "peers",
        "selector": {"matchLabels": {"app": "web"}},
        "template": template(),
        "podManagementPolicy": "OrderedReady",
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": rolling},
        "revisionHistoryLimit": 10,
        "volumeClaimTemplates": [{"metadata": {"name": one}, "spec": size} for one in claims],
    }
    kind = {"apiVersion": "apps/v1", "kind": "StatefulSet"}
    return {**kind, "metadata": metadata("web", uid="set-uid"), "spec": {**defaults, **spec}}


def view(owner: Object, *, updating: bool = False, claims: Iterable[Object] = (), now: float = NOW) -> View:
    """The set as a pass sees it; while `updating`, its pods are to go from nginx:0 to what it says."""
    before = {**owner, "spec": {**owner["spec"], "template": template("nginx:0")}}
    old = with_revision(STATEFULSETS, owner, new_revision(STATEFULSETS, before, number=1))
    named = {name(claim): claim for claim in claims}
    if not updating:
        return View(owner, owner, NEW, NEW, named, now)
    return View(owner, old, OLD, NEW, named, now)


def member(owner: Object, number: int, *, revision: str = NEW, phase: str = "Running", **state: Any) -> Object:
    """A pod of the set, ready since long ago unless told otherwise (`ready=False`, `since=…`, `leaving=True`)."""
    pod = new_pod(owner, number, revision)
    pod["metadata"] |= {"uid": state.get("uid", f"uid-{number}-{revision}"), "resourceVersion": "1"}
    if state.get("leaving"):
        pod["metadata"]["deletionTimestamp"] = rfc3339(EPOCH)
    pod["status"] = {"phase": phase}
    if phase == "Running" and state.get("ready", True):
        stamp = rfc3339(state.get("since", EPOCH))
        pod["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": stamp}]
    return pod


def members(owner: Object, numbers: Iterable[int], **state: Any) -> list[Object]:
    """Pods of the set that all are alike."""
    return [member(owner, number, **state) for number in numbers]


def steps(stages: Stages) -> list[tuple[str, str]]:
    """What a pass does: (verb, pod), in its order."""
    return [(step.verb, name(step.pod)) for stage in stages for step in stage]


def does(owner: Object, pods: list[Object], **options: Any) -> list[tuple[str, str]]:
    """What a pass does for these pods."""
    return steps(plan_pods(view(owner, **options), pods))


def leaving(obj: Object) -> Object:
    """An object whose deletion was asked for."""
    assert not deletion_requested(obj)
    return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": rfc3339(EPOCH)}}
