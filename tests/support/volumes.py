"""Pods that say what they see of their volumes, and that are refused them."""

from __future__ import annotations

import base64
from typing import Any

from apimachinery.meta import Object, get_path
from tests.support.node import Node

FOREVER = "exec sleep 1000"


def shell(script: str, name: str = "web", **fields: Any) -> dict[str, Any]:
    """A container of the node's own image that runs a script and ends at once when it is told to."""
    trapped = f"trap 'exit 0' TERM; {script.replace(FOREVER, 'sleep 1000 & wait')}"
    return {"name": name, "image": "localhost/host", "command": ["sh", "-c", trapped], **fields}


def mount(name: str, path: str, **fields: Any) -> dict[str, Any]:
    """One of a container's volumeMounts."""
    return {"name": name, "mountPath": path, **fields}


async def said(here: Node, name: str, *containers: dict[str, Any], **spec: Any) -> list[str]:
    """What the last container of a pod writes until its end."""
    await here.create(name, *containers, restartPolicy="Never", **spec)
    pod = await here.phase(name, "Succeeded")
    return here.output(pod, containers[-1]["name"]).splitlines()


async def refused(here: Node, name: str, *containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """How a pod's container waits whose volumes can't be mounted; the pod is gone afterwards."""
    await here.create(name, *containers, **spec)

    def waiting(pod: Object) -> Any:
        entries = get_path(pod, "status", "containerStatuses", default=[])
        return [
            found for entry in entries if (found := get_path(entry, "state", "waiting", default={})).get("message")
        ]

    pod = await here.wait_for(name, waiting)
    await here.delete(name, grace_period_seconds=0)
    found: dict[str, Any] = waiting(pod)[0]
    return found


async def put(here: Node, resource: Any, name: str, **fields: Any) -> None:
    """Create an object in namespace default."""
    await here.client.create(resource, {"metadata": {"name": name}, **fields}, "default")


def restarts(pod: Object) -> int:
    """How often a pod's containers have been restarted."""
    entries = get_path(pod, "status", "containerStatuses", default=[])
    return sum(entry["restartCount"] for entry in entries)


def text(secret: str) -> str:
    """A value as Secrets hold it."""
    return base64.b64encode(secret.encode()).decode()
