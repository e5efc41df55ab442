"""The event recorder: the same event is counted on, and no object floods the cluster."""

from __future__ import annotations

import asyncio
from typing import Any

from apiclient.clock import SystemClock
from apiclient.events import BURST_EVENTS, SECONDS_PER_EVENT, EventRecorder
from apimachinery.meta import Object


class Sink:
    """Keeps the events that are sent."""

    def __init__(self) -> None:
        self.created: asyncio.Queue[Object] = asyncio.Queue()

    async def create(self, resource: Any, obj: Object, namespace: str) -> Object:
        self.created.put_nowait(obj)
        return obj


class MovableClock(SystemClock):
    """Monotonic time stands still until it is moved."""

    def __init__(self) -> None:
        self.time = 1000.0

    def monotonic(self) -> float:
        return self.time


REPLICA_SET = {
    "apiVersion": "apps/v1",
    "kind": "ReplicaSet",
    "metadata": {"name": "web", "namespace": "default", "uid": "1"},
}


async def sent(recorder: EventRecorder, sink: Sink, count: int) -> list[str]:
    task = asyncio.create_task(recorder.run())
    async with asyncio.timeout(10):
        messages = [(await sink.created.get())["message"] for _ in range(count)]
    task.cancel()
    return messages


async def test_one_object_can_not_flood_the_cluster_with_events() -> None:
    sink, clock = Sink(), MovableClock()
    recorder = EventRecorder(sink, "test", clock=clock)  # type: ignore[arg-type]
    for number in range(1000):
        recorder.event(REPLICA_SET, "Normal", "SuccessfulCreate", f"Created pod: web-{number}")
    other = {**REPLICA_SET, "metadata": {**REPLICA_SET["metadata"], "name": "db", "uid": "2"}}  # type: ignore[dict-item]
    recorder.event(other, "Normal", "SuccessfulCreate", "Created pod: db-1")
    told = await sent(recorder, sink, BURST_EVENTS + 1)
    assert told == [f"Created pod: web-{number}" for number in range(BURST_EVENTS)] + ["Created pod: db-1"]


async def test_an_object_may_have_events_again_after_a_while() -> None:
    sink, clock = Sink(), MovableClock()
    recorder = EventRecorder(sink, "test", clock=clock)  # type: ignore[arg-type]
    for number in range(BURST_EVENTS + 5):
        recorder.event(REPLICA_SET, "Normal", "Reason", f"early {number}")
    clock.time += SECONDS_PER_EVENT
    recorder.event(REPLICA_SET, "Normal", "Reason", "late")
    assert (await sent(recorder, sink, BURST_EVENTS + 1))[-1] == "late"


async def test_an_event_may_name_the_part_of_the_object_that_it_is_about() -> None:
    sink = Sink()
    recorder = EventRecorder(sink, "test")  # type: ignore[arg-type]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "default", "uid": "3"}}
    for name in ("a", "b"):
        recorder.event(pod, "Normal", "Started", "Container started", field_path=f"spec.containers{{{name}}}")
    task = asyncio.create_task(recorder.run())
    async with asyncio.timeout(10):
        told = [(await sink.created.get())["involvedObject"]["fieldPath"] for _ in range(2)]
    task.cancel()
    assert told == ["spec.containers{a}", "spec.containers{b}"]
