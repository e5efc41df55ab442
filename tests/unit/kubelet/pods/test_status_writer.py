"""Statuses reach the API server: only changes, the newest last, and until it has them."""

from __future__ import annotations

import asyncio
from typing import Any

from apimachinery.errors import ApiError, not_found
from kubelet.pods.status_writer import StatusWriter, patch_for
from tests.support.clock import ManualClock
from tests.support.pods import UID, pod

RUNNING = {"phase": "Running", "podIP": "10.0.0.2", "podIPs": [{"ip": "10.0.0.2"}]}


class FakeApi:
    """Applies status patches as the API server does, one at a time and only when let."""

    def __init__(self) -> None:
        self.pod = pod()
        self.patches: list[dict[str, Any]] = []
        self.failures: list[ApiError] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def patch(self, resource: Any, name: str, body: dict[str, Any], namespace: str, **how: Any) -> Any:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.patches.append(body["status"])
        version = str(int(self.pod["metadata"]["resourceVersion"]) + 1)
        metadata = {**self.pod["metadata"], "resourceVersion": version}
        self.pod = {**self.pod, "metadata": metadata, "status": {**self.pod["status"], **body["status"]}}
        return self.pod


async def test_a_status_that_does_not_change_is_written_once() -> None:
    api = FakeApi()
    async with asyncio.TaskGroup() as group:
        writer = StatusWriter(api, lambda uid: api.pod, group, ManualClock())  # type: ignore[arg-type]
        for _ in range(3):
            writer.set(api.pod, RUNNING)
            await writer.settled(UID)
    assert len(api.patches) == 1
    assert api.patches[0]["phase"] == "Running"


async def test_changes_during_a_write_are_written_together_afterwards() -> None:
    api = FakeApi()
    api.gate.clear()
    async with asyncio.TaskGroup() as group:
        writer = StatusWriter(api, lambda uid: api.pod, group, ManualClock())  # type: ignore[arg-type]
        writer.set(api.pod, {"phase": "Pending", "message": "one"})
        await asyncio.sleep(0)
        writer.set(api.pod, {"phase": "Pending", "message": "two"})
        writer.set(api.pod, {"phase": "Running", "message": "three"})
        api.gate.set()
        await writer.settled(UID)
    assert [patch["message"] for patch in api.patches] == ["one", "three"]


async def test_a_write_is_repeated_until_it_succeeds() -> None:
    api = FakeApi()
    clock = ManualClock()
    api.failures = [ApiError(503, "ServiceUnavailable", "away") for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        writer = StatusWriter(api, lambda uid: api.pod, group, clock)  # type: ignore[arg-type]
        writer.set(api.pod, RUNNING)
        await clock.run_until(lambda: bool(api.patches))
        await writer.settled(UID)


async def test_a_status_that_the_server_refuses_is_not_waited_for() -> None:
    api = FakeApi()
    api.failures = [ApiError(422, "Invalid", "nonsense")]
    async with asyncio.TaskGroup() as group:
        writer = StatusWriter(api, lambda uid: api.pod, group, ManualClock())  # type: ignore[arg-type]
        writer.set(api.pod, {"phase": "Nonsense"})
        await writer.settled(UID)
        writer.set(api.pod, RUNNING)
        await writer.settled(UID)
    assert [patch["phase"] for patch in api.patches] == ["Running"]


async def test_a_pod_that_is_gone_is_let_go() -> None:
    api = FakeApi()
    api.failures = [not_found("pods", "web")]
    async with asyncio.TaskGroup() as group:
        writer = StatusWriter(api, lambda uid: None, group, ManualClock())  # type: ignore[arg-type]
        writer.set(api.pod, RUNNING)
        await writer.settled(UID)
    assert api.patches == []


def test_only_what_changed_is_sent_and_only_of_ones_own_conditions() -> None:
    ready = {"type": "Ready", "status": "True"}
    other = {"type": "DisruptionTarget", "status": "True"}
    old = {"phase": "Pending", "startTime": "t", "nominatedNodeName": "x", "conditions": [other, ready]}
    new = {"phase": "Running", "startTime": "t", "conditions": [ready, {"type": "Initialized", "status": "True"}]}
    assert patch_for(old, new) == {"phase": "Running", "conditions": [{"type": "Initialized", "status": "True"}]}
    assert patch_for(new, new) is None


def test_what_a_condition_does_not_say_any_more_is_removed_from_it() -> None:
    old = {"conditions": [{"type": "Ready", "status": "False", "message": "not yet"}]}
    patch = patch_for(old, {"conditions": [{"type": "Ready", "status": "True"}]})
    assert patch == {"conditions": [{"type": "Ready", "status": "True", "message": None}]}


def test_an_address_that_changes_replaces_the_old_one() -> None:
    old = {"podIPs": [{"ip": "10.0.0.1"}]}
    assert patch_for(old, {"podIPs": [{"ip": "10.0.0.2"}]}) == {"podIPs": [{"$patch": "replace"}, {"ip": "10.0.0.2"}]}


def test_a_field_that_is_no_more_is_removed() -> None:
    assert patch_for({"reason": "Evicted", "podIP": "10.0.0.1"}, {"podIP": "10.0.0.1"}) == {"reason": None}


async def test_a_condition_that_the_api_still_lacks_keeps_its_time() -> None:
    def ready(time: str, **fields: Any) -> dict[str, Any]:
        return {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": time}], **fields}

    api = FakeApi()
    stale = pod()
    async with asyncio.TaskGroup() as group:
        writer = StatusWriter(api, lambda uid: stale, group, ManualClock())  # type: ignore[arg-type]
        writer.set(stale, ready("2020-01-01T00:00:00Z"))
        writer.set(stale, ready("2020-01-01T00:00:01Z", phase="Pending"))
        await writer.settled(UID)
    assert [entry["lastTransitionTime"] for entry in api.pod["status"]["conditions"]] == ["2020-01-01T00:00:00Z"]


def test_a_condition_field_that_says_nothing_is_no_change() -> None:
    known = {"type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    assert patch_for({"conditions": [known]}, {"conditions": [{**known, "lastProbeTime": None}]}) is None
