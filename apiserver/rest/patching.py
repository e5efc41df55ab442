"""PATCH: the three patch formats, told apart by the body's media type.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apimachinery.errors import bad_request, unsupported_media_type
from apimachinery.meta import Object
from apimachinery.patch import json_patch, merge_patch, strategic_merge_patch
from apimachinery.resources import Resource
from apiserver.rest import decode

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"
_SUPPORTED = (JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH)


def check_type(media_type: str, supported: Sequence[str]) -> None:
    """Raises ApiError 415 for a format that can't be applied to a resource; none said: all can."""
    if supported and media_type not in supported:
        raise unsupported_media_type(
            f"the body of the request was in an unknown format - accepted media types include: {', '.join(supported)}"
        )


async def read_patch(body: bytes, media_type: str) -> tuple[Any, list[str]]:
    """The document of a patch, and the keys that it has twice. Raises ApiError 400 or 415."""
    if media_type == APPLY_PATCH:
        raise unsupported_media_type(
            "server-side apply (application/apply-patch+yaml) is not supported by this server yet; "
            "apply on the client's side (kubectl apply without --server-side) works"
        )
    if media_type not in _SUPPORTED:
        raise unsupported_media_type(
            "the body of the request was in an unknown format - accepted media types include: "
            + ", ".join(_SUPPORTED)
        )
    patch, duplicates = await decode.parse_json_apart(body)
    if media_type != JSON_PATCH and not isinstance(patch, dict):
        raise bad_request("error decoding patch: it must be a JSON object")
    return patch, duplicates


def apply(resource: Resource, document: Object, patch: Any, media_type: str) -> Any:
    """The patched document. Raises ApiError 400, 413 or 422."""
    if media_type == JSON_PATCH:
        return json_patch(document, patch)
    if media_type == MERGE_PATCH:
        return merge_patch(document, patch)
    return strategic_merge_patch(resource, document, patch)
