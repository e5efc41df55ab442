"""ConversionReview: the question, and which answers can be used."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apiserver.customresources.conversion import ConversionError, converted, question, review_version

OLD, NEW = "example.com/v1", "example.com/v2"


def obj(version: str = OLD, **fields: Any) -> Object:
    metadata = {"name": "a", "namespace": "n", "uid": "u", **fields.pop("metadata", {})}
    return {"apiVersion": version, "kind": "Cat", "metadata": metadata, **fields}


def answer(*objects: Any, **response: Any) -> Object:
    said = {"uid": "1", "result": {"status": "Success"}, "convertedObjects": list(objects), **response}
    return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview", "response": said}


def use(said: Any, *originals: Object) -> list[Object]:
    return converted("v1", "1", originals or [obj()], NEW, said)


def test_the_first_version_that_both_understand_is_spoken() -> None:
    assert review_version(["v9", "v1beta1", "v1"]) == "v1beta1"
    with pytest.raises(ConversionError, match="no supported conversion review versions"):
        review_version(["v9"])
    asked = question("v1", "1", [obj()], NEW)
    assert asked["request"] == {"uid": "1", "desiredAPIVersion": NEW, "objects": [obj()]}


def test_what_was_answered_is_taken_with_the_metadata_that_was_sent() -> None:
    original = obj(metadata={"labels": {"a": "1"}, "generation": 3})
    changed = obj(NEW, spec={"x": 1}, metadata={"labels": {"b": "2"}, "annotations": {"c": "3"}, "generation": 9})
    (found,) = use(answer(changed), original)
    assert found["spec"] == {"x": 1}
    assert found["metadata"] == {
        **original["metadata"],
        "labels": {"b": "2"},
        "annotations": {"c": "3"},
    }


FAILED, INVALID = (
    f"conversion webhook for {OLD}, Kind=Cat failed: ",
    f"conversion webhook for {OLD}, Kind=Cat returned ",
)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ({}, FAILED + "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got , Kind="),
        ({**answer(), "response": None}, FAILED + "no response provided"),
        (answer(uid="2"), FAILED + 'expected response.uid="1", got "2"'),
        (answer(result={"status": "Failed", "message": "why"}), FAILED + "why"),
        (answer(result={}), FAILED + "response.result.status was '', not 'Success'"),
        (answer(), INVALID + "0 objects, expected 1"),
        (answer(1), INVALID + "invalid object: unexpected type int"),
        (
            answer(obj()),
            INVALID + f"invalid object: invalid groupVersion (expected {NEW}, received {OLD})",
        ),
        (
            answer({**obj(NEW), "kind": "Dog"}),
            INVALID + "invalid object: invalid kind (expected Cat, received Dog)",
        ),
        (
            answer(obj(NEW, metadata={"name": "b"})),
            INVALID + "invalid object: must have the same name: a != b",
        ),
        (
            answer(obj(NEW, metadata={"uid": "v"})),
            INVALID + "invalid object: must have the same UID: u != v",
        ),
        (
            answer(obj(NEW, metadata={"labels": {"a": 1}})),
            INVALID + "invalid metadata: metadata.labels[a] must be a string, but is int in converted object",
        ),
    ],
)
def test_what_can_not_be_used_is_told(said: Any, message: str) -> None:
    with pytest.raises(ConversionError) as caught:
        use(said)
    assert str(caught.value) == message


def test_of_several_objects_the_number_is_told() -> None:
    with pytest.raises(ConversionError, match="returned invalid object at index 1: must have the same name"):
        use(answer(obj(NEW), obj(NEW, metadata={"name": "b"})), obj(), obj())
