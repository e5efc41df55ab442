"""Stands in for nodes on which pods do not only begin but end, as a test wishes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, deletion_requested, get_path, name
from apimachinery.resources import PODS
from tests.support.manager import run_pod

# (phase, exit code) of a pod that ends, None for one that goes on.
Outcome = Callable[[Object], tuple[str, int] | None]


def succeed(pod: Object) -> tuple[str, int]:
    """The outcome of every pod is success."""
    return "Succeeded", 0


def stay(pod: Object) -> None:
    """No pod ends by itself."""
    return None


@asynccontextmanager
async def pods_end(client: Client, scope: str, outcome: Outcome) -> AsyncIterator[None]:
    """Stands in for nodes: every pod runs at once, and ends at once as `outcome` says, if it says anything."""

    async def serve() -> None:
        page = await client.list(PODS, scope)
        for pod in page["items"]:
            await _end(client, pod, outcome)
        version = page["metadata"]["resourceVersion"]
        while True:
            async for kind, pod in client.watch(PODS, scope, resource_version=version):
                version = pod["metadata"]["resourceVersion"]
                if kind in ("ADDED", "MODIFIED"):
                    await _end(client, pod, outcome)

    task = asyncio.create_task(serve())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _end(client: Client, pod: Object, outcome: Outcome) -> None:
    phase = get_path(pod, "status", "phase", default="Pending")
    if deletion_requested(pod):
        if phase in ("Pending", "Running"):
            await run_pod(client, pod)
        return
    end = outcome(pod)
    if end is None:
        await run_pod(client, pod)
    elif phase in ("Pending", "Running"):
        state = {"terminated": {"exitCode": end[1], "finishedAt": pod["metadata"]["creationTimestamp"]}}
        status = {"name": "c", "image": "i:1", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        patch = {"status": {"phase": end[0], "containerStatuses": [status]}}
        with contextlib.suppress(ApiError):  # it may be gone
            await client.patch(PODS, name(pod), patch, pod["metadata"]["namespace"], subresource="status")
