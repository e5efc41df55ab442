"""Events as events.k8s.io/v1 serves them. They are stored in the form of the core group, and so checked in it, but
this group asks for more: who reports what, and nothing of what it calls deprecated.

Source: kubernetes/pkg/apis/core/validation/events.go, pkg/apis/events/v1/conversion.go.
"""

from __future__ import annotations

from dataclasses import replace

from apimachinery.field import invalid_value, required
from apimachinery.meta import Object
from apimachinery.resources import EVENTS
from apiserver.registry import events
from apiserver.registry.checks import Errors
from apiserver.registry.conversion import convert
from apiserver.registry.equality import equal, immutable
from apiserver.registry.metadata import IMMUTABLE
from apiserver.registry.strategy import Cell, Column

_DEPRECATED = ("firstTimestamp", "lastTimestamp", "count")
_FIXED = (
    *("involvedObject", "reason", "message", "source", "firstTimestamp", "lastTimestamp", "count", "type"),
    *("action", "related", "reportingInstance"),
)


def validate(event: Object) -> Errors:
    """What is wrong with an event in itself."""
    errors = events.validate_event(event, reporter="reportingController")
    # One that is stored has a version; it may have been made in the core group.
    if event["metadata"].get("resourceVersion"):
        return errors
    _validate_series(event, errors)
    if not event.get("eventTime"):
        errors.append(required("eventTime"))
    if event.get("type") not in ("Normal", "Warning"):
        errors.append(invalid_value("type", "", f"has invalid value: {event.get('type') or ''}"))
    for field in _DEPRECATED:
        if event.get(field):
            errors.append(invalid_value(field, "", "needs to be unset"))
    source = event.get("source") or {}
    if source.get("component") or source.get("host"):
        errors.append(invalid_value("source", "", "needs to be unset"))
    return errors


def _validate_series(event: Object, errors: Errors) -> None:
    series = event.get("series")
    if series is None:
        return
    if (series.get("count") or 0) < 2:
        errors.append(invalid_value("series.count", "", "should be at least 2"))
    if not series.get("lastObservedTime"):
        errors.append(required("series.lastObservedTime"))


def validate_update(event: Object, old: Object) -> Errors:
    """What has happened stays; how often it has happened again may change."""
    errors: Errors = []
    if not equal(event.get("series"), old.get("series")):
        _validate_series(event, errors)
    for field in _FIXED:
        immutable(event.get(field), old.get(field), field, errors)
    if event.get("eventTime") != old.get("eventTime"):
        errors.append(invalid_value("eventTime", event.get("eventTime"), IMMUTABLE))
    immutable(event.get("reportingComponent"), old.get("reportingComponent"), "reportingController", errors)
    return errors


def _as_in_core(column: Column) -> Column:
    """A column of the core group's table, which people know events by."""

    def cell(event: Object) -> Cell:
        return column.cell(convert(event, EVENTS.api_version))

    return column._replace(cell=cell)


STRATEGY = replace(
    events.STRATEGY,
    columns=tuple(map(_as_in_core, events.STRATEGY.columns)),
    validate=validate,
    validate_update=validate_update,
    selectable=(
        *("regarding.kind", "regarding.namespace", "regarding.name", "regarding.uid", "regarding.apiVersion"),
        *("regarding.resourceVersion", "regarding.fieldPath", "reason", "reportingController", "type"),
    ),
)
