"""Events.

Source: kubernetes/pkg/apis/core/validation/events.go and the printers. How long they are kept is the store's matter.
"""

from __future__ import annotations

from apimachinery.field import invalid_value, required
from apimachinery.meta import Object
from apimachinery.names import dns1123_subdomain
from apimachinery.resources import EVENTS
from apiserver.registry import checks
from apiserver.registry.checks import Errors
from apiserver.registry.strategy import Cell, Column, Since, Strategy, nothing, replace_all

_TEXT_MAX = {"reportingInstance": 128, "action": 128, "reason": 128, "message": 1024}
_MISMATCH = "does not match event.namespace"


def validate(event: Object) -> Errors:
    """What is wrong with an event in itself."""
    return validate_event(event, reporter="reportingComponent")


def validate_event(event: Object, *, reporter: str) -> Errors:
    """An event stands in the namespace of what it is about; the newer form of events says who reports what.

    `reporter` is what the field of who reports it is called where the event was sent to.
    """
    errors: Errors = []
    namespace = event["metadata"].get("namespace") or ""
    about = (event.get("involvedObject") or {}).get("namespace") or ""
    if not event.get("eventTime"):
        if about != namespace and (about or namespace != "default"):
            errors.append(invalid_value("involvedObject.namespace", about, _MISMATCH))
    else:
        if not about and namespace not in ("default", "kube-system"):
            errors.append(invalid_value("involvedObject.namespace", about, _MISMATCH))
        controller = event.get("reportingComponent") or ""
        if not controller:
            errors.append(required(reporter))
        checks.qualified_name(controller, reporter, errors)
        for field, maximum in _TEXT_MAX.items():
            text = event.get(field) or ""
            if not text and field != "message":
                errors.append(required(field))
            if len(text) > maximum:
                errors.append(invalid_value(field, "", f"can have at most {maximum} characters"))
    errors += [invalid_value("namespace", namespace, why) for why in dns1123_subdomain(namespace)]
    return errors


def _first_time(event: Object) -> str | None:
    return event.get("firstTimestamp") or event.get("eventTime")


def _last_seen(event: Object) -> Cell:
    series = event.get("series")
    if series is not None:
        return Since((series.get("lastObservedTime"),))
    return Since((event.get("lastTimestamp") or _first_time(event),))


def _first_seen(event: Object) -> Cell:
    return Since((_first_time(event),))


def _count(event: Object) -> Cell:
    series = event.get("series")
    if series is not None:
        return series.get("count") or 0
    return event.get("count") or 1


def _object(event: Object) -> Cell:
    about = event.get("involvedObject") or {}
    kind = (about.get("kind") or "").lower()
    return f"{kind}/{about['name']}" if about.get("name") else kind


def _subobject(event: Object) -> Cell:
    return (event.get("involvedObject") or {}).get("fieldPath") or ""


def _source(event: Object) -> Cell:
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    instance = source.get("host") or event.get("reportingInstance") or ""
    return f"{component}, {instance}" if instance else component


def _type(event: Object) -> Cell:
    return event.get("type") or ""


def _reason(event: Object) -> Cell:
    return event.get("reason") or ""


def _message(event: Object) -> Cell:
    return (event.get("message") or "").strip()


def _name(event: Object) -> Cell:
    found: str = event["metadata"]["name"]
    return found


STRATEGY = Strategy(
    EVENTS,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    columns=(
        Column("Last Seen", _last_seen, description="When it happened last."),
        Column("Type", _type, description="Normal, or Warning."),
        Column("Reason", _reason, description="What happened, in one word."),
        Column("Object", _object, description="What it is about."),
        Column("Subobject", _subobject, priority=1, description="The part of the object that it is about."),
        Column("Source", _source, priority=1, description="Who reports it."),
        Column("Message", _message, description="What happened, for people."),
        Column("First Seen", _first_seen, priority=1, description="When it happened first."),
        Column("Count", _count, priority=1, description="How often it has happened."),
        Column("Name", _name, format="name", priority=1, description="The name of the event."),
    ),
    selectable=(
        *("involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid"),
        *("involvedObject.apiVersion", "involvedObject.resourceVersion", "involvedObject.fieldPath"),
        *("reason", "reportingComponent", "source", "type"),
    ),
    create_on_update=True,
)
