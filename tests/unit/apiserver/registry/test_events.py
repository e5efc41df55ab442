"""Events of the group events.k8s.io, which are those of the core group in another form."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import EVENTS, EVENTS_EVENTS
from apimachinery.selectors import parse_field_selector
from apiserver.registry import strategy
from apiserver.registry.conversion import convert
from tests.unit.apiserver.registry.factories import problems, shown, update_problems

NEW, CORE = "events.k8s.io/v1", "v1"


def event(**fields: Any) -> Object:
    return {
        "apiVersion": NEW,
        "kind": "Event",
        "metadata": {"name": "web.1", "namespace": "default"},
        "eventTime": "2026-01-02T03:04:00.000000Z",
        "regarding": {"kind": "Pod", "namespace": "default", "name": "web"},
        "reportingController": "example.com/operator",
        "reportingInstance": "operator-0",
        "action": "Bind",
        "reason": "Bound",
        "type": "Normal",
        "note": "it is bound",
        **fields,
    }


def stored(**fields: Any) -> Object:
    return convert(event(**fields), CORE)


def test_an_event_is_stored_in_the_form_of_the_core_group():
    found = stored(deprecatedSource={"component": "x"}, deprecatedCount=2)
    assert found["apiVersion"] == CORE
    assert found["involvedObject"]["name"] == "web"
    assert (found["message"], found["reportingComponent"], found["source"], found["count"]) == (
        "it is bound",
        "example.com/operator",
        {"component": "x"},
        2,
    )
    assert convert(found, NEW) == event(deprecatedSource={"component": "x"}, deprecatedCount=2)


def test_a_complete_event_is_taken_under_both_names():
    assert problems(EVENTS_EVENTS, stored()) == []
    assert problems(EVENTS, stored()) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            {"eventTime": None, "deprecatedCount": 1},
            ["eventTime: Required value", 'count: Invalid value: "": needs to be unset'],
        ),
        ({"type": "Odd"}, ['type: Invalid value: "": has invalid value: Odd']),
        ({"series": {"count": 1}}, ["should be at least 2", "series.lastObservedTime: Required value"]),
        ({"reportingController": ""}, ["reportingController: Required value"]),
        ({"action": "x" * 129}, ['action: Invalid value: "": can have at most 128 characters']),
    ],
)
def test_the_newer_form_says_more(wrong, told):
    found = problems(EVENTS_EVENTS, stored(**wrong))
    assert all(any(part in whole for whole in found) for part in told)


def test_what_has_happened_stays():
    again = stored(series={"count": 2, "lastObservedTime": "2026-01-02T03:05:00.000000Z"})
    assert update_problems(EVENTS_EVENTS, again, stored()) == []
    assert update_problems(EVENTS_EVENTS, stored(note="else"), stored()) == [
        'message: Invalid value: "else": field is immutable'
    ]


def test_each_group_selects_by_its_own_names_of_fields():
    by_new = parse_field_selector(
        "regarding.name=web,reportingController=example.com/operator", strategy(EVENTS_EVENTS).selectable
    )
    by_core = parse_field_selector("involvedObject.name=web,source=example.com/operator", strategy(EVENTS).selectable)
    assert by_new.matches(convert(stored(), "events.k8s.io/v1")) and by_core.matches(stored())
    assert not by_new.matches(convert(stored(regarding={"name": "db"}), "events.k8s.io/v1"))


def test_both_are_shown_alike():
    assert shown(EVENTS_EVENTS, event()) == shown(EVENTS_EVENTS, stored()) == shown(EVENTS, stored())
    assert shown(EVENTS, stored())["Object"] == "pod/web"
