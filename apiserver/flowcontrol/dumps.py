"""What flow control is doing at this moment, as tables for people, under /debug/api_priority_and_fairness/.

Source: https://kubernetes.io/docs/reference/debug-cluster/flow-control/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from apimachinery.time import rfc3339_micro
from apiserver.flowcontrol.control import FlowControl
from apiserver.flowcontrol.request import Request

_LEVEL = (
    *("PriorityLevelName", "ActiveQueues", "IsIdle", "IsQuiescing", "WaitingRequests", "ExecutingRequests"),
    *("DispatchedRequests", "RejectedRequests", "TimedoutRequests", "CancelledRequests"),
)
_QUEUE = ("PriorityLevelName", "Index", "PendingRequests", "ExecutingRequests", "SeatsInUse", "NextDispatchR")
_REQUEST = (
    *("PriorityLevelName", "FlowSchemaName", "QueueIndex", "RequestIndexInQueue", "FlowDistingsher", "ArriveTime"),
    *("InitialSeats", "FinalSeats", "AdditionalLatency", "StartTime"),
)
_DETAILS = ("UserName", "Verb", "APIPath", "Namespace", "Name", "APIVersion", "Resource", "SubResource")

Row = tuple[str, ...]


def page(name: str, control: FlowControl, now: float, *, details: bool) -> str | None:
    """The page of this name; None if there is none. `details`: what every request asks for."""
    kinds: dict[str, Callable[[], tuple[Row, Iterable[Row]]]] = {
        "dump_priority_levels": lambda: (_LEVEL, _levels(control)),
        "dump_queues": lambda: (_QUEUE, _queues(control)),
        "dump_requests": lambda: ((*_REQUEST, *_DETAILS) if details else _REQUEST, _requests(control, now, details)),
    }
    if name not in kinds:
        return None
    head, rows = kinds[name]()
    return _table([head, *rows])


def _table(rows: list[Row]) -> str:
    """Columns that line up, with a comma behind each but the last."""
    widths = [max(len(row[column]) for row in rows) + 2 for column in range(len(rows[0]))]
    lines = ("".join(f"{cell},".ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "".join(f"{line.rstrip().removesuffix(',')}\n" for line in lines)


def _levels(control: FlowControl) -> Iterator[Row]:
    leaving = {id(level) for level in control.leaving}
    for level in sorted((*control.levels.values(), *control.leaving), key=lambda level: level.name):
        active = sum(1 for queue in level.queues.used() if queue.waiting)
        counts = (level.queues.count, len(level.inside), level.dispatched)
        refused = (level.rejected, level.timed_out, level.cancelled)
        flags = (_word(level.idle), _word(id(level) in leaving))
        yield level.name, str(active), *flags, *map(str, counts), *map(str, refused)


def _queues(control: FlowControl) -> Iterator[Row]:
    for level in (*control.levels.values(), *control.leaving):
        for queue in level.queues.used():
            counts = (queue.index, len(queue.waiting), queue.running, queue.seats_running)
            yield level.name, *map(str, counts), f"{queue.clock:.8f}ss"


def _requests(control: FlowControl, now: float, details: bool) -> Iterator[Row]:
    # Moments are told by the clock of the day, and counted by one that nobody sets.
    offset = now - control.clock()
    for level in (*control.levels.values(), *control.leaving):
        for queue in level.queues.used():
            for place, request in enumerate(queue.waiting):
                yield _request(request, place, offset, details)
        for request in level.inside:
            yield _request(request, -1, offset, details)


def _request(request: Request, place: int, offset: float, details: bool) -> Row:
    flow, queue = request.flow, request.queue.index if request.queue is not None else -1
    arrived = request.arrived or request.began
    shown: Row = (
        *(request.level.name, flow.schema.name, str(queue), str(place), flow.distinguisher),
        *(_time(arrived, offset), str(request.width), "0", "0s", _time(request.began, offset)),
    )
    if not details:
        return shown
    info = request.info
    version = f"{info.group}/{info.version}" if info.group else info.version
    asked = (info.verb, info.path, info.namespace, info.name, version, info.resource, info.subresource)
    return *shown, request.user.name, *asked


def _time(moment: float, offset: float) -> str:
    return rfc3339_micro(moment + offset) if moment else "0001-01-01T00:00:00Z"


def _word(value: bool) -> str:
    return str(value).lower()
