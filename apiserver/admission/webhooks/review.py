"""What is posted to a webhook, and what its answer means: an AdmissionReview, there and back.

Source: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#webhook-request-and-response
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from apimachinery.errors import ApiError
from apimachinery.meta import Object

GROUP, KIND = "admission.k8s.io", "AdmissionReview"
_JSON_PATCH = "JSONPatch"


class BadAnswer(Exception):
    """An answer that is none; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a webhook has said. `status` tells more of a refusal; `patch` is a JSON patch."""

    allowed: bool
    status: Mapping[str, Any] = field(default_factory=dict)
    patch: Sequence[Any] = ()
    warnings: Sequence[str] = ()
    annotations: Mapping[str, str] = field(default_factory=dict)


def review(version: str, uid: str, request: Mapping[str, Any], obj: Object | None, old: Object | None) -> Object:
    """The AdmissionReview that asks about a request."""
    asked = {"uid": uid, **request, "object": obj, "oldObject": old}
    return {"kind": KIND, "apiVersion": f"{GROUP}/{version}", "request": asked}


def read_answer(document: Any, version: str, uid: str, *, mutates: bool) -> Answer:
    """What the answer to a review says. Raises BadAnswer."""
    response = document.get("response") if isinstance(document, dict) else None
    if not isinstance(response, dict):
        raise BadAnswer("webhook response was absent")
    if version == "v1":
        _check(document, response, uid, mutates=mutates)
    return Answer(
        allowed=response.get("allowed") is True,
        status=_of_type(response, "status", dict),
        patch=_patch(response) if mutates else (),
        warnings=[text for text in _of_type(response, "warnings", list) if isinstance(text, str)],
        annotations={key: str(value) for key, value in _of_type(response, "auditAnnotations", dict).items()},
    )


def _check(document: Mapping[str, Any], response: Mapping[str, Any], uid: str, *, mutates: bool) -> None:
    """What version 1 of a review holds an answer to. Raises BadAnswer."""
    if response.get("uid") != uid:
        raise BadAnswer(f'expected response.uid="{uid}", got "{response.get("uid") or ""}"')
    group, _, version = str(document.get("apiVersion") or "").rpartition("/")
    if (group, version, document.get("kind")) != (GROUP, "v1", KIND):
        got = f"{group}/{version}, Kind={document.get('kind') or ''}"
        raise BadAnswer(f"expected webhook response of {GROUP}/v1, Kind={KIND}, got {got}")
    patch, kind = response.get("patch"), response.get("patchType")
    if not mutates:
        for given, called in ((patch, "patch"), (kind, "patchType")):
            if given:
                raise BadAnswer(f"validating webhook may not return response.{called}")
    elif patch and kind is None:
        raise BadAnswer("webhook returned response.patch but not response.patchType")
    elif kind is not None and not patch:
        raise BadAnswer("webhook returned response.patchType but not response.patch")
    elif kind == "":
        raise BadAnswer('webhook returned invalid response.patchType of ""')
    elif kind is not None and kind != _JSON_PATCH:
        raise BadAnswer(f'unsupported patch type "{kind}"')


def _patch(response: Mapping[str, Any]) -> Sequence[Any]:
    text = response.get("patch")
    if not text:
        return ()
    try:
        found = orjson.loads(base64.b64decode(text, validate=True))
    except (TypeError, ValueError, binascii.Error) as error:
        raise BadAnswer(f"received undecodable patch in webhook response: {error}") from error
    if found is not None and not isinstance(found, list):
        raise BadAnswer("received undecodable patch in webhook response: it is no list of operations")
    return found or ()


def _of_type(response: Mapping[str, Any], key: str, kind: type) -> Any:
    found = response.get(key)
    return found if isinstance(found, kind) else kind()


def refusal(hook: str, status: Mapping[str, Any]) -> ApiError:
    """The error that a webhook has refused a request with, in its words."""
    denied = f'admission webhook "{hook}" denied the request'
    told, reason, code = status.get("message"), status.get("reason") or "", status.get("code")
    message = f"{denied}: {told or reason}" if told or reason else f"{denied} without explanation"
    details = status.get("details")
    return ApiError(
        code if isinstance(code, int) and code >= 400 else 400,
        str(reason),
        message,
        details if isinstance(details, dict) else None,
    )
