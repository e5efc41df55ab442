"""Turns of the event loop: how many requests of each priority level are begun before arrivals are looked at again.

All requests run on one event loop, and most of them run through without a pause. So what a flood takes from others
is less a number of seats than time on the loop: whatever arrives waits until all that arrived before it has been
served. Therefore each level begins only so many requests a turn; what comes on top waits in the level's queues for
the next one. A turn is one round of the loop, at whose end it reads what has arrived meanwhile: with a lease to be
renewed among a thousand other requests, it is served after a handful of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

# How many requests are begun in a turn by a level that has all seats.
REQUESTS_PER_TURN = 32


class Member(Protocol):
    """Somebody who begins something in turns."""

    def turn_ended(self) -> None:
        """A new turn begins: what is counted by turns is 0 again."""

    def go_on(self) -> None:
        """Begin what has waited for this turn."""


class Turns:
    """Tells those who have begun something in a turn that it is over."""

    def __init__(self, call_soon: Callable[[Callable[[], None]], object] | None = None) -> None:
        """`call_soon` calls back in the next round of the event loop."""
        self._call_soon = call_soon or asyncio.get_running_loop().call_soon
        self._members: list[Member] = []

    def joined_by(self, member: Member) -> None:
        """Somebody begins something for the first time in this turn, or wants the next."""
        self._members.append(member)
        if len(self._members) == 1:
            self._call_soon(self._end)

    def _end(self) -> None:
        members, self._members = self._members, []
        for member in members:
            member.turn_ended()
        for member in members:
            member.go_on()
