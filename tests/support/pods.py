"""Small factories for pods, their containers and what a runtime knows of them."""

from __future__ import annotations

from typing import Any

from kubelet.runtime import ContainerState

NOW = 1_800_000_000.0
UID = "5ad1c5d1-0000-4000-8000-000000000001"


def container(name: str = "web", **fields: Any) -> dict[str, Any]:
    """A container that sleeps, from the node's own image."""
    return {
        "name": name,
        "image": "localhost/host",
        "command": ["sleep", "1000"],
        "imagePullPolicy": "IfNotPresent",
        "terminationMessagePath": "/dev/termination-log",
        **fields,
    }


def pod(*containers: dict[str, Any], name: str = "web", uid: str = UID, **spec: Any) -> dict[str, Any]:
    """A pod as the API server would have it, with defaults set; more of its spec as keywords."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": uid, "generation": 1, "resourceVersion": "10"},
        "spec": {
            "nodeName": "node-1",
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "containers": list(containers) or [container()],
            **spec,
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def running(name: str = "web", attempt: int = 0, *, since: float = NOW - 60) -> ContainerState:
    """A container's run that goes on."""
    return ContainerState(
        id=f"{name}-{attempt}", name=name, attempt=attempt, status="running", pid=100, started_at=since
    )


def exited(
    code: int,
    name: str = "web",
    attempt: int = 0,
    *,
    since: float = NOW - 60,
    at: float = NOW - 1,
    oom_killed: bool = False,
    error: str = "",
) -> ContainerState:
    """A container's run that has ended."""
    return ContainerState(
        id=f"{name}-{attempt}",
        name=name,
        attempt=attempt,
        status="exited",
        started_at=since,
        finished_at=at,
        exit_code=code,
        oom_killed=oom_killed,
        error=error,
    )
