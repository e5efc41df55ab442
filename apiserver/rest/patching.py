"""PATCH: the three patch formats and configurations to apply, told apart by the body's media type.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apimachinery.errors import ApiError, bad_request, unsupported_media_type
from apimachinery.managedfields.entries import encoded
from apimachinery.meta import Object
from apimachinery.patch import json_patch, merge_patch, strategic_merge_patch
from apimachinery.resources import Resource
from apiserver.rest import decode
from apiserver.storage.entry import Entry

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_SUPPORTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH, APPLY_PATCH)


def check_type(media_type: str, supported: Sequence[str]) -> None:
    """Raises ApiError 415 for a format that can't be applied to a resource; none said: all can."""
    if supported and media_type not in supported:
        raise unsupported_media_type(
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(supported)}"
        )


async def read_patch(body: bytes, media_type: str) -> tuple[Any, list[str]]:
    """The document of a patch, and the keys that it has twice. Raises ApiError 400 or 415."""
    if media_type == APPLY_PATCH:
        return await _read_config(body)
    if media_type not in _SUPPORTED:
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: "
            + ", ".join(_SUPPORTED)
        )
    patch, duplicates = await decode.parse_json_apart(body)
    if media_type != JSON_PATCH and not isinstance(patch, dict):
        raise bad_request("error decoding patch: it must be a JSON object")
    return patch, duplicates


async def _read_config(body: bytes) -> tuple[Any, list[str]]:
    """A configuration to apply, which is YAML; most clients send JSON, which is YAML too."""
    if body.lstrip()[:1] == b"{":
        try:
            return await decode.parse_json_apart(body)
        except ApiError:
            pass  # it begins as YAML in flow style may
    try:
        return await decode.parse(body, decode.YAML)
    except ApiError as error:
        raise bad_request(f"error decoding YAML: {error.message}") from error


def document(entry: Entry, body: bytes, media_type: str) -> Object:
    """What a patch is applied to, private; who manages what is part of it if the patch may look at that."""
    found = entry.copy()
    if entry.managed and (media_type == JSON_PATCH or b"managedFields" in body):
        found["metadata"]["managedFields"] = encoded(entry.managed)
    return found


def apply(resource: Resource, document: Object, patch: Any, media_type: str) -> Any:
    """The patched document. Raises ApiError 400, 413 or 422."""
    if media_type == JSON_PATCH:
        return json_patch(document, patch)
    if media_type == MERGE_PATCH:
        return merge_patch(document, patch)
    return strategic_merge_patch(resource, document, patch)
