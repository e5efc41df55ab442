"""An event loop whose time is simulated: when nothing is left to be done, it is at once as late as the next timer.

Hours pass in a moment, and always in the same way. Nothing from outside comes in: there are no sockets (connections
are those of a `Network`) and no threads (what would run in one is run at once, and its result is there a little
later). What the interpreter leaves open is decided: tasks are hashed in the order of their creation, so that sets of
tasks are gone through in one order.
"""

from __future__ import annotations

import asyncio
import itertools
from asyncio.base_events import BaseEventLoop
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.network import Network

# The wall clock's time when a history begins: 2027-01-15T08:00:00Z.
EPOCH = 1_800_000_000.0
# What a disk takes for a commit.
DISK_SECONDS = 0.0005
# No timer is shorter: what is added to a time must change it.
TICK_SECONDS = 1e-6
# So many turns of the loop without any time passing mean that somebody goes round in circles.
TURNS_MAX = 100_000


class OrderedTask(asyncio.Task[Any]):
    """A task whose hash is its number, where others have their address in memory."""

    numbers = itertools.count()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._number = next(self.numbers)
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualLoop(BaseEventLoop):
    """The loop. `network` connects those who run in it."""

    network: Network

    def __init__(self) -> None:
        super().__init__()
        self._moment = 0.0
        self._turns = 0
        self._clock_resolution = 1e-9
        self._selector = self  # what waits for the outside world in other loops
        OrderedTask.numbers = itertools.count()
        self.set_task_factory(_ordered)

    def time(self) -> float:
        """Seconds since the history began."""
        return self._moment

    def select(self, timeout: float | None) -> list[Any]:
        """All is done for now: go to the time of the next timer. Raises RuntimeError if there will be none."""
        if timeout == 0:
            self._turns += 1
            if self._turns > TURNS_MAX:
                raise RuntimeError(f"somebody goes round in circles at {self._moment:.3f}: {self._ready}")
        elif timeout is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        else:
            self._turns = 0
            self._moment = max(self._moment, self._scheduled[0]._when)
        return []

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> asyncio.TimerHandle:
        """Call something later, and be it by very little: a time that is all but there must be reached."""
        return super().call_at(max(when, self._moment + TICK_SECONDS), callback, *args, context=context)

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps who would have to be woken up."""

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run it now; whoever waits for it hears of it after a moment, or never if killed before."""
        done = self.create_future()
        try:
            outcome, tell = func(*args), done.set_result
        except Exception as error:  # noqa: BLE001 - it is for whoever waits
            outcome, tell = error, done.set_exception
        self.call_later(DISK_SECONDS, lambda: None if done.done() else tell(outcome))
        return done

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **_: Any) -> Any:
        """A connection through the simulated network. Raises OSError."""
        return await self.network.connect((host, port), protocol_factory)

    async def create_server(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Take connections at an address of the simulated network, which stands for the socket."""
        return self.network.listen(options["sock"], protocol_factory)


def _ordered(
    loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], context: Any = None
) -> asyncio.Future[Any]:
    return OrderedTask(coro, loop=loop, context=context)


class LoopClock:
    """The clock of all parts of the cluster."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        """Seconds since 1970."""
        return EPOCH + self._loop.time()

    def monotonic(self) -> float:
        """Seconds since the history began."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
