"""Seats, turns and queues of a priority level."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apiserver.flowcontrol.flows import Flow, Schema
from apiserver.flowcontrol.level import Level
from apiserver.flowcontrol.request import Request
from apiserver.flowcontrol.turns import Turns
from apiserver.responses import AnswerHeaders
from tests.unit.apiserver.flowcontrol.factories import JANE, POD, level

SECONDS_MAX = 10


class Stage:
    """A level whose turns and time the test moves, and requests that run until they are told to end."""

    def __init__(self, obj: Object, seats: float, *, wait_seconds_max: float = 1000.0) -> None:
        self.now = 0.0
        self.ended: list[Callable[[], None]] = []
        self.turns = Turns(self.ended.append)
        self.level = Level(obj["metadata"]["name"], self.turns, clock=self.time, wait_seconds_max=wait_seconds_max)
        self.level.configure(obj)
        self.level.set_limit(seats, seats)
        self.order: list[str] = []
        self.refused: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.flows: dict[str, Flow] = {}

    def time(self) -> float:
        return self.now

    async def send(self, name: str, *, of: str = "jane", width: int = 1) -> asyncio.Task[None]:
        """A request of a flow."""
        flow = self.flows.get(of)
        if flow is None:
            flow = self.flows[of] = Flow(Schema("s", "", self.level, "ByUser", AnswerHeaders(())), of)
        self.ends[name] = asyncio.Event()
        request = Request(flow, JANE, POD, width)

        async def serve() -> None:
            try:
                async with request:
                    self.order.append(name)
                    await self.ends[name].wait()
            except ApiError as error:
                assert error.code == 429
                self.refused.append(name)

        task = asyncio.create_task(serve())
        self.tasks.append(task)
        await settle()
        return task

    async def end(self, name: str) -> None:
        """The request is answered."""
        self.ends[name].set()
        await settle()

    async def turn(self) -> None:
        """The event loop has come around."""
        called, self.ended[:] = list(self.ended), []
        for call in called:
            call()
        await settle()

    async def all_turns(self) -> None:
        """As many turns as are needed until nothing happens any more."""
        while self.ended:
            await self.turn()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


REJECT = {"limitResponse": {"type": "Reject"}}


async def test_a_request_takes_its_seat_at_once_and_gives_it_back() -> None:
    stage = Stage(level("l"), 2)
    await stage.send("a")
    assert stage.order == ["a"] and stage.level.seats == 1 and not stage.level.idle
    await stage.end("a")
    assert stage.level.idle and stage.level.dispatched == 1


async def test_what_finds_no_seat_waits_for_one() -> None:
    stage = Stage(level("l"), 2)
    for name in "abc":
        await stage.send(name)
    await stage.all_turns()
    assert stage.order == ["a", "b"]
    await stage.end("a")
    assert stage.order == ["a", "b", "c"]


async def test_a_level_that_does_not_queue_refuses() -> None:
    stage = Stage(level("l", **REJECT), 2)
    for name in "abc":
        await stage.send(name)
    await stage.all_turns()
    assert stage.order == ["a", "b"] and stage.refused == ["c"]
    assert stage.level.rejected == 1


async def test_a_full_queue_refuses() -> None:
    queuing = {"queues": 1, "handSize": 1, "queueLengthLimit": 2}
    stage = Stage(level("l", limitResponse={"type": "Queue", "queuing": queuing}), 1)
    for name in "abcd":
        await stage.send(name)
    await stage.all_turns()
    assert stage.order == ["a"] and stage.refused == ["d"]


async def test_only_so_much_is_begun_in_a_turn() -> None:
    stage = Stage(level("l"), 600)
    stage.level.set_limit(25, 600)  # of 32 requests a turn these are two
    for name in "abcd":
        await stage.send(name)
    assert stage.order == ["a", "b"]
    await stage.turn()
    assert stage.order == ["a", "b", "c", "d"]


async def test_a_flood_waits_for_turns_and_others_do_not_wait_for_it() -> None:
    """What a level begins in a turn is limited, so that another level's request is served in the next one."""
    stage = Stage(level("flood"), 600)
    stage.level.set_limit(25, 600)
    for n in range(20):
        await stage.send(f"flood {n}", of=str(n))
    high = Level("high", stage.turns, clock=stage.time, wait_seconds_max=10)
    high.configure(level("high"))
    high.set_limit(100, 600)
    flow = Flow(Schema("s", "", high, "", AnswerHeaders(())), "")
    async with Request(flow, JANE, POD, 1):
        assert len(stage.order) == 2


