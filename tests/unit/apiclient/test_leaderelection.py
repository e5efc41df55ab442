"""Leader election when the API server hangs, refuses, or is shared with another candidate."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest

from apiclient.leaderelection import LeaderElector
from apimachinery.errors import ApiError, already_exists, conflict, forbidden, not_found
from apimachinery.meta import Object
from apimachinery.time import rfc3339_micro
from tests.support.clock import ManualClock


class Server:
    """Keeps one Lease; may hang, or refuse."""

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.version = 0
        self.answering = asyncio.Event()
        self.answering.set()
        self.refusal: ApiError | None = None

    async def _answer(self) -> None:
        await self.answering.wait()
        if self.refusal is not None:
            raise self.refusal

    async def get(self, resource: Any, name: str, namespace: str) -> Object:
        await self._answer()
        if self.lease is None:
            raise not_found("leases.coordination.k8s.io", name)
        return self.lease

    async def create(self, resource: Any, obj: Object, namespace: str) -> Object:
        await self._answer()
        if self.lease is not None:
            raise already_exists("leases.coordination.k8s.io", "lease")
        return self._store(obj)

    async def update(self, resource: Any, obj: Object) -> Object:
        await self._answer()
        if obj["metadata"]["resourceVersion"] != str(self.version):
            raise conflict("leases.coordination.k8s.io", "lease", "modified")
        return self._store(obj)

    def _store(self, obj: Object) -> Object:
        self.version += 1
        self.lease = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        return self.lease


class Candidate:
    """An elector, and whether it leads."""

    def __init__(
        self, server: Server, identity: str, clock: ManualClock, has_ended: Callable[[str], bool] = lambda _: False
    ) -> None:
        self.elector = LeaderElector(
            server,  # type: ignore[arg-type]
            "kube-system",
            "lease",
            identity,
            clock=clock,
            has_ended=has_ended,
        )
        self.leads = False
        self.task = asyncio.create_task(self.elector.run(self.lead))

    async def lead(self) -> None:
        self.leads = True
        try:
            await asyncio.Event().wait()
        finally:
            self.leads = False

    async def stop(self) -> None:
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


async def test_a_free_lease_is_taken_at_once() -> None:
    server, clock = Server(), ManualClock()
    candidate = Candidate(server, "one", clock)
    await clock.settle()
    assert candidate.leads
    await candidate.stop()


async def test_a_leader_whose_server_does_not_answer_stops_before_another_may_begin() -> None:
    server, clock = Server(), ManualClock()
    one = Candidate(server, "one", clock)
    await clock.advance(5)
    server.answering.clear()
    await clock.advance(9.9)
    server_heard = asyncio.ensure_future(asyncio.wait_for(asyncio.shield(one.task), 5))
    await clock.advance(0.2)
    assert not one.leads
    server.answering.set()
    await server_heard


async def test_an_orderly_end_lets_the_next_candidate_follow() -> None:
    server, clock = Server(), ManualClock()
    one = Candidate(server, "one", clock)
    await clock.settle()
    two = Candidate(server, "two", clock)
    await clock.advance(10)
    assert (one.leads, two.leads) == (True, False)
    await one.stop()
    await clock.advance(2)
    assert two.leads
    await two.stop()


async def test_a_leader_that_dies_is_followed_when_its_lease_is_over() -> None:
    server, clock = Server(), ManualClock()
    server.lease = {
        "metadata": {"name": "lease", "namespace": "kube-system", "resourceVersion": "0"},
        "spec": {"holderIdentity": "dead", "leaseDurationSeconds": 15, "leaseTransitions": 3},
    }
    two = Candidate(server, "two", clock)
    await clock.advance(14)
    assert not two.leads
    await clock.advance(3)
    assert two.leads
    assert server.lease["spec"]["leaseTransitions"] == 4
    await two.stop()


async def test_why_a_lease_is_not_to_be_had_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    server, clock = Server(), ManualClock()
    server.refusal = forbidden("leases is forbidden")
    candidate = Candidate(server, "one", clock)
    with caplog.at_level(logging.WARNING):
        await clock.advance(20)
    assert [record.message for record in caplog.records] == [
        'msg="lease not to be had" lease=lease error="leases is forbidden"'
    ]
    server.refusal = None
    await clock.advance(2)
    assert candidate.leads
    await candidate.stop()


def held_by(holder: str) -> Object:
    return {
        "metadata": {"name": "lease", "namespace": "kube-system", "resourceVersion": "0"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3},
    }


async def test_a_leader_whose_process_has_ended_is_followed_at_once() -> None:
    server, clock = Server(), ManualClock()
    server.lease = held_by("dead")
    two = Candidate(server, "two", clock, has_ended=lambda identity: identity == "dead")
    await clock.settle()
    assert two.leads
    assert server.lease["spec"]["holderIdentity"] == "two" and server.lease["spec"]["leaseTransitions"] == 4
    await two.stop()


async def test_of_two_who_see_the_leader_gone_one_leads() -> None:
    server, clock = Server(), ManualClock()
    server.lease = held_by("dead")
    candidates = [Candidate(server, name, clock, has_ended=lambda identity: identity == "dead") for name in "ab"]
    await clock.advance(5)
    assert sum(candidate.leads for candidate in candidates) == 1
    for candidate in candidates:
        await candidate.stop()


async def test_a_candidate_that_waits_sees_the_leader_end() -> None:
    server, clock, dead = Server(), ManualClock(), set[str]()
    one = Candidate(server, "one", clock, has_ended=dead.__contains__)
    await clock.settle()
    two = Candidate(server, "two", clock, has_ended=dead.__contains__)
    await clock.advance(10)
    assert (one.leads, two.leads) == (True, False)
    one.task.cancel()
    server.refusal = forbidden("killed: nothing is released")
    await asyncio.gather(one.task, return_exceptions=True)
    server.refusal = None
    dead.add("one")
    await clock.advance(2)
    assert two.leads
    await two.stop()


async def test_a_leader_that_was_stopped_knows_at_once_that_it_may_lead_no_longer() -> None:
    server, clock = Server(), ManualClock()
    one = Candidate(server, "one", clock)
    await clock.advance(5)
    assert one.elector.leads
    # Nothing of it runs while time goes on, as after SIGSTOP; what comes first then must not rely on its renewal.
    clock._now += 10.5
    assert one.leads and not one.elector.leads
    await clock.advance(0.1)
    assert not one.leads
    assert server.lease is not None and server.lease["spec"]["holderIdentity"] == ""
    await one.stop()


async def test_a_lead_counts_from_when_the_lease_was_asked_for_not_from_the_answer() -> None:
    server, clock = Server(), ManualClock()
    server.answering.clear()
    one = Candidate(server, "one", clock)
    await clock.advance(8)
    server.answering.set()
    await clock.advance(1.9)
    assert one.leads and one.elector.leads
    server.answering.clear()
    await clock.advance(0.2)
    assert not one.elector.leads and not one.leads
    await clock.advance(20)
    await one.stop()


async def test_a_leader_that_ends_waits_for_a_server_that_hangs_no_longer_than_it_would_renew() -> None:
    server, clock = Server(), ManualClock()
    one = Candidate(server, "one", clock)
    await clock.settle()
    server.answering.clear()
    one.task.cancel()
    await clock.advance(9.9)
    assert not one.task.done()
    await clock.advance(0.2)
    assert one.task.done()


async def test_a_lease_that_is_given_back_says_when_and_keeps_count_of_its_leaders() -> None:
    server, clock = Server(), ManualClock()
    for transitions, identity in enumerate(("one", "two", "one")):
        candidate = Candidate(server, identity, clock)
        await clock.advance(3)
        assert server.lease is not None and server.lease["spec"]["leaseTransitions"] == transitions
        await candidate.stop()
        released = server.lease["spec"]
        assert (released["holderIdentity"], released["leaseDurationSeconds"]) == ("", 1)
        assert released["renewTime"] == released["acquireTime"] == rfc3339_micro(clock.now())


async def test_a_leader_that_does_not_stop_when_its_lead_is_over_is_not_well() -> None:
    server, clock = Server(), ManualClock()
    stuck = asyncio.Event()

    async def lead() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await stuck.wait()

    elector = LeaderElector(server, "kube-system", "lease", "one", clock=clock)  # type: ignore[arg-type]
    assert elector.problem() == ""
    task = asyncio.create_task(elector.run(lead))
    await clock.advance(60)
    assert elector.leads and elector.problem() == ""
    server.answering.clear()
    await clock.advance(29)
    assert not elector.leads and elector.problem() == ""
    await clock.advance(2)
    assert elector.problem() == "failed election to renew leadership on lease lease"
    stuck.set()
    server.answering.set()
    await task
    assert elector.problem() == ""
