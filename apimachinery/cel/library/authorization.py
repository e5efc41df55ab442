"""Questions to the authorizer: `authorizer.group("apps").resource("deployments").check("create").allowed()`.

Who decides comes in with the variable: an `Authorizer` holds a function that answers for the user of the request or,
after `serviceAccount(…)`, for a service account. The function may not wait for anything.

Source: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-authorizer-library
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from apimachinery.cel.errors import CelEvaluationError
from apimachinery.cel.functions import Library
from apimachinery.cel.library.operators import strings_cost
from apimachinery.cel.types import BOOL, STRING, CelType, opaque
from apimachinery.names import dns1123_label, dns1123_subdomain

LIBRARY = Library()
_PREFIX = "kubernetes.authorization."
AUTHORIZER, PATH_CHECK, GROUP_CHECK, RESOURCE_CHECK, DECISION = (
    opaque(_PREFIX + name) for name in ("Authorizer", "PathCheck", "GroupCheck", "ResourceCheck", "Decision")
)
# Allows for two checks in one expression.
_CHECK_COST = 350_000


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: `path` for a URL that is no resource, otherwise a resource; selectors as they were written.

    `service_account` is (namespace, name) if its permission is asked, and None for the user of the request.
    """

    verb: str
    service_account: tuple[str, str] | None = None
    path: str | None = None
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    field_selector: str = ""
    label_selector: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer; `error` if the authorizer could not tell."""

    allowed: bool
    reason: str = ""
    error: str | None = None
    cel_type: ClassVar[CelType] = DECISION


Authorize = Callable[[Question], Decision]


@dataclass(frozen=True, slots=True)
class _Check:
    """A question that is still being asked; without its verb."""

    authorize: Authorize
    question: Question


class Authorizer(_Check):
    """The value of `authorizer`."""

    __slots__ = ()
    cel_type: ClassVar[CelType] = AUTHORIZER

    def __init__(self, authorize: Authorize, service_account: tuple[str, str] | None = None) -> None:
        super().__init__(authorize, Question("", service_account))


class PathCheck(_Check):
    """The value of `authorizer.path(…)`."""

    __slots__ = ()
    cel_type: ClassVar[CelType] = PATH_CHECK


class GroupCheck(_Check):
    """The value of `authorizer.group(…)`."""

    __slots__ = ()
    cel_type: ClassVar[CelType] = GROUP_CHECK


class ResourceCheck(_Check):
    """The value of `….resource(…)`, and of `authorizer.requestResource`."""

    __slots__ = ()
    cel_type: ClassVar[CelType] = RESOURCE_CHECK


@LIBRARY.method("serviceAccount", AUTHORIZER, STRING, STRING, result=AUTHORIZER)
def _service_account(authorizer: Authorizer, namespace: str, name: str) -> Authorizer:
    if dns1123_subdomain(name):
        raise CelEvaluationError("Invalid service account name")
    if dns1123_label(namespace):
        raise CelEvaluationError("Invalid service account namespace")
    return Authorizer(authorizer.authorize, (namespace, name))


@LIBRARY.method("path", AUTHORIZER, STRING, result=PATH_CHECK)
def _path(authorizer: Authorizer, path: str) -> PathCheck:
    if not path.strip():
        raise CelEvaluationError("path must not be empty")
    return PathCheck(authorizer.authorize, replace(authorizer.question, path=path))


@LIBRARY.method("group", AUTHORIZER, STRING, result=GROUP_CHECK)
def _group(authorizer: Authorizer, group: str) -> GroupCheck:
    return GroupCheck(authorizer.authorize, replace(authorizer.question, group=group))


@LIBRARY.method("resource", GROUP_CHECK, STRING, result=RESOURCE_CHECK)
def _resource(check: GroupCheck, resource: str) -> ResourceCheck:
    if not resource.strip():
        raise CelEvaluationError("resource must not be empty")
    return ResourceCheck(check.authorize, replace(check.question, resource=resource))


def _narrowing(method: str, field: str, cost: Callable[..., int] | None = None) -> None:
    @LIBRARY.method(method, RESOURCE_CHECK, STRING, result=RESOURCE_CHECK, cost=cost)
    def narrow(check: ResourceCheck, value: str) -> ResourceCheck:
        change: dict[str, Any] = {field: value}
        return ResourceCheck(check.authorize, replace(check.question, **change))


def _selector_cost(_result: Any, _check: Any, selector: str) -> int:
    # A list of requirements; the shortest requirement has two characters.
    return 10 + strings_cost(len(selector)) + -(-len(selector) // 2) * 50


_narrowing("subresource", "subresource")
_narrowing("namespace", "namespace")
_narrowing("name", "name")
_narrowing("fieldSelector", "field_selector", _selector_cost)
_narrowing("labelSelector", "label_selector", _selector_cost)


def _check_cost(*_args: Any) -> int:
    return _CHECK_COST


@LIBRARY.method("check", PATH_CHECK, STRING, result=DECISION, cost=_check_cost)
@LIBRARY.method("check", RESOURCE_CHECK, STRING, result=DECISION, cost=_check_cost)
def _check(check: _Check, verb: str) -> Decision:
    return check.authorize(replace(check.question, verb=verb))


LIBRARY.method("allowed", DECISION, result=BOOL)(lambda decision: decision.allowed)
LIBRARY.method("reason", DECISION, result=STRING)(lambda decision: decision.reason)
LIBRARY.method("errored", DECISION, result=BOOL)(lambda decision: decision.error is not None)
LIBRARY.method("error", DECISION, result=STRING)(lambda decision: decision.error or "")
