"""How long a Job waits before it replaces pods that failed: 10 s, doubled at each failure in a row, 10 min at most.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-backoff-failure-policy
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from apimachinery.meta import Object, find_condition, get_path
from apimachinery.time import parse_rfc3339
from controllers.pods import created

FIRST_SECONDS, MAX_SECONDS = 10.0, 600.0
_DOUBLINGS_MAX = 6


@dataclass(frozen=True, slots=True)
class Backoff:
    """How many pods have failed since the last success, and when the last of them did."""

    failures: int = 0
    since: float = 0.0

    def with_ends(self, succeeded: Iterable[Object], failed: Iterable[Object]) -> Backoff:
        """What it is after these pods have ended too: a success forgives all failures before it."""
        forgiven = max(map(finished_at, succeeded), default=None)
        times = [at for at in map(finished_at, failed) if forgiven is None or at > forgiven]
        before = self if forgiven is None else Backoff()
        return Backoff(before.failures + len(times), max(times, default=before.since))

    def seconds_left(self, now: float) -> float:
        """How long still to wait."""
        if self.failures == 0:
            return 0.0
        delay: float = min(FIRST_SECONDS * 2 ** min(self.failures - 1, _DOUBLINGS_MAX), MAX_SECONDS)
        return max(0.0, self.since + delay - now)


def finished_at(pod: Object) -> float:
    """When a pod ended, in seconds since 1970.

    Its containers tell, or else the moment when it ceased to be ready, or was to be gone, or was made.
    """
    ends = [_ended(status) for status in get_path(pod, "status", "containerStatuses", default=())]
    if ends and all(ends):
        # Sidecars end last; what other init containers add has ended before.
        inits = map(_ended, get_path(pod, "status", "initContainerStatuses", default=()))
        return max(parse_rfc3339(end) for end in (*ends, *inits) if end)
    ready = find_condition(pod, "Ready")
    if ready is not None and ready["status"] == "False" and ready.get("lastTransitionTime"):
        return parse_rfc3339(ready["lastTransitionTime"])
    metadata = pod["metadata"]
    if metadata.get("deletionTimestamp"):
        return parse_rfc3339(metadata["deletionTimestamp"]) - (metadata.get("deletionGracePeriodSeconds") or 0)
    return created(pod)


def _ended(status: Object) -> str | None:
    found: str | None = get_path(status, "state", "terminated", "finishedAt")
    return found
