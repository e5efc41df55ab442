"""Whether a schema is structural, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.structural.invariants import is_structural, unsupported, validate_structural

STRING = {"type": "string"}
EMBEDDED = "x-kubernetes-embedded-resource"


def root(**spec: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": spec}}


@pytest.mark.parametrize(
    ("schema", "messages"),
    [
        (root(type="object", properties={"a": STRING}), []),
        ({}, ["type: Required value: must not be empty at the root"]),
        (
            root(type="object", properties={"a": {}}),
            ["properties[spec].properties[a].type: Required value: must not be empty for specified object fields"],
        ),
        (
            root(type="array", items={}),
            ["properties[spec].items.type: Required value: must not be empty for specified array items"],
        ),
        (root(**{"x-kubernetes-preserve-unknown-fields": True}), []),
        (root(**{"x-kubernetes-int-or-string": True}), []),
        (root(**{"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]}), []),
        (
            {
                **root(type="object", anyOf=[{"type": "object"}]),
                "anyOf": [{"properties": {"spec": {"properties": {"a": {"minLength": 1}}}}}],
            },
            [
                "properties[spec].anyOf[0].type: Forbidden: must be empty to be structural",
                "properties[spec].properties[a]: Required value: because it is defined in "
                "s.anyOf[0].properties[spec].properties[a]",
            ],
        ),
        (
            root(type="object", **{"not": {"description": "x", "nullable": True}}),
            [
                "properties[spec].not.description: Forbidden: must be empty to be structural",
                "properties[spec].not.nullable: Forbidden: must be false to be structural",
            ],
        ),
        (
            {"type": "object", "additionalProperties": STRING},
            ["additionalProperties: Forbidden: must not be used at the root"],
        ),
        (
            {"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": STRING}}}},
            [
                "properties[metadata]: Forbidden: must not specify anything other than name and generateName, but "
                "metadata is implicitly specified"
            ],
        ),
        (
            root(
                type="string",
                **{"x-kubernetes-embedded-resource": True, "x-kubernetes-preserve-unknown-fields": True},
            ),
            [
                f'properties[spec].type: Invalid value: "string": must be object if {EMBEDDED} is true',
            ],
        ),
    ],
)
def test_what_keeps_a_schema_from_being_structural(schema: Any, messages: list[str]) -> None:
    assert [error.message().removeprefix("s.") for error in validate_structural(schema, "s")] == messages
    assert is_structural(schema) == (not messages)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        (root(**{"$ref": "#/x"}), "OpenAPIV3Schema '$ref' is not supported"),
        (root(items=[STRING]), "OpenAPIV3Schema 'items' must be a schema, but is an array"),
        (root(definitions={"x": STRING}), "OpenAPIV3Schema 'definitions' is not supported"),
        (root(type="object"), ""),
    ],
)
def test_what_no_structural_schema_can_say(schema: Any, problem: str) -> None:
    assert unsupported(schema) == problem
