"""ConversionReview: what a webhook is asked to convert, and whether its answer can be used.

A webhook may change everything but what identifies an object; of metadata it may change labels and annotations.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definition-versioning/#webhook-conversion
and k8s.io/apiextensions-apiserver/pkg/apiserver/conversion, whose words are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apimachinery.field import FieldError
from apimachinery.meta import Object
from apiserver.registry.metadata import validate_annotations, validate_labels

REVIEW_VERSIONS = ("v1", "v1beta1")
GROUP = "apiextensions.k8s.io"
KIND = "ConversionReview"
_IDENTITY = (("name", "name"), ("namespace", "namespace"), ("uid", "UID"))
_FREE = ("labels", "annotations")


class ConversionError(Exception):
    """Objects that can't be converted; the message says why, as it is told to who asked for them."""


def review_version(offered: Sequence[str]) -> str:
    """The first version of the question that a webhook understands and this server too. Raises ConversionError."""
    for version in offered:
        if version in REVIEW_VERSIONS:
            return version
    raise ConversionError("no supported conversion review versions")


def question(version: str, uid: str, objects: Sequence[Object], api_version: str) -> Object:
    """What a webhook is asked: these objects, in another version."""
    request = {"uid": uid, "desiredAPIVersion": api_version, "objects": list(objects)}
    return {"kind": KIND, "apiVersion": f"{GROUP}/{version}", "request": request}


def converted(version: str, uid: str, originals: Sequence[Object], api_version: str, answer: Any) -> list[Object]:
    """The objects of an answer, checked against those that were sent. Raises ConversionError."""
    kind = described(originals[0])
    objects = _objects(version, uid, answer, kind)
    if len(objects) != len(originals):
        count = f"{len(objects)} objects, expected {len(originals)}"
        raise ConversionError(f"conversion webhook for {kind} returned {count}")
    results = []
    for number, (original, obj) in enumerate(zip(originals, objects, strict=True)):
        where = f"object at index {number}" if len(originals) > 1 else "object"
        if problem := _problem(original, obj, api_version):
            raise ConversionError(f"conversion webhook for {kind} returned invalid {where}: {problem}")
        metadata, problem = _metadata(original["metadata"], obj.get("metadata"))
        if problem:
            where = f" in {where}" if len(originals) > 1 else ""
            raise ConversionError(f"conversion webhook for {kind} returned invalid metadata{where}: {problem}")
        results.append({**obj, "metadata": metadata})
    return results


def described(obj: Object) -> str:
    """`example.com/v1, Kind=Foo`."""
    return f"{obj['apiVersion']}, Kind={obj['kind']}"


def _objects(version: str, uid: str, answer: Any, kind: str) -> list[Any]:
    said = answer if isinstance(answer, Mapping) else {}
    response = said.get("response")
    problem = ""
    if version == "v1" and (said.get("apiVersion"), said.get("kind")) != (f"{GROUP}/v1", KIND):
        got = f"{said.get('apiVersion') or ''}, Kind={said.get('kind') or ''}"
        problem = f"expected webhook response of {GROUP}/v1, Kind={KIND}, got {got}"
    elif not isinstance(response, Mapping):
        problem = "no response provided"
    elif version == "v1" and response.get("uid") != uid:
        problem = f'expected response.uid="{uid}", got "{response.get("uid") or ""}"'
    else:
        result = response.get("result")
        status, message = (result.get("status"), result.get("message")) if isinstance(result, Mapping) else ("", "")
        if status != "Success":
            problem = message or f"response.result.status was '{status or ''}', not 'Success'"
    if problem:
        raise ConversionError(f"conversion webhook for {kind} failed: {problem}")
    assert isinstance(response, Mapping)
    objects = response.get("convertedObjects") or []
    return objects if isinstance(objects, list) else []


def _problem(original: Object, obj: Any, api_version: str) -> str:
    """What keeps an object from being the converted form of another; empty if nothing."""
    if not isinstance(obj, dict):
        return f"unexpected type {type(obj).__name__}"
    if obj.get("apiVersion") != api_version:
        return f"invalid groupVersion (expected {api_version}, received {obj.get('apiVersion') or ''})"
    if obj.get("kind") != original["kind"]:
        return f"invalid kind (expected {original['kind']}, received {obj.get('kind') or ''})"
    metadata = obj.get("metadata")
    got = metadata if isinstance(metadata, dict) else {}
    for field, shown in _IDENTITY:
        expected, actual = original["metadata"].get(field) or "", got.get(field) or ""
        if expected != actual:
            return f"must have the same {shown}: {expected} != {actual}"
    return ""


def _metadata(original: Mapping[str, Any], answered: Any) -> tuple[dict[str, Any], str]:
    """(the original metadata with the labels and annotations that were answered, what is wrong with these)."""
    metadata = dict(original)
    if answered is None:
        return metadata, "missing metadata in converted object"
    if not isinstance(answered, dict):
        return metadata, f"invalid metadata of type {type(answered).__name__} in converted object"
    for field in _FREE:
        values = answered.get(field)
        if values is None:
            metadata.pop(field, None)
            continue
        if not isinstance(values, dict):
            return metadata, f"invalid metadata.{field} of type {type(values).__name__} in converted object"
        for key, value in values.items():
            if not isinstance(value, str):
                told = f"must be a string, but is {type(value).__name__} in converted object"
                return metadata, f"metadata.{field}[{key}] {told}"
        if values != original.get(field) and (errors := _wrong(field, values)):
            return metadata, ", ".join(error.message() for error in errors)
        metadata[field] = values
    return metadata, ""


def _wrong(field: str, values: Mapping[str, str]) -> list[FieldError]:
    errors: list[FieldError] = []
    (validate_labels if field == "labels" else validate_annotations)(values, f"metadata.{field}", errors)
    return errors
