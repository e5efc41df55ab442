"""When a probe's outcomes make a result: pure, by the thresholds of its spec.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/#configure-probes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Outcome(Enum):
    """What asking once has told; a warning is a success of which something has to be said."""

    SUCCESS = "Success"
    WARNING = "Warning"
    FAILURE = "Failure"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class ProbeSpec:
    """A probe's numbers, with Kubernetes' defaults."""

    initial_delay_seconds: float
    period_seconds: float
    timeout_seconds: float
    success_threshold: int
    failure_threshold: int

    @classmethod
    def of(cls, probe: Mapping[str, Any]) -> ProbeSpec:
        """The numbers of a probe as it stands in a container."""
        return cls(
            initial_delay_seconds=float(probe.get("initialDelaySeconds") or 0),
            period_seconds=float(probe.get("periodSeconds") or 10),
            timeout_seconds=float(probe.get("timeoutSeconds") or 1),
            success_threshold=int(probe.get("successThreshold") or 1),
            failure_threshold=int(probe.get("failureThreshold") or 3),
        )


@dataclass(slots=True)
class Tally:
    """Outcomes in a row, and the result that holds: None until the first threshold is reached."""

    spec: ProbeSpec
    result: Outcome | None = None
    last: Outcome | None = None
    in_a_row: int = 0

    def count(self, outcome: Outcome) -> bool:
        """Take another outcome into account; True when the result has changed. Unknown ones count for nothing."""
        if outcome is Outcome.UNKNOWN:
            return False
        if outcome is Outcome.WARNING:
            outcome = Outcome.SUCCESS
        self.in_a_row = self.in_a_row + 1 if outcome is self.last else 1
        self.last = outcome
        success = outcome is Outcome.SUCCESS
        needed = self.spec.success_threshold if success else self.spec.failure_threshold
        if self.in_a_row < needed or self.result is outcome:
            return False
        self.result = outcome
        return True
