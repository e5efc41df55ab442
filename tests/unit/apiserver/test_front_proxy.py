"""Proxies that name users in headers: who is named, and who is believed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from apimachinery.errors import ApiError
from apiserver.authentication import Authenticator
from apiserver.connection import Certified
from apiserver.front_proxy import FrontProxy, certificates, named_user, naming
from apiserver.options import parse
from apiserver.request_info import AUTHENTICATED, UNAUTHENTICATED, User
from apiserver.serviceaccounts.verification import TokenVerifier
from tests.unit.apiserver.test_authentication import NOW, request

SETTINGS = FrontProxy(Path("ca"), Path("crt"), Path("key"), ("proxy",))
JANE = User("jane", "7", ("developers", "more", AUTHENTICATED), (("scopes", ("a", "b")), ("acme.com/x", ("1",))))
PROXY = Certified(User("proxy", groups=("system:masters",)), NOW + 1, client=False, proxy=True)


def headers_of(user: User) -> CIMultiDict[str]:
    return CIMultiDict(naming(user))


def authenticate(shown: Certified | None, headers: Any, authorization: str | None = None) -> User:
    accounts = TokenVerifier([], lambda *_: None, issuers=["us"], audiences=["us"], now=lambda: NOW)
    known = {"secret": User("bearer")}
    made = Authenticator(known, accounts=accounts, audiences=["us"], now=lambda: NOW, proxies=SETTINGS)
    sent = request(None, shown)
    sent.headers = CIMultiDict(headers)
    if authorization is not None:
        sent.headers["Authorization"] = authorization
    return made.authenticate(sent)


def test_who_is_named_to_another_server_is_who_is_named_to_this_one() -> None:
    assert named_user(headers_of(JANE), SETTINGS) == JANE


def test_a_key_of_something_else_that_is_known_is_escaped() -> None:
    assert ("X-Remote-Extra-acme.com%2Fx", "1") in list(naming(JANE))
    assert ("X-Remote-Extra-50%25", "x") in list(naming(User("u", extra=(("50%", ("x",)),))))


def test_case_does_not_matter_in_names_of_headers() -> None:
    found = named_user(CIMultiDict({"x-remote-user": "jane", "X-REMOTE-EXTRA-Scopes": "a"}), SETTINGS)
    assert found == User("jane", groups=(AUTHENTICATED,), extra=(("scopes", ("a",)),))


def test_the_first_header_with_a_value_names_the_user() -> None:
    settings = FrontProxy(Path("ca"), Path("crt"), Path("key"), (), user_headers=("X-A", "X-B"))
    found = named_user(CIMultiDict({"X-A": "", "X-B": "b"}), settings)
    assert found is not None and found.name == "b"
    assert named_user(CIMultiDict({"X-Remote-User": "jane"}), settings) is None


def test_somebody_unknown_stays_unknown() -> None:
    nobody = User("system:anonymous", groups=(UNAUTHENTICATED,))
    assert named_user(headers_of(nobody), SETTINGS) == nobody


def test_a_proxy_is_believed() -> None:
    assert authenticate(PROXY, headers_of(JANE)) == JANE


@pytest.mark.parametrize(
    "shown", [None, Certified(User("jim"), NOW + 1), Certified(User("proxy"), NOW + 1, client=True, proxy=False)]
)
def test_nobody_else_is(shown: Certified | None) -> None:
    assert authenticate(shown, headers_of(JANE)).name == (shown.user.name if shown else "system:anonymous")


def test_a_proxy_that_names_nobody_is_nobody_itself() -> None:
    with pytest.raises(ApiError) as refused:
        authenticate(PROXY, {})
    assert refused.value.code == 401
    assert authenticate(PROXY, {}, "Bearer secret").name == "bearer"


def test_a_certificate_that_has_expired_meanwhile_lets_nobody_be_named() -> None:
    with pytest.raises(ApiError):
        authenticate(Certified(PROXY.user, NOW, client=False, proxy=True), headers_of(JANE))


def test_one_authority_for_clients_and_proxies_is_both() -> None:
    both = Certified(User("proxy"), NOW + 1, client=True, proxy=True)
    assert authenticate(both, headers_of(JANE)) == JANE
    assert authenticate(both, {}).name == "proxy"


def test_flags_name_another_authority_and_other_headers(tmp_path: Path) -> None:
    plain = parse(["--data-dir", str(tmp_path)]).front_proxy
    assert plain.names == ("front-proxy-client",) and plain.authority == tmp_path / "pki" / "front-proxy-ca.crt"
    other = ["--requestheader-client-ca-file", "ca.crt", "--requestheader-username-headers", "X-A, X-B"]
    found = parse(["--data-dir", str(tmp_path), *other]).front_proxy
    assert (found.authority, found.names, found.user_headers) == (Path("ca.crt"), (), ("X-A", "X-B"))
    with pytest.raises(SystemExit):
        parse(["--data-dir", str(tmp_path), "--proxy-client-cert-file", "x"])


def test_a_bundle_is_split_into_its_certificates() -> None:
    one, two = (f"-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n" for text in "ab")
    assert certificates(f"# first\n{one}\n{two}") == [one, two]
    assert certificates("garbage") == []
