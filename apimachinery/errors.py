"""The one taxonomy of errors: each is a `Status` object with Kubernetes' code and reason.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/status/ and
k8s.io/apimachinery/pkg/api/errors, whose words are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apimachinery.field import FieldError, limited
from apimachinery.meta import Object


class ApiError(Exception):
    """A request that failed: HTTP code, machine-readable reason, message, and details."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        # Goes with 410 for a page of a list: how to get the rest, though not of the same revision.
        self.continue_token = ""

    def status(self) -> Object:
        """The `Status` object that is sent."""
        status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {"continue": self.continue_token} if self.continue_token else {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            status["details"] = self.details
        return status

    @classmethod
    def from_status(cls, status: Object, code: int | None = None) -> ApiError:
        """The error that a `Status` object (or whatever a proxy sent instead) tells of."""
        error = cls(
            int(status.get("code") or code or 500),
            status.get("reason") or "",
            status.get("message") or f"the server answered {code or status.get('code')}",
            status.get("details"),
        )
        error.continue_token = (status.get("metadata") or {}).get("continue") or ""
        return error

    @property
    def retry_after_seconds(self) -> int | None:
        """How long the server asks to wait before the next try."""
        return (self.details or {}).get("retryAfterSeconds")


def bad_request(message: str) -> ApiError:
    """400: the request can't be understood."""
    return ApiError(400, "BadRequest", message)


def unauthorized(message: str = "Unauthorized") -> ApiError:
    """401: who asks is not known."""
    return ApiError(401, "Unauthorized", message)


def forbidden(message: str) -> ApiError:
    """403: who asks may not do this."""
    return ApiError(403, "Forbidden", message)


def not_found(plural: str, name: str) -> ApiError:
    """404 for an object; `plural` is `pods` or `deployments.apps`."""
    return ApiError(404, "NotFound", f'{plural} "{name}" not found', _details(plural, name))


def path_not_found() -> ApiError:
    """404 for a path that nothing serves."""
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed(
    message: str = "the server does not allow this method on the requested resource",
) -> ApiError:
    """405: nothing of this kind can be done here."""
    return ApiError(405, "MethodNotAllowed", message)


def not_acceptable(message: str) -> ApiError:
    """406: none of the encodings that the client accepts can be made."""
    return ApiError(406, "NotAcceptable", message)


def already_exists(plural: str, name: str) -> ApiError:
    """409: the name is taken."""
    return ApiError(409, "AlreadyExists", f'{plural} "{name}" already exists', _details(plural, name))


def conflict(plural: str, name: str, message: str) -> ApiError:
    """409: the object has changed since it was read, or a precondition does not hold."""
    text = f'Operation cannot be fulfilled on {plural} "{name}": {message}'
    return ApiError(409, "Conflict", text, _details(plural, name))


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


def expired(message: str) -> ApiError:
    """410: the version asked for is no longer kept."""
    return ApiError(410, "Expired", message)


def request_entity_too_large(message: str) -> ApiError:
    """413: the body is too large."""
    return ApiError(413, "RequestEntityTooLarge", message)


def unsupported_media_type(message: str) -> ApiError:
    """415: the body's encoding is not understood."""
    return ApiError(415, "UnsupportedMediaType", message)


def invalid(group: str, kind: str, name: str, causes: Sequence[FieldError]) -> ApiError:
    """422: the object was understood and is wrong; every cause is listed."""
    texts, listed = limited(causes)
    told = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    shown = f"{kind}.{group}" if group else kind
    details = {"name": name, "group": group, "kind": kind, "causes": listed}
    details = {key: value for key, value in details.items() if value}
    return ApiError(422, "Invalid", f'{shown} "{name}" is invalid: {told}', details)


def too_many_requests(message: str, retry_after_seconds: int) -> ApiError:
    """429: try again later."""
    return ApiError(429, "TooManyRequests", message, {"retryAfterSeconds": retry_after_seconds})


def internal(message: str) -> ApiError:
    """500: our own fault."""
    text = f"Internal error occurred: {message}"
    return ApiError(500, "InternalError", text, {"causes": [{"message": message}]})


def service_unavailable(message: str) -> ApiError:
    """503: can't be done now."""
    return ApiError(503, "ServiceUnavailable", message)


def timeout(message: str) -> ApiError:
    """504: it took too long."""
    return ApiError(504, "Timeout", message)


def is_not_found(error: BaseException) -> bool:
    """True for 404."""
    return isinstance(error, ApiError) and error.code == 404


def is_already_exists(error: BaseException) -> bool:
    """True if a name was taken."""
    return isinstance(error, ApiError) and error.reason == "AlreadyExists"


def is_conflict(error: BaseException) -> bool:
    """True if an object had changed or a precondition failed."""
    return isinstance(error, ApiError) and error.reason == "Conflict"


def is_gone(error: BaseException) -> bool:
    """True if a version is no longer kept."""
    return isinstance(error, ApiError) and error.code == 410


def _details(plural: str, name: str) -> dict[str, Any]:
    resource, _, group = plural.partition(".")
    return {"name": name, "kind": resource, **({"group": group} if group else {})}
