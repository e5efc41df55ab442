"""The schemas of CustomResourceDefinitions: what is refused when they are written."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.registry.customresourcedefinition_schemas import (
    unknown_formats,
    validate_schema,
    validate_selectable,
)

STRING, INTEGER, OBJECT = {"type": "string"}, {"type": "integer"}, {"type": "object"}


def fields(**of: Any) -> dict[str, Any]:
    return {"type": "object", "properties": of}


def spec(**schema: Any) -> dict[str, Any]:
    return fields(spec=schema)


def told(schema: Any, *, status: bool = False) -> list[str]:
    return [error.message().removeprefix("s.") for error in validate_schema(schema, "s", status=status)]


def test_a_schema_is_as_it_should_be() -> None:
    keys = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    ports = {"type": "array", "items": {**fields(name=STRING), "required": ["name"]}, **keys, "maxItems": 9}
    rules = [{"rule": "self.size > 1", "message": "too small", "reason": "FieldValueInvalid", "fieldPath": ".size"}]
    inner = {**fields(size={**INTEGER, "default": 3}, ports=ports), "x-kubernetes-validations": rules}
    assert told(fields(spec=inner, status=OBJECT), status=True) == []


@pytest.mark.parametrize(
    ("schema", "messages"),
    [
        (spec(type="text"), ['properties[spec].type: Unsupported value: "text"']),
        (
            spec(type="null"),
            [
                'properties[spec].type: Unsupported value: "null"',
                "properties[spec].type: Forbidden: type cannot be set to null, use nullable as an alternative",
            ],
        ),
        ({**fields(), "nullable": True}, ["s.nullable: Forbidden: nullable cannot be true at the root"]),
        (
            spec(type="array", items=STRING, uniqueItems=True),
            ["properties[spec].uniqueItems: Forbidden: uniqueItems"],
        ),
        (
            spec(type="object", properties={"a": STRING}, additionalProperties=STRING),
            ["properties[spec].additionalProperties: Forbidden: additionalProperties and properties are"],
        ),
        (
            spec(type="string", default=1),
            ['properties[spec].default: Invalid value: "integer":  in body must be of type string: "integer"'],
        ),
        (
            spec(**fields(a=STRING), default={"b": 1}),
            ['properties[spec].default: Invalid value: {"b":1}: must not have unknown fields'],
        ),
        (
            fields(metadata=fields(name={**STRING, "default": "x"})),
            ["properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata"],
        ),
        (
            spec(type="array", items=INTEGER, **{"x-kubernetes-list-type": "bag"}),
            ['properties[spec].x-kubernetes-list-type: Unsupported value: "bag"'],
        ),
        (
            spec(type="object", **{"x-kubernetes-list-type": "set"}),
            ['properties[spec].type: Invalid value: "object": must be array if x-kubernetes-list-type is specified'],
        ),
        (
            spec(type="array", items=fields(a=STRING), **{"x-kubernetes-list-type": "map"}),
            [
                "properties[spec].x-kubernetes-list-map-keys: Required value: must not be empty if "
                "x-kubernetes-list-type is map"
            ],
        ),
        (
            spec(
                type="array",
                items=fields(a=STRING),
                **{"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a"]},
            ),
            [
                "properties[spec].items.properties[a].default: Required value: this property is in "
                "x-kubernetes-list-map-keys, so it must have a default or be a required property"
            ],
        ),
        (
            spec(type="array", items=OBJECT, **{"x-kubernetes-list-type": "set"}),
            ["properties[spec].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list"],
        ),
        ({}, ["s.type: Required value: must not be empty at the root"]),
        (
            spec(**{"$ref": "#/definitions/x", "type": "object"}),
            ["properties[spec].$ref: Forbidden: $ref is not supported"],
        ),
    ],
)
def test_what_is_wrong_with_a_schema_is_told(schema: Any, messages: list[str]) -> None:
    found = validate_schema(schema, "s", status=False)
    assert len(found) == len(messages), [error.message() for error in found]
    for error, message in zip(found, messages, strict=True):
        assert error.message().removeprefix("s.").startswith(message.removeprefix("s."))


def template(**of: Any) -> dict[str, Any]:
    kept = {} if of else {"x-kubernetes-preserve-unknown-fields": True}
    return {**fields(**of), "x-kubernetes-embedded-resource": True, **kept}


def labels(**default: str) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": STRING, "default": default}


def test_what_is_embedded_may_have_defaults_of_its_own_metadata() -> None:
    kind = {**STRING, "default": "Pod"}
    named = fields(name={**STRING, "default": "x"}, labels=labels(a="b"))
    assert told(spec(**template(kind=kind, metadata=named))) == []
    listed = {"type": "array", "items": template(apiVersion={**STRING, "default": "v1"}, metadata=named)}
    assert told(spec(**fields(list=listed))) == []
    whole = {**template(), "default": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}}}
    assert told(spec(**whole)) == []


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            template(kind={**STRING, "default": "a b"}),
            'spec].properties[kind].default: Invalid value: "a b": must result in valid metadata: kind: Invalid',
        ),
        (
            template(metadata=fields(labels=labels(a="/"))),
            'properties[labels].default: Invalid value: {"a":"/"}: must result in valid metadata: metadata.',
        ),
        (
            {**template(), "default": {"apiVersion": 1, "kind": "Pod"}},
            "properties[spec].default.apiVersion: Invalid value: 1: must be a string",
        ),
        (
            {**template(), "default": {"apiVersion": "v1"}},
            "properties[spec].default.kind: Required value",
        ),
    ],
)
def test_what_is_embedded_stays_a_resource_with_its_defaults(schema: Any, message: str) -> None:
    (found,) = told(spec(**schema))
    assert message in found


def test_beside_a_status_the_root_says_little() -> None:
    (found,) = told({**fields(), "anyOf": [{"required": ["spec"]}]}, status=True)
    assert "fields are allowed at the root of the schema if the status subresource is enabled" in found
    assert told({**fields(), "anyOf": [{"required": ["spec"]}]}) == []


RULE = "properties[spec].x-kubernetes-validations[0]"


@pytest.mark.parametrize(
    ("rule", "place", "message"),
    [
        ({"rule": "self.a > 'x'"}, "rule", "found no matching overload for '_>_' applied to '(int, string)'"),
        ({"rule": " "}, "rule", "rule is not specified"),
        ({"rule": "self.a > 1", "message": "a\nb"}, "message", "must not contain line breaks"),
        ({"rule": "self.a >\n 1"}, "message", "message must be specified if rule contains line breaks"),
        ({"rule": "self.a > 1", "reason": "Because"}, "reason", 'Unsupported value: "Because"'),
        ({"rule": "self.a > 1", "fieldPath": ".none"}, "fieldPath", "must be a valid path"),
        ({"rule": "self.a > 1", "messageExpression": "1"}, "messageExpression", "must evaluate to a string"),
        ({"rule": "self.a > 1", "messageExpression": "x"}, "messageExpression", "undeclared reference to 'x'"),
        (
            {"rule": "self.a > 1", "optionalOldSelf": True},
            "optionalOldSelf",
            "may not be set if oldSelf is not used in rule",
        ),
    ],
)
def test_what_is_wrong_with_a_rule_is_told(rule: Any, place: str, message: str) -> None:
    (found,) = told(spec(**fields(a=INTEGER), **{"x-kubernetes-validations": [rule]}))
    assert found.startswith(f"{RULE}.{place}: ")
    assert message in found


def test_items_that_can_not_be_told_apart_have_no_old_self() -> None:
    items = {**INTEGER, "x-kubernetes-validations": [{"rule": "self >= oldSelf"}]}
    (found,) = told(spec(type="array", items=items, maxItems=5))
    assert "oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[spec]" in found


def test_rules_may_not_cost_too_much() -> None:
    rule = {"rule": "self.all(x, self.all(y, x == y))"}
    found = told(spec(type="array", items=STRING, **{"x-kubernetes-validations": [rule]}))
    assert [one.partition(": ")[0] for one in found] == [f"{RULE}.rule", f"{RULE}.rule", "s"]
    assert "estimated rule cost exceeds budget by factor of more than 100x" in found[0]
    limited = {"type": "array", "items": {**STRING, "maxLength": 10}, "maxItems": 10}
    assert told(spec(**limited, **{"x-kubernetes-validations": [rule]})) == []


def test_formats_that_nobody_knows_are_found() -> None:
    schema = fields(a={**STRING, "format": "date-time"}, b={**STRING, "format": "mine"}, c={**INTEGER, "format": "x"})
    assert list(unknown_formats(schema)) == ["mine"]


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (".spec.a", ""),
        (".spec.none", "is an invalid path: does not refer to a valid field"),
        (".spec.list", "must point to a field of type string, boolean or integer"),
        (".metadata.name", "must not point to fields in metadata"),
        ("", "Required value"),
    ],
)
def test_fields_that_selectors_may_name(place: str, message: str) -> None:
    schema = fields(metadata=fields(name=STRING), spec=fields(a=STRING, list={"type": "array", "items": STRING}))
    found = [error.message() for error in validate_selectable([{"jsonPath": place}], schema, "f")]
    assert len(found) == bool(message)
    assert not found or message in found[0]
