"""Which fields go, and which nulls; what defaults fill in."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from apimachinery.structural import metadata
from apimachinery.structural.defaulting import apply_defaults, drop_nulls, prune_defaults
from apimachinery.structural.nodes import compile_schema
from apimachinery.structural.pruning import prune

STRING, OBJECT = {"type": "string"}, {"type": "object"}
PRESERVE = {"x-kubernetes-preserve-unknown-fields": True}
EMBEDDED = {"type": "object", "x-kubernetes-embedded-resource": True}


def fields(**of: Any) -> dict[str, Any]:
    return {"type": "object", "properties": of}


def listed(of: Any, **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": of, **more}


@pytest.mark.parametrize(
    ("schema", "value", "left", "removed"),
    [
        (fields(a=STRING), {"a": "1", "b": {"a": 1}}, {"a": "1"}, ["b"]),
        (fields(a=fields(b=STRING)), {"a": {"b": "1", "c": 2}}, {"a": {"b": "1"}}, ["a.c"]),
        (fields(a=listed(fields(b=STRING))), {"a": [{"b": "1", "c": 2}, {}]}, {"a": [{"b": "1"}, {}]}, ["a[0].c"]),
        (fields(a=listed(listed(fields()))), {"a": [[{"b": 1}]]}, {"a": [[{}]]}, ["a[0][0].b"]),
        # Where unknown fields are preserved everything stays but what a known field says otherwise of.
        (
            {**fields(a=fields(b=STRING)), **PRESERVE},
            {"a": {"c": 1}, "x": {"y": 1}},
            {"a": {}, "x": {"y": 1}},
            ["a.c"],
        ),
        (fields(a={"type": "object", **PRESERVE}), {"a": {"x": [{"y": 1}]}}, {"a": {"x": [{"y": 1}]}}, []),
        # Of maps all keys are known, and their values by one schema.
        (
            fields(a={"type": "object", "additionalProperties": fields(b=STRING)}),
            {"a": {"x": {"b": "1", "c": 2}}},
            {"a": {"x": {"b": "1"}}},
            ["a.x.c"],
        ),
        (
            fields(a={"type": "object", "additionalProperties": True}),
            {"a": {"x": {"y": 1}}},
            {"a": {"x": {}}},
            ["a.x.y"],
        ),
        # A value of another type than the schema says is pruned as if it said nothing.
        (fields(a=STRING), {"a": {"b": 1}}, {"a": {}}, ["a.b"]),
        (fields(a=fields(b=STRING)), {"a": [{"b": "1"}]}, {"a": [{}]}, ["a[0].b"]),
        # Embedded resources keep what makes them such.
        (
            fields(a={**EMBEDDED, **fields(spec=fields())}),
            {"a": {"apiVersion": "v1", "kind": "Pod", "metadata": {"x": 1}, "spec": {"y": 1}, "status": {}}},
            {"a": {"apiVersion": "v1", "kind": "Pod", "metadata": {"x": 1}, "spec": {}}},
            ["a.spec.y", "a.status"],
        ),
        (
            fields(a={**EMBEDDED, **PRESERVE}),
            {"a": {"kind": "Pod", "spec": {"y": 1}}},
            {"a": {"kind": "Pod", "spec": {"y": 1}}},
            [],
        ),
        (fields(a={"x-kubernetes-int-or-string": True}), {"a": 1, "b": 1}, {"a": 1}, ["b"]),
    ],
)
def test_unknown_fields_go(schema: Any, value: Any, left: Any, removed: list[str]) -> None:
    assert prune(value, compile_schema(schema)) == removed
    assert value == left


def test_the_object_itself_is_a_resource() -> None:
    value = {"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "a"}, "spec": {}, "other": 1}
    assert prune(value, compile_schema(fields(spec=fields())).as_root()) == ["other"]
    assert value == {"apiVersion": "a/v1", "kind": "A", "metadata": {"name": "a"}, "spec": {}}


WITH_DEFAULT = {"type": "string", "default": "d"}


@pytest.mark.parametrize(
    ("schema", "value", "filled"),
    [
        (fields(a=WITH_DEFAULT), {}, {"a": "d"}),
        (fields(a=WITH_DEFAULT), {"a": "x"}, {"a": "x"}),
        (fields(a=WITH_DEFAULT), {"a": ""}, {"a": ""}),
        # A null gives way to a default unless it may be there.
        (fields(a=WITH_DEFAULT), {"a": None}, {"a": "d"}),
        (fields(a={**WITH_DEFAULT, "nullable": True}), {"a": None}, {"a": None}),
        (fields(a={**WITH_DEFAULT, "nullable": True}), {}, {"a": "d"}),
        # Nothing is made only to hold a default; what a default makes is filled in itself.
        (fields(a=fields(b=WITH_DEFAULT)), {}, {}),
        (fields(a={**fields(b=WITH_DEFAULT), "default": {}}), {}, {"a": {"b": "d"}}),
        (fields(a=listed(fields(b=WITH_DEFAULT))), {"a": [{}, {"b": "x"}]}, {"a": [{"b": "d"}, {"b": "x"}]}),
        (
            fields(a={"type": "object", "additionalProperties": fields(b=WITH_DEFAULT)}),
            {"a": {"x": {}}},
            {"a": {"x": {"b": "d"}}},
        ),
        (fields(a=listed(WITH_DEFAULT)), {"a": [None, "x"]}, {"a": ["d", "x"]}),
        (
            fields(a={"type": "object", "additionalProperties": WITH_DEFAULT}),
            {"a": {"x": None}},
            {"a": {"x": "d"}},
        ),
        (fields(a={"type": "boolean", "default": False}), {}, {"a": False}),
    ],
)
def test_defaults_are_filled_in(schema: Any, value: Any, filled: Any) -> None:
    node = prune_defaults(compile_schema(schema))
    before = copy.deepcopy(value)
    assert apply_defaults(value, node) == (before != filled)
    assert value == filled


def test_defaults_are_pruned_and_never_shared() -> None:
    node = prune_defaults(compile_schema(fields(a={**fields(b=listed(STRING)), "default": {"b": ["x"], "c": 1}})))
    one: dict[str, Any] = {}
    other: dict[str, Any] = {}
    apply_defaults(one, node)
    apply_defaults(other, node)
    one["a"]["b"].append("y")
    assert other == {"a": {"b": ["x"]}}


@pytest.mark.parametrize(
    ("schema", "value", "left"),
    [
        (fields(a=STRING), {"a": None}, {}),
        (fields(a={**STRING, "nullable": True}), {"a": None}, {"a": None}),
        (fields(a=WITH_DEFAULT), {"a": None}, {"a": None}),  # it is for defaulting to replace
        (fields(a={"type": "object", "additionalProperties": STRING}), {"a": {"x": None}}, {"a": {}}),
        (fields(a=listed(fields(b=STRING))), {"a": [{"b": None}, None]}, {"a": [{}, None]}),
        ({**fields(), **PRESERVE}, {"x": None}, {"x": None}),
    ],
)
def test_nulls_go_where_they_may_not_be(schema: Any, value: Any, left: Any) -> None:
    before = copy.deepcopy(value)
    assert drop_nulls(value, compile_schema(schema)) == (before != left)
    assert value == left


def test_metadata_has_the_fields_of_all_metadata() -> None:
    node = compile_schema(fields(a={**EMBEDDED, **PRESERVE})).as_root()
    obj = {
        "metadata": {"name": "a", "labels": {"x": "y"}, "unknown": 1, "annotations": None},
        "a": {"kind": "Pod", "metadata": {"name": "b", "other": 2}},
    }
    assert metadata.coerce(obj, node) == (["a.metadata.other", "metadata.unknown"], [])
    assert obj == {
        "metadata": {"name": "a", "labels": {"x": "y"}},
        "a": {"kind": "Pod", "metadata": {"name": "b"}},
    }


def test_metadata_of_a_wrong_type_is_told_and_stays() -> None:
    node = compile_schema(fields(a={**EMBEDDED, **PRESERVE})).as_root()
    obj = {"metadata": {"name": "a"}, "a": {"kind": 1, "metadata": {"labels": {"x": 1}}}}
    unknown, errors = metadata.coerce(obj, node)
    assert unknown == []
    assert [error.path for error in errors] == ["a.kind", "a.metadata.labels[x]"] or len(errors) == 2
    assert obj["a"] == {"kind": 1, "metadata": {"labels": {"x": 1}}}
    # What was stored like that before the schema said what it is goes.
    metadata.drop_malformed(obj, node)
    assert obj["a"] == {"metadata": {}}
