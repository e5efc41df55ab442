"""How long to wait before trying again: containers that crash, images that can't be had.

The first restart of a container is at once; then 10 s, doubled each time up to 5 min. A container that ran
for ten minutes starts afresh. Times are of the monotonic clock, in seconds.
Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_SECONDS, MAX_SECONDS = 10.0, 300.0
RESET_SECONDS = 2 * MAX_SECONDS


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delay in force, and when it was set."""

    seconds: float
    since: float

    def until(self, failed_at: float) -> float:
        """When the next try may be made, after a failure at `failed_at`."""
        return failed_at if failed_at - self.since > RESET_SECONDS else failed_at + self.seconds


def after_try(known: Backoff | None, failed_at: float, now: float) -> Backoff:
    """The delay that holds from this try on, which follows a failure at `failed_at`."""
    if known is None or failed_at - known.since > RESET_SECONDS:
        return Backoff(FIRST_SECONDS, now)
    return Backoff(min(known.seconds * 2, MAX_SECONDS), now)


def resumed(attempt: int, started_at: float) -> Backoff | None:
    """What a restarted node agent takes for the delay of a container's run: as if all its restarts were in a row."""
    if attempt < 1:
        return None
    return Backoff(min(FIRST_SECONDS * 2.0 ** min(attempt - 1, 10), MAX_SECONDS), started_at)


def shown(seconds: float) -> str:
    """A delay as Go prints it: `10s`, `1m20s`, `5m0s`."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
