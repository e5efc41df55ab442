"""Protobuf bodies, as Go clients send them, become the objects that the same clients would send as JSON."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery import protobuf, schemas
from apimachinery.resources import BUILTIN


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def message(*fields: tuple[int, int | str | bytes]) -> bytes:
    """A message of numbers (varints) and of texts, bytes or messages."""
    encoded = b""
    for number, value in fields:
        if isinstance(value, int):
            encoded += varint(number << 3) + varint(value)
        else:
            data = value.encode() if isinstance(value, str) else value
            encoded += varint(number << 3 | 2) + varint(len(data)) + data
    return encoded


def body(api_version: str, kind: str, raw: bytes) -> bytes:
    envelope = ((1, message((1, api_version), (2, kind))), (2, raw), (3, ""), (4, ""))
    return protobuf.MAGIC + message(*envelope)


def decoded(api_version: str, kind: str, raw: bytes) -> dict[str, Any]:
    found = protobuf.decode(body(api_version, kind, raw))
    assert (found.pop("apiVersion"), found.pop("kind")) == (api_version, kind)
    return found


NAMED = (1, message((1, "web"), (2, ""), (3, "default"), (11, message((1, "app"), (2, "web"))), (8, b"")))
METADATA = {"name": "web", "namespace": "default", "labels": {"app": "web"}}


def test_what_is_empty_stands_for_nothing_unless_zero_is_a_value() -> None:
    strategy = (4, message((1, "")))
    spec = message((1, 0), (3, message((1, b""), (2, b""))), strategy, (5, 0), (7, 0), (9, 600))
    found = decoded("apps/v1", "Deployment", message(NAMED, (2, spec), (3, b"")))
    assert found == {"metadata": METADATA, "spec": {"replicas": 0, "progressDeadlineSeconds": 600}}


def test_each_kind_of_value_takes_the_form_that_it_has_in_json() -> None:
    port = message((1, "http"), (3, 80), (4, message((1, 1), (2, 0), (3, "web"))))
    number = message((1, "metrics"), (3, 81), (4, message((1, 0), (2, 8081), (3, ""))))
    found = decoded("v1", "Service", message(NAMED, (2, message((1, port), (1, number)))))
    assert found["spec"]["ports"] == [
        {"name": "http", "port": 80, "targetPort": "web"},
        {"name": "metrics", "port": 81, "targetPort": 8081},
    ]
    requests = message((2, message((1, "cpu"), (2, message((1, "250m"))))))
    volume = message((1, "data"), (2, message((2, message((1, ""))))))
    container = message((1, "c"), (2, "i"), (8, requests))
    spec = message((1, volume), (2, container), (4, -1))
    found = decoded("v1", "Pod", message(NAMED, (2, spec)))
    assert found["spec"] == {
        "volumes": [{"name": "data", "emptyDir": {}}],
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "250m"}}}],
        "terminationGracePeriodSeconds": -1,
    }
    secret = message(NAMED, (2, message((1, "key"), (2, b"\x00\xff"))), (5, 0))
    assert decoded("v1", "Secret", secret) == {"metadata": METADATA, "data": {"key": "AP8="}, "immutable": False}


def test_times_have_the_precision_of_their_kind() -> None:
    moment = message((1, 1_700_000_000), (2, 250_000_000))
    spec = message((1, "holder"), (4, moment))
    found = decoded("coordination.k8s.io/v1", "Lease", message((1, message((1, "l"), (9, moment))), (2, spec)))
    assert found["metadata"]["deletionTimestamp"] == "2023-11-14T22:13:20Z"
    assert found["spec"] == {"holderIdentity": "holder", "renewTime": "2023-11-14T22:13:20.250000Z"}


def test_an_object_inside_of_another_keeps_its_own_encoding() -> None:
    data = message((1, b'{"spec":{"replicas":2}}'))
    found = decoded("apps/v1", "ControllerRevision", message(NAMED, (2, data), (3, 7)))
    assert (found["data"], found["revision"]) == ({"spec": {"replicas": 2}}, 7)


def test_a_schema_inside_a_schema_takes_the_form_that_it_has_in_json() -> None:
    text = message((5, "string"))
    choices = ((24, message((1, text))), (30, message((1, 1))), (33, message((1, 0))), (8, message((1, b'{"a":1}'))))
    schema = message((5, "object"), *choices, (32, message((1, "x"), (2, message((2, "y"))))))
    version = message((1, "v1"), (4, message((1, schema))))
    found = decoded("apiextensions.k8s.io/v1", "CustomResourceDefinition", message((2, message((7, version)))))
    assert found["spec"]["versions"] == [
        {
            "name": "v1",
            "schema": {
                "openAPIV3Schema": {
                    "type": "object",
                    "items": {"type": "string"},
                    "additionalProperties": True,
                    "additionalItems": False,
                    "default": {"a": 1},
                    "dependencies": {"x": ["y"]},
                }
            },
        }
    ]


def test_options_may_come_under_any_group() -> None:
    found = decoded("apps/v1", "DeleteOptions", message((1, 0), (2, message((1, "uid"))), (4, "Orphan")))
    assert found == {"gracePeriodSeconds": 0, "preconditions": {"uid": "uid"}, "propagationPolicy": "Orphan"}


def test_fields_of_later_versions_are_skipped() -> None:
    assert decoded("v1", "ConfigMap", message(NAMED, (900, "later"), (901, 5))) == {"metadata": METADATA}


def test_the_table_knows_every_field_of_every_resource() -> None:
    for resource in BUILTIN:
        name = schemas.definition_name(resource.api_version, resource.kind)
        assert name is not None
        fields = {field.name for field in protobuf._fields(name).values()}
        assert fields == set(schemas.definitions()[name]["properties"]) - {"apiVersion", "kind"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (b'{"kind":"Pod"}', "does not begin with the magic bytes"),
        (body("v1", "Unicorn", b""), "nothing is known of the protobuf encoding of Unicorn in version 'v1'"),
        (body("v1", "Pod", message(NAMED))[:-3], "cut off"),
        (body("v1", "Pod", b"\x0a"), "cut off"),
        (body("v1", "Pod", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), "too long"),
        (body("v1", "Pod", b"\x0b"), "wire type 3 is not supported"),
        (body("v1", "Pod", message((1, 5))), "a number stands where a message or text must be"),
        (body("v1", "Pod", message((1, message((1, b"\xff"))))), "utf-8"),
        (body("v1", "Pod", message((1, message((9, message((1, 1 << 60))))))), "no time"),
    ],
)
def test_a_body_that_is_broken_is_refused(wrong: bytes, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        protobuf.decode(wrong)
