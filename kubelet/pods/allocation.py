"""What a pod has been given of its node: the resources of its containers as they were last granted.

A pod that runs may ask for other resources (`pods/resize`). Until its node grants them, what it was given before is
what counts, for the node and for all that is read from the pod's spec here. What a pod was given at first stands in
the record of its sandbox; what it was given later in a file of its own, so that a new node agent goes by that and
not by a wish that nobody has granted yet.

Source: https://github.com/kubernetes/enhancements/tree/master/keps/sig-node/1287-in-place-update-pod-resources
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from apiclient.logs import kv
from apimachinery import quantity
from apimachinery.meta import Object
from kubelet import paths
from kubelet.pods import pod_spec
from kubelet.pods.pod_spec import Container
from kubelet.runtime import wire

logger = logging.getLogger(__name__)

KINDS = ("limits", "requests")

Resources = dict[str, Any]
Allocation = dict[str, Resources]


def of(pod: Object) -> Allocation:
    """What a pod's spec asks for, by the names of the containers that run for as long as it does."""
    return {container["name"]: _own(container) for container in _lasting(pod)}


def given(pod: Object, allocation: Mapping[str, Resources]) -> Object:
    """The pod with what it was given instead of what it asks for: the very same object where that is the same."""
    spec = pod["spec"]
    changed = {
        container["name"]: {**_others(container), **allocation[container["name"]]}
        for container in _lasting(pod)
        if container["name"] in allocation and not same(_own(container), allocation[container["name"]])
    }
    if not changed:
        return pod
    lists = {
        key: [
            {**entry, "resources": changed[entry["name"]]} if entry["name"] in changed else entry
            for entry in spec[key]
        ]
        for key in ("containers", "initContainers")
        if spec.get(key)
    }
    return {**pod, "spec": {**spec, **lists}}


def same(one: Resources, other: Resources) -> bool:
    """Whether two containers' resources are equal, however they are written."""
    return one == other or _amounts(one) == _amounts(other)


def differing(one: Allocation, other: Allocation) -> list[str]:
    """The containers that do not have the same in both."""
    return [name for name in other if not same(one.get(name, {}), other[name])]


class AllocationStore:
    """The allocations of pods that were resized, a file each."""

    def __init__(self, root: Path) -> None:
        self._folder = paths.allocations_dir(root)

    def read(self, pod_uid: str) -> Allocation | None:
        """What a pod was given by its last resize; None if it never was resized. Raises OSError."""
        path = self._folder / f"{pod_uid}.json"
        try:
            found: Allocation = orjson.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except orjson.JSONDecodeError as error:
            # The machine has crashed, and with it the pod's containers: they start with what the pod asks for now.
            logger.warning(kv("allocation unreadable", path=path, error=str(error)))
            return None
        return found

    def write(self, pod_uid: str, allocation: Allocation) -> None:
        """Remember what a pod is given; to be called before it is. Raises OSError."""
        self._folder.mkdir(exist_ok=True)
        wire.write_file_atomically(str(self._folder / f"{pod_uid}.json"), orjson.dumps(allocation))

    def remove(self, pod_uid: str) -> None:
        """The pod has ended; harmless if it never was resized."""
        (self._folder / f"{pod_uid}.json").unlink(missing_ok=True)


def _lasting(pod: Object) -> list[Container]:
    """Containers and sidecars: other init containers are gone before anybody could change them."""
    sidecars = [entry for entry in pod_spec.init_containers(pod) if entry.get("restartPolicy") == "Always"]
    return [*sidecars, *pod_spec.containers(pod)]


def _own(container: Container) -> Resources:
    resources = container.get("resources") or {}
    return {kind: resources[kind] for kind in KINDS if resources.get(kind)}


def _others(container: Container) -> Resources:
    return {key: value for key, value in (container.get("resources") or {}).items() if key not in KINDS}


def _amounts(resources: Resources) -> dict[str, dict[str, int]]:
    return {
        kind: {name: quantity.parse(value).nanos for name, value in (resources.get(kind) or {}).items()}
        for kind in KINDS
    }
