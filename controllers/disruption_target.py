"""The condition by which a pod says that its end comes from outside, and from whom.

Source: https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions
"""

from __future__ import annotations

from apimachinery.meta import Object
from apimachinery.time import rfc3339

DISRUPTION_TARGET = "DisruptionTarget"


def disruption_target(pod: Object, status: str, reason: str | None, message: str | None, now: float) -> Object:
    """The condition, as it is patched into the status of this generation of a pod."""
    told = {"type": DISRUPTION_TARGET, "status": status, "reason": reason, "message": message}
    generation = pod["metadata"].get("generation")
    return {**told, "lastTransitionTime": rfc3339(now), **({"observedGeneration": generation} if generation else {})}
