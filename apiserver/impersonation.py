"""Acting as somebody else: `Impersonate-User`, `-Group`, `-Uid` and `-Extra-KEY`, for whoever may `impersonate` them.

Every word of it needs a right of its own, and all that follows is decided as if the other one had asked.
Source: https://kubernetes.io/docs/reference/access-authn-authz/user-impersonation/
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from urllib.parse import unquote

from multidict import MultiMapping

from apimachinery.errors import internal
from apiserver.authentication import ANONYMOUS
from apiserver.request_info import AUTHENTICATED, UNAUTHENTICATED, RequestInfo, User
from apiserver.serviceaccounts.claims import SERVICE_ACCOUNTS

PREFIX = "impersonate-"
USER, GROUP, UID, EXTRA = "Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "impersonate-extra-"
_AUTHENTICATION = "authentication.k8s.io"
_ACCOUNT = "system:serviceaccount:"

Authorize = Callable[[User, RequestInfo], None]


def act_as(user: User, headers: MultiMapping[str], authorize: Authorize) -> User:
    """Who is to be taken for the one that asks: mostly the user. Raises ApiError 403, or 500 for half a wish."""
    if not any(name[: len(PREFIX)].lower() == PREFIX for name in headers):
        return user
    name, groups, uid = headers.get(USER, ""), headers.getall(GROUP, []), headers.get(UID, "")
    extra = _extra(headers)
    if not name:
        raise internal(f"requested {_told(groups, uid, extra)} without impersonating a user")
    for wanted in _rights(name, groups, uid, extra):
        authorize(user, wanted)
    return User(name, uid, _groups(name, groups), tuple((key, tuple(values)) for key, values in extra.items()))


def _extra(headers: MultiMapping[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in headers.items():
        lower = name.lower()
        if lower.startswith(EXTRA):
            found.setdefault(unquote(lower.removeprefix(EXTRA)), []).append(value)
    return found


def _rights(name: str, groups: Sequence[str], uid: str, extra: dict[str, list[str]]) -> list[RequestInfo]:
    """What one must be allowed to do to act as somebody."""
    namespace, _, account = name.removeprefix(_ACCOUNT).partition(":")
    if name.startswith(_ACCOUNT) and namespace and account:
        wanted = [RequestInfo("impersonate", "", "", "v1", "serviceaccounts", "", namespace, account)]
    else:
        wanted = [RequestInfo("impersonate", "", "", "v1", "users", name=name)]
    wanted += [RequestInfo("impersonate", "", "", "v1", "groups", name=group) for group in groups]
    if uid:
        wanted.append(RequestInfo("impersonate", "", _AUTHENTICATION, "v1", "uids", name=uid))
    for key, values in extra.items():
        wanted += [
            RequestInfo("impersonate", "", _AUTHENTICATION, "v1", "userextras", key, name=value) for value in values
        ]
    return wanted


def _groups(name: str, groups: Sequence[str]) -> tuple[str, ...]:
    """The groups that were asked for, or those of a service account, and the one that says how one is known."""
    found = list(groups)
    if not found and name.startswith(_ACCOUNT):
        namespace = name.removeprefix(_ACCOUNT).partition(":")[0]
        found = [SERVICE_ACCOUNTS, f"{SERVICE_ACCOUNTS}:{namespace}"]
    if name == ANONYMOUS.name:
        implied = UNAUTHENTICATED
    elif UNAUTHENTICATED in found:
        return tuple(found)
    else:
        implied = AUTHENTICATED
    return tuple(found) if implied in found else (*found, implied)


def _told(groups: Sequence[str], uid: str, extra: dict[str, list[str]]) -> str:
    parts = {"groups": list(groups), "uid": uid, "extra": extra}
    return ", ".join(f"{key} {value}" for key, value in parts.items() if value) or "impersonation"
