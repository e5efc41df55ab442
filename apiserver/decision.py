"""What an authorizer says to a request, and the words in which a refusal is told."""

from __future__ import annotations

import json
from typing import NamedTuple

from apimachinery.errors import ApiError
from apiserver.request_info import RequestInfo, User


class Decision(NamedTuple):
    """Whether a request is allowed; what is not allowed by one authorizer may be by the next.

    `reason` tells who granted it, or why it was not granted where there is more to tell than that nobody did.
    """

    allowed: bool
    reason: str = ""


ALLOWED, NO_OPINION = Decision(True), Decision(False)


def forbidden(user: User, info: RequestInfo, reason: str = "") -> ApiError:
    """403, saying who may not do what."""
    who = quoted(user.name)
    why = f": {reason}" if reason else ""
    if not info.resource:
        return ApiError(
            403, "Forbidden", f"forbidden: User {who} cannot {info.verb} path {quoted(info.path)}{why}", {}
        )
    resource = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
    where = f"in the namespace {quoted(info.namespace)}" if info.namespace else "at the cluster scope"
    told = f"User {who} cannot {info.verb} resource {quoted(resource)} in API group {quoted(info.group)} {where}"
    subject = f"{info.resource}.{info.group}" if info.group else info.resource
    if info.name:
        subject = f"{subject} {quoted(info.name)}"
    details = {"name": info.name, "group": info.group, "kind": info.resource}
    return ApiError(
        403,
        "Forbidden",
        f"{subject} is forbidden: {told}{why}",
        {key: value for key, value in details.items() if value},
    )


def quoted(text: str) -> str:
    """A text as Go's %q shows it."""
    return json.dumps(text, ensure_ascii=False)
