"""What the server knows of this node's pods: where the API's and the runtime's views of them come from."""

from __future__ import annotations

from typing import Protocol

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from kubelet.pods import pod_spec


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
