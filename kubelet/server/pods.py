"""What the server knows of this node's pods: where the API's and the runtime's views of them come from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from kubelet.pods import pod_spec
from kubelet.runtime import SandboxState


class Pods(Protocol):
    """The pods of this node by `namespace/name`, with their status; an informer is one."""

    def get(self, key: str) -> Object | None:
        """One pod."""

    def list(self) -> list[Object]:
        """All pods."""


def find_pod(pods: Pods, namespace: str, name: str, uid: str = "") -> Object:
    """The pod of this name, and of this uid if one is said. Raises ApiError 404."""
    pod = pods.get(f"{namespace}/{name}")
    if pod is None or (uid and pod["metadata"]["uid"] != uid):
        raise ApiError(404, "NotFound", f'pod "{name}" does not exist')
    return pod


def find(pods: Pods, namespace: str, name: str, container: str, uid: str = "") -> Object:
    """The pod that has this container. Raises ApiError 404."""
    pod = find_pod(pods, namespace, name, uid)
    if pod_spec.container(pod, container) is None:
        raise ApiError(404, "NotFound", f'container "{container}" not found in pod "{name}"')
    return pod


def listed(pods: Iterable[Object]) -> Object:
    """A PodList."""
    return {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": list(pods)}


def running(sandbox: SandboxState) -> Object:
    """A pod as the runtime knows it: who it is, and its containers that run."""
    spec = sandbox.spec
    names = [state.name for state in sandbox.containers if state.status == "running"]
    return {
        "metadata": {"name": spec.pod_name, "namespace": spec.pod_namespace, "uid": spec.pod_uid},
        "spec": {"containers": [{"name": name, "resources": {}} for name in names]},
        "status": {},
    }
