"""The queue of keys: what is announced for later can be taken back."""

from __future__ import annotations

from apiclient.workqueue import WorkQueue
from tests.support.clock import ManualClock


async def test_what_was_to_be_added_later_can_be_taken_back() -> None:
    clock = ManualClock()
    queue = WorkQueue(clock)
    queue.add_after("a", 5)
    queue.add_after("b", 5)
    queue.cancel("a")
    queue.cancel("never")
    await clock.advance(10)
    assert (await queue.get(), len(queue)) == ("b", 0)


async def test_a_key_that_was_taken_back_can_be_added_again() -> None:
    clock = ManualClock()
    queue = WorkQueue(clock)
    queue.add_after("a", 5)
    queue.cancel("a")
    queue.add_after("a", 20)
    await clock.advance(10)
    assert len(queue) == 0
    await clock.advance(10)
    assert await queue.get() == "a"
