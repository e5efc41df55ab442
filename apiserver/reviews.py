"""Questions about users and rights: whose a token is, who may do what, who one is, and what one may do.

    TokenReview                     whose is this token?
    SubjectAccessReview             may this user do this? (Local…: in this namespace; Self…: may I?)
    SelfSubjectRulesReview          what may I do in a namespace?
    SelfSubjectReview               who am I?

Sources: https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access,
kubernetes/pkg/registry/authorization and pkg/registry/authentication
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from apimachinery.errors import bad_request, invalid
from apimachinery.field import FieldError, invalid_value
from apimachinery.meta import Object, get_path
from apimachinery.resources import (
    LOCALSUBJECTACCESSREVIEWS,
    SELFSUBJECTACCESSREVIEWS,
    SELFSUBJECTREVIEWS,
    SELFSUBJECTRULESREVIEWS,
    SUBJECTACCESSREVIEWS,
    TOKENREVIEWS,
    Resource,
)
from apimachinery.time import rfc3339
from apiserver.authentication import Authenticator
from apiserver.authorization import Authorizer
from apiserver.node_authorization import identify
from apiserver.rbac.authorizer import aggregate
from apiserver.request_info import RequestInfo, User
from apiserver.rest.call import Call
from apiserver.rest.questions import Answer, Question
from apiserver.serviceaccounts.verification import TokenError

_RULE, _URL_RULE = ("verbs", "apiGroups", "resources", "resourceNames"), ("verbs", "nonResourceURLs")
_ABOUT = ("group", "version", "resource", "subresource", "namespace", "name")
_ONE_OF = "exactly one of nonResourceAttributes or resourceAttributes must be specified"


class Reviews:
    """Answers all reviews."""

    def __init__(self, authenticator: Authenticator, authorizer: Authorizer, *, now: Callable[[], float]) -> None:
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._now = now

    def questions(self) -> dict[tuple[str, str, str], Question]:
        """What is answered here."""
        answers: dict[Resource, Answer] = {
            TOKENREVIEWS: self.review_token,
            SUBJECTACCESSREVIEWS: self.review_access,
            LOCALSUBJECTACCESSREVIEWS: self.review_access,
            SELFSUBJECTACCESSREVIEWS: self.review_own_access,
            SELFSUBJECTRULESREVIEWS: self.review_own_rules,
            SELFSUBJECTREVIEWS: self.review_self,
        }
        return {(*resource.key, ""): Question(resource, answer) for resource, answer in answers.items()}

    async def review_token(self, call: Call, sent: Object) -> Object:
        """Whose a token is."""
        spec = sent.get("spec") or {}
        token = spec.get("token")
        if not token:
            raise bad_request("token is required for TokenReview in authentication")
        try:
            user, audiences = self._authenticator.identify(token, spec.get("audiences") or ())
        except TokenError as error:
            return {**sent, "status": {"user": {}, "error": str(error)}}
        status: Object = {"authenticated": True, "user": shown(user), "audiences": audiences}
        return {**sent, "status": status}

    async def review_access(self, call: Call, sent: Object) -> Object:
        """Whether some user may do something."""
        spec = sent.get("spec") or {}
        problems = _problems(spec)
        if not spec.get("user") and not spec.get("groups"):
            why = "at least one of user or group must be specified"
            problems.append(invalid_value("spec.user", spec.get("user") or "", why))
        if call.resource is LOCALSUBJECTACCESSREVIEWS:
            problems += _outside(spec, call.namespace)
        _refuse(call, problems)
        extra = tuple((key, tuple(values or ())) for key, values in (spec.get("extra") or {}).items())
        user = User(spec.get("user") or "", spec.get("uid") or "", tuple(spec.get("groups") or ()), extra)
        return self._decided(sent, user, spec)

    async def review_own_access(self, call: Call, sent: Object) -> Object:
        """Whether who asks may do something."""
        spec = sent.get("spec") or {}
        _refuse(call, _problems(spec))
        return self._decided(sent, call.user, spec)

    async def review_own_rules(self, call: Call, sent: Object) -> Object:
        """All that who asks may do in a namespace, as far as it depends on roles alone."""
        namespace = get_path(sent, "spec", "namespace")
        if not namespace:
            raise bad_request("no namespace on request")
        held = self._authorizer.roles.held(call.user, namespace)
        rules = [rule for some in held for rule in some.rules]
        problems = [problem for some in held for problem in some.problems]
        is_node = identify(call.user) is not None
        if is_node:
            problems.append("node authorizer does not support user rule resolution")
        status: Object = {
            "resourceRules": [_only(rule, _RULE) for rule in rules if rule.get("resources")],
            "nonResourceRules": [_only(rule, _URL_RULE) for rule in rules if rule.get("nonResourceURLs")],
            "incomplete": is_node or bool(problems),
        }
        if problems:
            status["evaluationError"] = aggregate(problems)
        return {**sent, "status": status}

    async def review_self(self, call: Call, sent: Object) -> Object:
        """Who asks."""
        metadata = {**sent["metadata"], "creationTimestamp": rfc3339(self._now())}
        return {**sent, "metadata": metadata, "status": {"userInfo": shown(call.user)}}

    def _decided(self, sent: Object, user: User, spec: dict[str, Any]) -> Object:
        decision = self._authorizer.decide(user, asked_for(spec))
        status: Object = {"allowed": decision.allowed}
        if decision.reason:
            status["reason"] = decision.reason
        return {**sent, "status": status}


def asked_for(spec: dict[str, Any]) -> RequestInfo:
    """The request that a review of access is about."""
    path = spec.get("nonResourceAttributes")
    if path is not None:
        return RequestInfo(path.get("verb") or "", path.get("path") or "")
    about = spec.get("resourceAttributes") or {}
    fields, labels = (_required(about.get(kind)) for kind in ("fieldSelector", "labelSelector"))
    said = {key: about.get(key) or "" for key in _ABOUT}
    return RequestInfo(about.get("verb") or "", "", **said, fields=fields, labels=labels)


def _required(selector: dict[str, Any] | None) -> tuple[tuple[str, str], ...]:
    """The values that a selector requires."""
    terms: Iterable[dict[str, Any]] = get_path(selector, "requirements", default=[])
    return tuple((term.get("key") or "", (term.get("values") or [""])[0]) for term in terms if _equals(term))


def _equals(term: dict[str, Any]) -> bool:
    return term.get("operator") == "In" and len(term.get("values") or ()) == 1


def shown(user: User) -> dict[str, Any]:
    """A user as UserInfo."""
    found: dict[str, Any] = {"username": user.name, "uid": user.uid, "groups": list(user.groups)}
    if user.extra:
        found["extra"] = {key: list(values) for key, values in user.extra}
    return {key: value for key, value in found.items() if value}


def _problems(spec: dict[str, Any]) -> list[FieldError]:
    about, path = spec.get("resourceAttributes"), spec.get("nonResourceAttributes")
    if about is not None and path is not None:
        why = "cannot be specified in combination with resourceAttributes"
        return [invalid_value("spec.nonResourceAttributes", path, why)]
    return [invalid_value("spec.resourceAttributes", about, _ONE_OF)] if about is None and path is None else []


def _outside(spec: dict[str, Any], namespace: str) -> list[FieldError]:
    about = spec.get("resourceAttributes") or {}
    problems = []
    if about.get("namespace") != namespace:
        path = "spec.resourceAttributes.namespace"
        problems.append(invalid_value(path, about.get("namespace") or "", "must match metadata.namespace"))
    if spec.get("nonResourceAttributes") is not None:
        path = "spec.nonResourceAttributes"
        problems.append(invalid_value(path, spec["nonResourceAttributes"], "disallowed on this kind of request"))
    return problems


def _refuse(call: Call, problems: list[FieldError]) -> None:
    if problems:
        raise invalid(call.resource.group, call.resource.kind, "", problems)


def _only(rule: Any, fields: tuple[str, ...]) -> dict[str, Any]:
    return {field: rule[field] for field in fields if rule.get(field)}
