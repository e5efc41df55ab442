"""Acting as somebody else needs a right for every word of it."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apiserver.impersonation import act_as
from apiserver.request_info import AUTHENTICATED, UNAUTHENTICATED, User
from tests.support.access import Objects, authorizer_of, granted, rule

JANE = User("jane", groups=(AUTHENTICATED,))
AUTHENTICATION = "authentication.k8s.io"


def acting(*headers: tuple[str, str], may: Object | None = None) -> User:
    rules = [may] if may is not None else [rule("impersonate", "*", "*")]
    authorizer = authorizer_of(Objects(*granted(*rules, to="jane")))
    return act_as(JANE, CIMultiDict(headers), authorizer.authorize)


def refusal(*headers: tuple[str, str], may: Object | None = None) -> ApiError:
    with pytest.raises(ApiError) as caught:
        acting(*headers, may=may)
    return caught.value


def test_who_asks_for_nothing_is_who_they_are() -> None:
    assert acting(("Accept", "application/json"), ("Authorization", "Bearer x")) is JANE


def test_another_user_is_known_as_any_user_is() -> None:
    assert acting(("Impersonate-User", "joe")) == User("joe", groups=(AUTHENTICATED,))


def test_groups_uid_and_the_rest_come_along() -> None:
    found = acting(
        ("Impersonate-User", "joe"),
        ("Impersonate-Group", "developers"),
        ("impersonate-group", "testers"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-Scopes", "view"),
        ("Impersonate-Extra-scopes", "edit"),
        ("Impersonate-Extra-Example.com%2fproject", "x"),
    )
    extra = (("scopes", ("view", "edit")), ("example.com/project", ("x",)))
    assert found == User("joe", "7", ("developers", "testers", AUTHENTICATED), extra)


@pytest.mark.parametrize(
    ("name", "asked", "groups"),
    [
        (
            "system:serviceaccount:ci:robot",
            [],
            ["system:serviceaccounts", "system:serviceaccounts:ci", AUTHENTICATED],
        ),
        ("system:serviceaccount:ci:robot", ["own"], ["own", AUTHENTICATED]),
        ("system:anonymous", [], [UNAUTHENTICATED]),
        ("joe", [AUTHENTICATED], [AUTHENTICATED]),
        ("joe", [UNAUTHENTICATED], [UNAUTHENTICATED]),
    ],
)
def test_some_groups_are_implied(name: str, asked: list[str], groups: list[str]) -> None:
    headers = [("Impersonate-User", name), *(("Impersonate-Group", group) for group in asked)]
    assert acting(*headers).groups == tuple(groups)


@pytest.mark.parametrize(
    ("header", "may", "told"),
    [
        (
            ("Impersonate-User", "joe"),
            rule("impersonate", "users", names="jim"),
            'users "joe" is forbidden: User "jane" cannot impersonate resource "users" in API group "" '
            "at the cluster scope",
        ),
        (
            ("Impersonate-User", "system:serviceaccount:ci:robot"),
            rule("impersonate", "users"),
            'serviceaccounts "robot" is forbidden: User "jane" cannot impersonate resource "serviceaccounts" '
            'in API group "" in the namespace "ci"',
        ),
        (
            ("Impersonate-Group", "admins"),
            rule("impersonate", "users"),
            'groups "admins" is forbidden: User "jane" cannot impersonate resource "groups" in API group "" '
            "at the cluster scope",
        ),
        (("Impersonate-Uid", "7"), rule("impersonate", "users"), 'cannot impersonate resource "uids"'),
        (
            ("Impersonate-Extra-Scopes", "edit"),
            rule("impersonate", "users"),
            'cannot impersonate resource "userextras/scopes" in API group "authentication.k8s.io"',
        ),
    ],
)
def test_every_word_needs_a_right_of_its_own(header: tuple[str, str], may: Object, told: str) -> None:
    headers = [header] if header[0] == "Impersonate-User" else [("Impersonate-User", "joe"), header]
    error = refusal(*headers, may=may)
    assert error.code == 403 and told in error.message


def test_a_right_to_be_some_is_enough_for_those() -> None:
    may = rule("impersonate", "userextras/scopes", AUTHENTICATION, names="view")
    authorizer = authorizer_of(Objects(*granted(may, rule("impersonate", "users"), to="jane")))
    headers = CIMultiDict([("Impersonate-User", "joe"), ("Impersonate-Extra-Scopes", "view")])
    assert act_as(JANE, headers, authorizer.authorize).extra == (("scopes", ("view",)),)


def test_nobody_can_be_part_of_somebody() -> None:
    """Else the request would go on with the rights of who sent it, which is not what was meant."""
    error = refusal(("Impersonate-Group", "developers"))
    assert error.code == 500 and "without impersonating a user" in error.message
