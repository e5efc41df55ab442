"""How long to wait before a pod that failed is replaced again: 1 s, doubled at each failure, at most 15 minutes.

Without it a controller and a node agent that turns its pods down would keep each other busy.
"""

from __future__ import annotations

FIRST_SECONDS = 1.0
MAX_SECONDS = 15 * 60.0
# Who has not failed for this long starts anew.
_FORGOTTEN_SECONDS = 2 * MAX_SECONDS


class PodBackoff:
    """By key, when the last pod was replaced, and how long the next has to wait after that; times are monotonic."""

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, float]] = {}

    def seconds_left(self, key: str, now: float) -> float:
        """How long a failed pod of this key still stays; 0: it may go now."""
        since, delay = self._entries.get(key, (now, 0.0))
        return max(0.0, since + delay - now)

    def replaced(self, key: str, now: float) -> None:
        """A failed pod of this key goes now; the next one waits for longer."""
        self._entries = {one: entry for one, entry in self._entries.items() if now - entry[0] <= _FORGOTTEN_SECONDS}
        known = self._entries.get(key)
        self._entries[key] = (now, FIRST_SECONDS if known is None else min(2 * known[1], MAX_SECONDS))
