"""So many requests at once, a queue behind them, and a clear refusal beyond."""

from __future__ import annotations

import asyncio

import pytest

from apimachinery.errors import ApiError
from apiserver.rest import limits
from apiserver.rest.limits import Limits, Places


async def _hold(places: Places, until: asyncio.Event, ran: list[int], number: int) -> None:
    async with places:
        ran.append(number)
        await until.wait()


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_on_top_waits_its_turn() -> None:
    places, until, ran = Places(2), asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(_hold(places, until, ran, number)) for number in range(5)]
    await _settle()
    assert ran == [0, 1]
    until.set()
    await asyncio.gather(*tasks)
    assert ran == [0, 1, 2, 3, 4]


async def test_beyond_the_queue_requests_are_refused_and_told_when_to_come_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "WAITING_PER_PLACE", 1)
    places, until, ran = Places(1), asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(_hold(places, until, ran, number)) for number in range(2)]
    await _settle()
    with pytest.raises(ApiError) as refused:
        async with places:
            pass
    assert (refused.value.code, refused.value.retry_after_seconds) == (429, 1)
    until.set()
    await asyncio.gather(*tasks)


async def test_who_stops_waiting_leaves_no_gap_behind() -> None:
    places, until, ran = Places(1), asyncio.Event(), list[int]()
    tasks = [asyncio.create_task(_hold(places, until, ran, number)) for number in range(4)]
    await _settle()
    tasks[1].cancel()
    until.set()
    tasks[2].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert ran == [0, 3]
    async with places:  # the place is free again
        pass


async def test_reads_and_writes_do_not_take_each_others_places() -> None:
    both = Limits(1, 1)
    async with both.of("list"), both.of("create"):
        assert both.of("get") is both.of("list")
        assert both.of("patch") is both.of("delete")
