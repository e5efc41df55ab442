"""What is wrong with a value, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.structural.compiled import ValueCheck
from apimachinery.structural.correlation import Correlated
from apimachinery.structural.listtypes import validate_lists
from apimachinery.structural.nodes import compile_schema
from apimachinery.structural.validation import validate

STRING, INTEGER = {"type": "string"}, {"type": "integer"}
INT_OR_STRING = {"x-kubernetes-int-or-string": True}


# How Kubernetes says where the object as a whole is.
WHOLE = '<nil>: Invalid value: "": '


def fields(**of: Any) -> dict[str, Any]:
    return {"type": "object", "properties": of}


def told(schema: Any, value: Any) -> list[str]:
    found = [error.message() for error in validate(value, schema)]
    assert ValueCheck(schema).passes(value) == (not found)
    return found


@pytest.mark.parametrize(
    ("schema", "value", "message"),
    [
        (STRING, 1, 'Invalid value: "integer": a in body must be of type string: "integer"'),
        (INTEGER, "1", 'Invalid value: "string": a in body must be of type integer: "string"'),
        (INTEGER, 1.5, 'Invalid value: "number": a in body must be of type integer: "number"'),
        (INTEGER, 2**63, 'Invalid value: "number": a in body must be of type integer: "number"'),
        (STRING, None, 'Invalid value: "null": a in body must be of type string: "null"'),
        (INT_OR_STRING, True, 'Invalid value: "boolean": a in body must be of type integer,string: "boolean"'),
        ({**STRING, "maxLength": 2}, "abc", "Too long: may not be more than 2 bytes"),
        ({**STRING, "minLength": 2}, "a", 'Invalid value: "a": a in body should be at least 2 chars long'),
        ({**STRING, "pattern": "^[a-z]$"}, "A", "Invalid value: \"A\": a in body should match '^[a-z]$'"),
        ({**STRING, "enum": ["x", "y"]}, "z", 'Unsupported value: "z": supported values: "x", "y"'),
        ({**STRING, "format": "date"}, "x", 'Invalid value: "x": a in body must be of type date: "x"'),
        ({**INTEGER, "minimum": 3}, 2, "Invalid value: 2: a in body should be greater than or equal to 3"),
        (
            {**INTEGER, "minimum": 3, "exclusiveMinimum": True},
            3,
            "Invalid value: 3: a in body should be greater than 3",
        ),
        ({**INTEGER, "maximum": 3}, 4, "Invalid value: 4: a in body should be less than or equal to 3"),
        ({**INTEGER, "multipleOf": 5}, 4, "Invalid value: 4: a in body should be a multiple of 5"),
        (
            {"type": "array", "items": STRING, "maxItems": 1},
            ["x", "y"],
            "Too many: 2: must have at most 1 item",
        ),
        (
            {"type": "array", "items": STRING, "minItems": 2},
            ["x"],
            "Invalid value: 1: a in body should have at least 2 items",
        ),
        (
            {"type": "object", "additionalProperties": STRING, "minProperties": 1},
            {},
            "Invalid value: 0: a in body should have at least 1 properties",
        ),
    ],
)
def test_one_thing_is_wrong(schema: Any, value: Any, message: str) -> None:
    assert told(fields(a=schema), {"a": value}) == [f"a: {message}"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (INTEGER, 1.0),
        ({"type": "number"}, 1),
        (INT_OR_STRING, "1"),
        (INT_OR_STRING, 1),
        ({**STRING, "nullable": True}, None),
        ({**STRING, "maxLength": 2}, "éé"),
        ({**STRING, "format": "of-my-own"}, "anything"),
        ({**STRING, "format": "date-time"}, "2024-02-29T12:00:00Z"),
        ({"type": "number", "multipleOf": 0.1}, 0.3),
        ({"type": "object", "additionalProperties": True}, {"x": [1]}),
    ],
)
def test_nothing_is_wrong(schema: Any, value: Any) -> None:
    assert told(fields(a=schema), {"a": value}) == []


def test_all_that_is_wrong_is_told_with_its_place() -> None:
    item = {**fields(port={**INTEGER, "maximum": 9}), "required": ["name"]}
    schema = fields(
        spec={
            **fields(servers={"type": "array", "items": item}, mode={**STRING, "enum": ["on"]}),
            "required": ["kind"],
        }
    )
    assert told(schema, {"spec": {"servers": [{"port": 10}, {"name": "x"}], "mode": "off"}}) == [
        "spec.servers[0].port: Invalid value: 10: spec.servers[0].port in body should be less than or equal to 9",
        "spec.servers[0].name: Required value",
        'spec.mode: Unsupported value: "off": supported values: "on"',
        "spec.kind: Required value",
    ]


@pytest.mark.parametrize(
    ("junctor", "value", "messages"),
    [
        (
            {"anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {},
            [WHOLE + '"spec" must validate at least one schema (anyOf)', "spec.a: Required value"],
        ),
        ({"anyOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"b": "x"}, []),
        (
            {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"a": "x", "b": "x"},
            [WHOLE + '"spec" must validate one and only one schema (oneOf). Found 2 valid alternatives'],
        ),
        (
            {"allOf": [{"required": ["a"]}, {"required": ["b"]}]},
            {"a": "x"},
            ["spec.b: Required value", WHOLE + '"spec" must validate all the schemas (allOf)'],
        ),
        (
            {"not": {"required": ["a"]}},
            {"a": "x"},
            [WHOLE + '"spec" must not validate the schema (not)'],
        ),
    ],
)
def test_conditions_of_several_schemas(junctor: Any, value: Any, messages: list[str]) -> None:
    assert told(fields(spec={**fields(a=STRING, b=STRING), **junctor}), {"spec": value}) == messages


SET = {"type": "array", "items": INTEGER, "x-kubernetes-list-type": "set"}
MAP = {
    "type": "array",
    "items": fields(name=STRING, port={**INTEGER, "maximum": 9}),
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["name"],
}


@pytest.mark.parametrize(
    ("schema", "value", "messages"),
    [
        (SET, [1, 2, 1, 1, 2], ["a[2]: Duplicate value: 1", "a[4]: Duplicate value: 2"]),
        (SET, [1, 2], []),
        (MAP, [{"name": "x"}, {"name": "y"}, {"name": "x", "port": 1}], ['a[2]: Duplicate value: {"name":"x"}']),
        (MAP, [{"name": "x"}, {"name": "y"}], []),
        ({"type": "array", "items": INTEGER}, [1, 1], []),
    ],
)
def test_lists_that_are_sets_or_maps_hold_nothing_twice(schema: Any, value: Any, messages: list[str]) -> None:
    errors = validate_lists({"a": value}, compile_schema(fields(a=schema)))
    assert [error.message() for error in errors] == messages


@pytest.mark.parametrize(
    ("schema", "old", "new", "count"),
    [
        # What was wrong before and is as it was passes, at any depth.
        (fields(a={**INTEGER, "maximum": 9}, b=STRING), {"a": 10}, {"a": 10, "b": "x"}, 0),
        (fields(a={**INTEGER, "maximum": 9}), {"a": 10}, {"a": 11}, 1),
        (fields(a={**INTEGER, "maximum": 9}), {}, {"a": 10}, 1),
        # Items of a map are found again by their keys, those of other lists not at all.
        (fields(a=MAP), {"a": [{"name": "x", "port": 10}]}, {"a": [{"name": "y"}, {"name": "x", "port": 10}]}, 0),
        (fields(a=MAP), {"a": [{"name": "x", "port": 10}]}, {"a": [{"name": "y", "port": 10}]}, 1),
        # Their order is no part of what they are.
        (
            fields(a={**MAP, "maxItems": 1}),
            {"a": [{"name": "x"}, {"name": "y"}]},
            {"a": [{"name": "y"}, {"name": "x"}]},
            0,
        ),
        (
            fields(a={**MAP, "maxItems": 1}),
            {"a": [{"name": "x"}, {"name": "y"}]},
            {"a": [{"name": "y"}, {"name": "z"}]},
            1,
        ),
        (fields(a={**SET, "maxItems": 1}), {"a": [1, 2]}, {"a": [2, 1]}, 1),
        (
            fields(a={"type": "array", "items": {**INTEGER, "maximum": 9}}),
            {"a": [10]},
            {"a": [10, 1]},
            1,
        ),
        # A required field that was missing before may stay away while nothing beside it changes.
        (fields(a={**fields(b=STRING), "required": ["b"]}, c=STRING), {"a": {}}, {"a": {}, "c": "x"}, 0),
        (fields(a={**fields(b=STRING, c=STRING), "required": ["b"]}), {"a": {}}, {"a": {"c": "x"}}, 1),
        # True is not 1.
        (fields(a=STRING), {"a": True}, {"a": 1}, 1),
    ],
)
def test_what_was_wrong_before_may_stay(schema: Any, old: Any, new: Any, count: int) -> None:
    correlated = Correlated(new, old, compile_schema(schema))
    assert len(validate(new, schema, correlated=correlated)) == count


def test_a_field_that_is_required_twice_is_required() -> None:
    schema = {**fields(a=STRING), "required": ["a", "a"]}
    assert told(schema, {"a": "x"}) == []
    assert ValueCheck(schema).passes({}) is False
