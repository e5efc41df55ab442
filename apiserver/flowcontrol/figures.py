"""The figures of flow control for /metrics, under Kubernetes' names.

Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#good-practices (metrics).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from apiserver.exposition import gauge, header, sample
from apiserver.flowcontrol.control import FlowControl
from apiserver.flowcontrol.flows import Schema
from apiserver.flowcontrol.level import Level

_PREFIX = "apiserver_flowcontrol_"
_OF_LEVELS: tuple[tuple[str, str, Callable[[Level], float]], ...] = (
    ("nominal_limit_seats", "Seats by configuration.", lambda level: level.bounds.nominal),
    ("lower_limit_seats", "Seats that are never lent.", lambda level: level.bounds.low),
    ("upper_limit_seats", "Seats with all that may be borrowed.", lambda level: level.bounds.high),
    ("current_limit_seats", "Seats for now.", lambda level: level.bounds.low if level.exempt else level.limit),
    ("target_seats", "Seats that are aimed at.", lambda level: level.target),
    ("demand_seats_high_watermark", "The most seats that could be used lately.", lambda level: level.demand.highest),
    ("demand_seats_average", "Seats that could be used lately.", lambda level: level.demand.average),
    ("demand_seats_stdev", "How much that varied.", lambda level: level.demand.deviation),
    ("demand_seats_smoothed", "Seats that could be used over time.", lambda level: level.demand.smoothed),
)
_OF_SCHEMAS: tuple[tuple[str, str, Callable[[Schema], float]], ...] = (
    ("current_executing_requests", "Requests that run.", lambda schema: schema.running),
    ("current_executing_seats", "Seats of requests that run.", lambda schema: schema.seats),
    ("current_inqueue_requests", "Requests that wait in queues.", lambda schema: schema.queued),
)


def lines(control: FlowControl) -> Iterator[str]:
    """All lines."""
    schemas = [(schema, _labels(schema)) for schema in control.schemas.values()]
    yield from header(f"{_PREFIX}dispatched_requests_total", "counter", "Requests that were served.")
    for schema, labels in schemas:
        yield sample(f"{_PREFIX}dispatched_requests_total", labels, schema.dispatched)
    yield from header(f"{_PREFIX}rejected_requests_total", "counter", "Requests that were refused, by reason.")
    for schema, labels in schemas:
        for reason, count in schema.rejected.items():
            yield sample(f"{_PREFIX}rejected_requests_total", {**labels, "reason": reason}, count)
    for name, text, of_schema in _OF_SCHEMAS:
        yield from gauge(_PREFIX + name, text, [(labels, of_schema(schema)) for schema, labels in schemas])
    name = f"{_PREFIX}request_wait_duration_seconds"
    yield from header(name, "histogram", "How long requests waited in queues.")
    for schema, labels in schemas:
        at_once = schema.dispatched - schema.waits.count
        yield from schema.waits.lines(name, {**labels, "execute": "true"}, zeros=at_once)
        if schema.waits_in_vain.count:
            yield from schema.waits_in_vain.lines(name, {**labels, "execute": "false"})
    levels = [({"priority_level": level.name}, level) for level in control.levels.values()]
    for name, text, of_level in _OF_LEVELS:
        yield from gauge(_PREFIX + name, text, [(labels, of_level(level)) for labels, level in levels])
    text = "The part of what it wants that every level gets that can use it."
    yield from gauge(f"{_PREFIX}seat_fair_frac", text, [({}, control.fair_fraction)])


def _labels(schema: Schema) -> dict[str, str]:
    return {"priority_level": schema.level.name, "flow_schema": schema.name}
