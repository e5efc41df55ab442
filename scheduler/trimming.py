"""What is kept of nodes and pods in memory: the fields that placing a pod, or telling of it, looks at."""

from __future__ import annotations

import sys
from functools import lru_cache

from apiclient.sharing import Sharing
from apimachinery.meta import Object, get_path

_METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "labels",
    "creationTimestamp",
    "deletionTimestamp",
)
_POD_SPEC = (
    "nodeName",
    "schedulerName",
    "priority",
    "preemptionPolicy",
    "schedulingGates",
    "nodeSelector",
    "affinity",
    "tolerations",
    "overhead",
    "resources",
    "workloadRef",
)
# Of a pod that waits only.
_SPREAD = ("topologySpreadConstraints",)
# Of a pod on a node: why it goes, and whether a resize of it is going on.
_CONDITIONS = frozenset(("DisruptionTarget", "PodResizePending", "PodResizeInProgress"))
_SHARED_METADATA = ("labels", "ownerReferences")
_SHARED_SPEC = ("containers", "initContainers", "nodeSelector", "affinity", "tolerations", *_SPREAD)
_SHARED_STATUS = ("conditions", "containerStatuses", "initContainerStatuses")
_OWNER = ("apiVersion", "kind", "name", "controller")
_POD_STATUS = ("phase", "conditions", "startTime", "nominatedNodeName")
_CONTAINER = ("name", "resources", "ports", "restartPolicy")
_CONTAINER_STATUS = ("name", "resources", "allocatedResources")
_CLAIM_VOLUME = ("name", "persistentVolumeClaim", "ephemeral")
_CLAIMS = frozenset(_CLAIM_VOLUME[1:])
_NODE_SPEC = ("taints", "unschedulable")
_NODE_STATUS = ("allocatable",)
IMAGES_SHARED_MAX = 4096


class PodTrimmer:
    """Trims pods, and keeps once what they have in common."""

    def __init__(self) -> None:
        self._sharing = Sharing()

    def trim(self, pod: Object) -> Object:
        """A pod as `trimmed_pod` has it."""
        trimmed, one = trimmed_pod(pod), self._sharing.one
        metadata, spec, status = trimmed["metadata"], trimmed["spec"], trimmed["status"]
        for part, fields in ((metadata, _SHARED_METADATA), (spec, _SHARED_SPEC), (status, _SHARED_STATUS)):
            for field in fields:
                if field in part:
                    part[field] = one(part[field])
        return trimmed


def trimmed_pod(pod: Object) -> Object:
    """A pod without what its node alone needs: images, commands, environment, probes, all volumes but claims."""
    spec, status = pod["spec"], pod.get("status") or {}
    kept = _kept(spec, _POD_SPEC)
    waits = not spec.get("nodeName")
    for field in ("containers", "initContainers"):
        if spec.get(field):
            kept[field] = [_container(container, waits=waits) for container in spec[field]]
    claims = [_kept(volume, _CLAIM_VOLUME) for volume in spec.get("volumes") or () if volume.keys() & _CLAIMS]
    if claims:
        kept["volumes"] = claims
    identity = _identity(pod)
    if waits:
        kept |= _kept(spec, _SPREAD)
        if owners := pod["metadata"].get("ownerReferences"):
            identity["metadata"]["ownerReferences"] = [_kept(owner, _OWNER) for owner in owners]
    told = _kept(status, _POD_STATUS)
    if "conditions" in told and not waits:
        told["conditions"] = [one for one in told["conditions"] or () if one["type"] in _CONDITIONS]
    for field in ("containerStatuses", "initContainerStatuses"):
        if status.get(field):
            told[field] = [_kept(entry, _CONTAINER_STATUS) for entry in status[field]]
    return {**identity, "spec": kept, "status": told}


def _container(container: Object, *, waits: bool) -> Object:
    kept = _kept(container, _CONTAINER)
    if waits and (image := container.get("image")):
        kept["image"] = sys.intern(image)
    return kept


def trimmed_node(node: Object) -> Object:
    """A node without what it reports of itself beyond its resources and images."""
    spec, status = node.get("spec") or {}, node.get("status") or {}
    told = _kept(status, _NODE_STATUS)
    if images := get_path(status, "images"):
        told["images"] = [_image(tuple(image.get("names") or ()), image.get("sizeBytes") or 0) for image in images]
    return {**_identity(node), "spec": _kept(spec, _NODE_SPEC), "status": told}


@lru_cache(maxsize=IMAGES_SHARED_MAX)
def _image(names: tuple[str, ...], size_bytes: int) -> Object:
    """An image of a node: one object for all nodes that have it."""
    return {"names": names, "sizeBytes": size_bytes}


def trimmed_storage(obj: Object) -> Object:
    """A claim, a volume or a class without who has set which of its fields."""
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "managedFields"}}


def trimmed_workload(workload: Object) -> Object:
    """A Workload: its name and its groups."""
    return {**_identity(workload), "spec": _kept(workload["spec"], ("podGroups",))}


def trimmed_group(obj: Object) -> Object:
    """A service, a controller or a namespace: its name, its labels and its selector."""
    return {**_identity(obj), "spec": _kept(obj.get("spec") or {}, ("selector",))}


def trimmed_budget(budget: Object) -> Object:
    """A budget of disruption: whom it means, and how many of them may go."""
    told = _kept(budget.get("status") or {}, ("disruptionsAllowed", "disruptedPods"))
    return {**trimmed_group(budget), "status": told}


def _identity(obj: Object) -> Object:
    return {
        "apiVersion": obj.get("apiVersion", "v1"),
        "kind": obj["kind"],
        "metadata": _kept(obj["metadata"], _METADATA),
    }


def _kept(values: Object, fields: tuple[str, ...]) -> Object:
    return {field: values[field] for field in fields if field in values}
