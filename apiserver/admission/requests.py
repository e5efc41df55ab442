"""A request as policies, match conditions and webhooks see it: an AdmissionRequest, and who makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apimachinery.errors import ApiError
from apimachinery.resources import NAMESPACES, Resource
from apimachinery.selectors import parse_field_selector
from apiserver.admission.plugin import Attributes
from apiserver.authorization import Authorizer
from apiserver.request_info import RequestInfo, User

if TYPE_CHECKING:
    from apimachinery.cel.library.authorization import Decision, Question

_ACCOUNT_GROUPS = ("system:serviceaccounts", "system:serviceaccounts:{}", "system:authenticated")


def user_info(user: User) -> dict[str, Any]:
    """A user as `userInfo` shows them."""
    info: dict[str, Any] = {"username": user.name}
    if user.uid:
        info["uid"] = user.uid
    if user.groups:
        info["groups"] = list(user.groups)
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra}
    return info


def admission_request(attributes: Attributes, matched: Resource) -> dict[str, Any]:
    """The request, as one for the resource that it was matched as. The objects are left out."""
    kind = attributes.sent_as or matched
    asked, asked_kind = attributes.resource, attributes.kind
    request: dict[str, Any] = {
        "kind": _group_version(kind, "kind", kind.kind),
        "resource": _group_version(matched, "resource", matched.plural),
        "requestKind": _group_version(asked_kind, "kind", asked_kind.kind),
        "requestResource": _group_version(asked, "resource", asked.plural),
        "operation": attributes.operation,
        "userInfo": user_info(attributes.user),
        "dryRun": attributes.dry_run,
        "options": attributes.options() if attributes.options is not None else None,
    }
    # A request for a namespace counts as one inside of it.
    namespace = attributes.name if asked.key == NAMESPACES.key else attributes.namespace
    optional = {"name": attributes.name, "namespace": namespace}
    optional |= {"subResource": attributes.subresource, "requestSubResource": attributes.subresource}
    return {**request, **{key: value for key, value in optional.items() if value}}


def _group_version(resource: Resource, key: str, value: str) -> dict[str, str]:
    return {"group": resource.group, "version": resource.version, key: value}


class Permissions:
    """What the user of one request (or a service account) may do; each question is put to the authorizer once."""

    def __init__(self, authorizer: Authorizer, attributes: Attributes) -> None:
        self._authorizer = authorizer
        self._attributes = attributes
        self._known: dict[Question, Decision] = {}

    def bindings(self) -> dict[str, Any]:
        """The variables of expressions that may ask."""
        # Imported by the first expression that may ask: few need it.
        from apimachinery.cel.library.authorization import Authorizer as CelAuthorizer
        from apimachinery.cel.library.authorization import Question, ResourceCheck

        attributes = self._attributes
        about = Question(
            "",
            group=attributes.resource.group,
            resource=attributes.resource.plural,
            subresource=attributes.subresource,
            namespace=attributes.namespace,
            name=attributes.name,
        )
        return {
            "authorizer": CelAuthorizer(self._decide),
            "authorizer.requestResource": ResourceCheck(self._decide, about),
        }

    def _decide(self, question: Question) -> Decision:
        known = self._known.get(question)
        if known is None:
            known = self._known[question] = self._ask(question)
        return known

    def _ask(self, question: Question) -> Decision:
        from apimachinery.cel.library.authorization import Decision

        user = self._attributes.user
        if question.service_account is not None:
            user = account(*question.service_account)
        decision = self._authorizer.decide(user, _info(question))
        return Decision(decision.allowed, decision.reason)


def account(namespace: str, name: str) -> User:
    """A service account as a user."""
    groups = tuple(group.format(namespace) for group in _ACCOUNT_GROUPS)
    return User(f"system:serviceaccount:{namespace}:{name}", groups=groups)


def _info(question: Question) -> RequestInfo:
    if question.path is not None:
        return RequestInfo(question.verb, question.path)
    return RequestInfo(
        question.verb,
        "",
        question.group,
        "*",
        question.resource,
        question.subresource,
        question.namespace,
        question.name,
        fields=_required_fields(question.field_selector) if question.field_selector else (),
    )


def _required_fields(selector: str) -> tuple[tuple[str, str], ...]:
    """What a selector requires; one that can't be read requires nothing, and so allows nothing."""
    try:
        requirements = parse_field_selector(selector).requirements
    except ApiError:
        return ()
    return tuple((path, value) for path, operator, value in requirements if operator == "=")


def is_inside_namespace(attributes: Attributes) -> bool:
    """Whether a request is about something in a namespace; a namespace itself is not."""
    return bool(attributes.namespace) and attributes.resource.key != NAMESPACES.key
