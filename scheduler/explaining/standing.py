"""Where a pod stands, as far as it can be told from outside of the scheduler: from the pod and its events; pure.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from apimachinery.meta import Object, deletion_requested, find_condition, get_path
from apimachinery.time import parse_rfc3339
from scheduler.pods import is_terminal, node_name
from scheduler.reporting import CONDITION, UNSCHEDULABLE

FAILED = "FailedScheduling"


class Stage(Enum):
    """The parts of a pod's way to its node. NEW: nobody has tried it, or told of it, yet."""

    BOUND = "Bound"
    ENDED = "Ended"
    DELETED = "Deleted"
    GATED = "Gated"
    NEW = "New"
    BACKOFF = "Backoff"
    UNSCHEDULABLE = "Unschedulable"
    ERROR = "Error"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a pod stands since when, and what has been tried. Times are seconds since 1970; None if not known.

    `attempts` are those that events tell of; `due` is when the delay after the last of them is over.
    """

    stage: Stage
    since: float | None = None
    node: str = ""
    nominated: str = ""
    gates: tuple[str, ...] = ()
    message: str = ""
    attempts: int = 0
    last_attempt: float | None = None
    due: float | None = None


def standing(pod: Object, events: Iterable[Object], *, now: float, first_delay: float, delay_max: float) -> Standing:
    """Where a pod stands; the delays are those of the scheduler's queue."""
    condition = find_condition(pod, CONDITION) or {}
    since = _moment(condition.get("lastTransitionTime"))
    if is_terminal(pod):
        return Standing(Stage.ENDED, node=node_name(pod))
    if node_name(pod):
        return Standing(Stage.BOUND, since if condition.get("status") == "True" else None, node_name(pod))
    if deletion_requested(pod):
        return Standing(Stage.DELETED, _moment(pod["metadata"]["deletionTimestamp"]))
    if gates := tuple(gate["name"] for gate in pod["spec"].get("schedulingGates") or ()):
        return Standing(Stage.GATED, since, gates=gates)
    failures = [event for event in events if event.get("reason") == FAILED]
    attempts = sum(_count(event) for event in failures)
    last = max(filter(None, (_last(event) for event in failures)), default=None)
    due = last + min(first_delay * 2 ** min(attempts - 1, 10), delay_max) if last is not None and attempts else None
    if condition.get("status") != "False":
        stage = Stage.NEW
    elif condition.get("reason") != UNSCHEDULABLE:
        stage = Stage.ERROR
    else:
        stage = Stage.BACKOFF if due is not None and now < due else Stage.UNSCHEDULABLE
    return Standing(
        stage,
        since,
        nominated=get_path(pod, "status", "nominatedNodeName", default=""),
        message=condition.get("message") or "",
        attempts=attempts,
        last_attempt=last,
        due=due,
    )


def _count(event: Object) -> int:
    count: int = max(event.get("count") or 0, get_path(event, "series", "count", default=0), 1)
    return count


def _last(event: Object) -> float | None:
    series = get_path(event, "series", "lastObservedTime")
    return _moment(series or event.get("lastTimestamp") or event.get("eventTime"))


def _moment(text: str | None) -> float | None:
    return parse_rfc3339(text) if text else None