async def test_flows_share_whatever_each_has_waiting() -> None:
    stage = Stage(level("l"), 1)
    await stage.send("first")
    for n in range(8):
        await stage.send(f"elephant {n}", of="elephant")
    for n in range(3):
        await stage.send(f"mouse {n}", of="mouse 1")
    await stage.all_turns()
    for _ in range(8):
        await stage.end(stage.order[-1])
        await stage.all_turns()
    assert [name for name in stage.order if name.startswith("mouse")] == ["mouse 0", "mouse 1", "mouse 2"]


async def test_who_took_long_waits_for_longer() -> None:
    """Of two flows with as many requests, the one whose requests take no time gets through more of them."""
    queuing = {"queues": 64, "handSize": 1, "queueLengthLimit": 50}
    stage = Stage(level("l", limitResponse={"type": "Queue", "queuing": queuing}), 1)
    await stage.send("first")
    for n in range(6):
        await stage.send(f"slow {n}", of="slow")
        await stage.send(f"fast {n}", of="fast")
    await stage.all_turns()
    for _ in range(7):
        stage.now += 1.0 if stage.order[-1].startswith("slow") else 0.01
        await stage.end(stage.order[-1])
        await stage.all_turns()
    assert [name.split()[0] for name in stage.order[1:]].count("fast") > 4


async def test_a_wide_request_takes_more_seats_and_one_wider_than_the_level_runs_alone() -> None:
    stage = Stage(level("l"), 4)
    await stage.send("list", width=3)
    await stage.send("get")
    await stage.send("list 2", width=9)
    await stage.all_turns()
    assert stage.order == ["list", "get"]
    await stage.end("get")
    assert stage.order == ["list", "get"]
    await stage.end("list")
    await stage.all_turns()
    assert stage.order == ["list", "get", "list 2"]


async def test_nothing_waits_for_ever() -> None:
    stage = Stage(level("l"), 1, wait_seconds_max=0.0)
    await stage.send("a")
    waits = await stage.send("b")
    await stage.all_turns()
    async with asyncio.timeout(SECONDS_MAX):
        await waits
    assert stage.refused == ["b"] and stage.level.timed_out == 1 and stage.level.queues.count == 0


async def test_what_is_exempt_is_never_refused_and_never_times_out() -> None:
    exempt = {"metadata": {"name": "exempt"}, "spec": {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0}}}
    stage = Stage(exempt, 1, wait_seconds_max=0.0)
    stage.level.set_limit(math.inf, 600)
    for n in range(100):
        await stage.send(str(n))
    assert len(stage.order) == 32  # a turn's worth
    await stage.all_turns()
    assert len(stage.order) == 100 and not stage.refused


async def test_a_client_that_goes_away_while_it_waits_takes_no_seat() -> None:
    stage = Stage(level("l"), 1)
    await stage.send("a")
    gone = await stage.send("b")
    await stage.send("c")
    gone.cancel()
    await settle()
    assert stage.level.cancelled == 1
    await stage.end("a")
    await stage.all_turns()
    assert stage.order == ["a", "c"]


async def test_a_client_that_goes_away_in_the_moment_of_its_turn_gives_its_seat_back() -> None:
    stage = Stage(level("l"), 1)
    await stage.send("a")
    gone = await stage.send("b")
    await stage.send("c")
    await stage.all_turns()
    stage.ends["a"].set()
    await asyncio.sleep(0)  # the seat is handed on
    gone.cancel()
    await settle()
    await stage.all_turns()
    assert "c" in stage.order
    await stage.end("c")
    assert stage.level.idle


async def test_those_who_are_refused_hear_of_it_in_turns() -> None:
    stage = Stage(level("l", **REJECT), 1)
    await stage.send("a")
    for n in range(100):
        await stage.send(str(n))
    await stage.turn()
    assert len(stage.refused) == 32
    await stage.all_turns()
    assert len(stage.refused) == 100


@pytest.mark.parametrize("seats", [1, 3])
async def test_more_seats_are_used_the_moment_they_are_there(seats: int) -> None:
    stage = Stage(level("l"), 1)
    for name in "abcd":
        await stage.send(name)
    await stage.all_turns()
    stage.level.set_limit(seats, seats)
    await settle()
    assert len(stage.order) == seats
