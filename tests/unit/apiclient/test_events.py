"""The event recorder: bursts arrive whole, what repeats is counted, and no object floods the cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from apiclient.event_correlation import BURST_EVENTS, COMBINED, SECONDS_PER_EVENT, SIMILAR_EVENTS_MAX, SIMILAR_SECONDS
from apiclient.events import SENDERS, TRIES_MAX, WAITING_EVENTS_MAX, EventRecorder
from apiclient.rest import ApiUnavailable
from apimachinery.errors import ApiError, already_exists, forbidden, not_found
from apimachinery.meta import Object
from tests.support.clock import ManualClock


class Server:
    """Keeps events; may be away, refuse, or be slow."""

    def __init__(self) -> None:
        self.events: dict[str, Object] = {}
        self.requests = 0
        self.lists: list[int] = []
        self.at_once = 0
        self.most_at_once = 0
        self.error: ApiError | None = None
        self.answering = asyncio.Event()
        self.answering.set()
        self.idle = asyncio.Event()
        self.idle.set()

    async def _request(self) -> None:
        self.requests += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.answering.wait()
            await asyncio.sleep(0)
        finally:
            self.at_once -= 1
        if self.error is not None:
            raise self.error

    async def calm(self) -> None:
        await self.idle.wait()

    @property
    def is_calm(self) -> bool:
        return self.idle.is_set()

    async def create_each(self, _: Any, objects: list[Object], namespace: str) -> list[Object | ApiError]:
        self.lists.append(len(objects))
        try:
            await self._request()
        except ApiError as error:
            return [error] * len(objects)
        return [self._keep(obj, namespace) for obj in objects]

    async def create(self, _: Any, obj: Object, namespace: str) -> Object:
        await self._request()
        kept = self._keep(obj, namespace)
        if isinstance(kept, ApiError):
            raise kept
        return kept

    def _keep(self, obj: Object, namespace: str) -> Object | ApiError:
        name = obj["metadata"]["name"]
        if name in self.events:
            return already_exists("events", name)
        self.events[name] = {**obj, "metadata": {**obj["metadata"], "namespace": namespace}}
        return obj

    async def patch(self, _: Any, name: str, patch: Object, namespace: str) -> Object:
        await self._request()
        if name not in self.events:
            raise not_found("events", name)
        self.events[name] |= patch
        return self.events[name]

    @property
    def counts(self) -> dict[str, int]:
        """How often each message is said to have been seen."""
        return {event["message"]: event["count"] for event in self.events.values()}


class Recording:
    """A recorder that runs on a clock that stands still."""

    def __init__(self) -> None:
        self.server = Server()
        self.clock = ManualClock()
        self.recorder = EventRecorder(self.server, "test", clock=self.clock)  # type: ignore[arg-type]

    def event(self, obj: Object, message: str, *, reason: str = "Reason", field_path: str = "") -> None:
        self.recorder.event(obj, "Normal", reason, message, field_path=field_path)

    async def settle(self) -> None:
        """Until nothing is under way any more."""
        requests = -1
        while requests != self.server.requests:
            requests = self.server.requests
            await self.clock.settle()


@asynccontextmanager
async def recording() -> AsyncIterator[Recording]:
    found = Recording()
    task = asyncio.create_task(found.recorder.run())
    try:
        yield found
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def pod(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}", "resourceVersion": "7"},
    }


async def test_a_burst_about_many_objects_arrives_whole() -> None:
    async with recording() as found:
        for number in range(5000):
            found.event(pod(f"web-{number}"), f"Successfully assigned default/web-{number}")
        await found.settle()
        assert len(found.server.events) == 5000 and found.server.requests < 200
        assert {event["count"] for event in found.server.events.values()} == {1}


async def test_events_are_sent_a_few_at_a_time() -> None:
    async with recording() as found:
        for number in range(200):
            found.event(pod(f"web-{number}"), "told")
        await found.settle()
        assert found.server.most_at_once == SENDERS


async def test_while_the_client_is_busy_events_are_sent_one_at_a_time() -> None:
    async with recording() as found:
        found.server.idle.clear()
        for number in range(50):
            found.event(pod(f"web-{number}"), "told")
        await found.settle()
        assert found.server.most_at_once == 1 and len(found.server.events) == 50 - (SENDERS - 1)
        assert found.server.lists == []
        found.server.idle.set()
        await found.settle()
        assert len(found.server.events) == 50


async def test_an_event_says_what_was_seen_where_and_by_whom() -> None:
    async with recording() as found:
        found.event(pod("web"), "Container started", field_path="spec.containers{main}")
        await found.settle()
        [event] = found.server.events.values()
        assert event["involvedObject"] == {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": "web",
            "namespace": "default",
            "uid": "uid-web",
            "resourceVersion": "7",
            "fieldPath": "spec.containers{main}",
        }
        assert event["source"] == {"component": "test"} and event["type"] == "Normal"
        assert event["firstTimestamp"] == event["lastTimestamp"]


async def test_the_same_event_again_is_counted_on_the_first_one() -> None:
    async with recording() as found:
        for _ in range(3):
            found.event(pod("web"), "Back-off restarting failed container")
            await found.settle()
            await found.clock.advance(10)
        [event] = found.server.events.values()
        assert event["count"] == 3 and event["firstTimestamp"] < event["lastTimestamp"]
        assert found.server.requests == 3


async def test_what_repeats_while_it_waits_is_sent_once() -> None:
    async with recording() as found:
        found.server.answering.clear()
        for _ in range(5):
            found.event(pod("web"), "Back-off restarting failed container")
            await found.clock.settle()
        found.server.answering.set()
        await found.settle()
        assert found.server.counts == {"Back-off restarting failed container": 5}
        assert found.server.requests == 2


async def test_the_parts_of_an_object_have_events_of_their_own() -> None:
    async with recording() as found:
        for name in ("a", "b"):
            found.event(pod("web"), "Container started", field_path=f"spec.containers{{{name}}}")
        await found.settle()
        assert len(found.server.events) == 2


async def test_events_that_differ_in_their_text_alone_are_combined_from_the_tenth_on() -> None:
    async with recording() as found:
        for number in range(15):
            found.event(pod("web"), f"Created pod: web-{number}")
            await found.settle()
        single = {f"Created pod: web-{number}": 1 for number in range(SIMILAR_EVENTS_MAX - 1)}
        assert found.server.counts == {**single, f"{COMBINED}Created pod: web-14": 6}


async def test_events_of_another_reason_are_not_combined_with_them() -> None:
    async with recording() as found:
        for number in range(SIMILAR_EVENTS_MAX):
            found.event(pod("web"), f"text {number}")
        found.event(pod("web"), "text", reason="Other")
        await found.settle()
        assert found.server.counts["text"] == 1


async def test_after_ten_quiet_minutes_an_event_stands_alone_again() -> None:
    async with recording() as found:
        for number in range(SIMILAR_EVENTS_MAX):
            found.event(pod("web"), f"early {number}")
        await found.clock.advance(SIMILAR_SECONDS + 1)
        found.event(pod("web"), "late")
        await found.settle()
        assert found.server.counts["late"] == 1


async def test_one_object_can_not_flood_the_cluster_with_events() -> None:
    async with recording() as found:
        for number in range(1000):
            found.event(pod("web"), "text", reason=f"Reason{number}")
        found.event(pod("db"), "text")
        await found.settle()
        assert len(found.server.events) == BURST_EVENTS + 1


async def test_an_object_may_have_events_again_after_a_while() -> None:
    async with recording() as found:
        for number in range(BURST_EVENTS + 5):
            found.event(pod("web"), "text", reason=f"Reason{number}")
        await found.clock.advance(SECONDS_PER_EVENT)
        found.event(pod("web"), "late")
        await found.settle()
        assert len(found.server.events) == BURST_EVENTS + 1 and found.server.counts["late"] == 1


async def test_an_event_that_somebody_has_deleted_is_made_again() -> None:
    async with recording() as found:
        found.event(pod("web"), "text")
        await found.settle()
        found.server.events.clear()
        found.event(pod("web"), "text")
        await found.settle()
        assert found.server.counts == {"text": 2}


async def test_a_server_that_is_away_is_told_when_it_is_back() -> None:
    async with recording() as found:
        found.server.error = ApiUnavailable("https://server", OSError("refused"))
        for number in range(100):
            found.event(pod(f"web-{number}"), f"text {number}")
        await found.clock.advance(5)
        found.server.error = None
        await found.clock.advance(10)
        assert len(found.server.events) == 100


async def test_a_server_that_stays_away_is_given_up() -> None:
    async with recording() as found:
        found.server.error = ApiUnavailable("https://server", OSError("refused"))
        found.event(pod("web"), "text")
        await found.clock.advance(1000)
        assert found.server.requests == TRIES_MAX


async def test_what_the_server_refuses_is_not_sent_again() -> None:
    async with recording() as found:
        found.server.error = forbidden("not for you")
        found.event(pod("web"), "text")
        await found.clock.advance(1000)
        assert found.server.requests == 1


async def test_no_more_wait_than_there_is_room_for() -> None:
    found = Recording()
    for number in range(WAITING_EVENTS_MAX + 100):
        found.event(pod(f"web-{number}"), "text")
    task = asyncio.create_task(found.recorder.run())
    await found.settle()
    assert len(found.server.events) == WAITING_EVENTS_MAX
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_names_are_legal_and_never_the_same() -> None:
    async with recording() as found:
        for number in range(5):
            found.event(pod("a" * 253), f"text {number}")
        await found.settle()
        assert len(found.server.events) == 5
        assert all(len(name) <= 253 for name in found.server.events)
