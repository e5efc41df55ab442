"""The wall clock is set: only on a machine that is the test's own (tests/support/vm.py)."""

from __future__ import annotations

import asyncio
import os
import time

import pytest

from kubelet.clock_steps import ClockSteps

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not os.environ.get("WHERRY_OWN_MACHINE"), reason="sets the clock of the whole machine"),
]


async def test_each_step_of_the_clock_is_heard_of_and_nothing_else() -> None:
    heard = asyncio.Queue[float]()
    listening = asyncio.create_task(ClockSteps(lambda: heard.put_nowait(time.time())).run())
    try:
        await asyncio.sleep(0)
        for seconds in (7200, -3600, 30):
            time.clock_settime(time.CLOCK_REALTIME, time.time() + seconds)
            async with asyncio.timeout(60):
                await heard.get()
        assert heard.empty() and not listening.done()
    finally:
        listening.cancel()
