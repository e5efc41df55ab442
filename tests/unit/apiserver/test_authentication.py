"""Who asks: certificates and tokens, and nothing in between."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from apimachinery.errors import ApiError
from apiserver.authentication import ANONYMOUS, Authenticator, TokenFileError, read_token_file
from apiserver.connection import Certified, Connection, certified
from apiserver.request_info import AUTHENTICATED, User
from apiserver.serviceaccounts.verification import TokenError, TokenVerifier

NOW = 1_800_000_000.0
JANE = User("jane", "7", ("developers", AUTHENTICATED))
PEER = {
    "subject": ((("organizationName", "system:nodes"),), (("organizationName", "more"),), (("commonName", "n"),)),
    "notAfter": "Jan 15 08:00:00 2027 GMT",
}


def request(authorization: str | None = None, shown: Certified | None = None) -> Any:
    connection = Connection.__new__(Connection)
    connection.certified = shown
    headers = {} if authorization is None else {"Authorization": authorization}
    return SimpleNamespace(headers=headers, protocol=connection)


def authenticator_of(tokens: dict[str, User], **more: Any) -> Authenticator:
    accounts = TokenVerifier([], lambda *_: None, issuers=["us"], audiences=["us"], now=lambda: NOW)
    return Authenticator(tokens, accounts=accounts, audiences=["us"], now=lambda: NOW, **more)


@pytest.fixture
def authenticator() -> Authenticator:
    return authenticator_of({"secret": JANE})


def test_a_certificates_common_name_is_the_user_and_its_organizations_are_the_groups() -> None:
    found = certified(PEER)
    assert found is not None
    assert found.user == User("n", groups=("system:nodes", "more", AUTHENTICATED))
    assert found.expires == 1_800_000_000.0


def test_of_several_common_names_the_last_one_counts() -> None:
    found = certified({**PEER, "subject": ((("commonName", "kubernetes-admin"),), (("commonName", "n"),))})
    assert found is not None
    assert found.user.name == "n"


@pytest.mark.parametrize("peer", [None, {}, {**PEER, "subject": ((("organizationName", "system:masters"),),)}])
def test_a_certificate_without_a_name_is_nobodys(peer: Any) -> None:
    assert certified(peer) is None


def test_a_valid_certificate_is_enough(authenticator: Authenticator) -> None:
    assert authenticator.authenticate(request(shown=Certified(JANE, NOW + 1))) == JANE


def test_the_server_is_not_taken_in_by_itself(authenticator: Authenticator) -> None:
    itself = User("kube-apiserver-kubelet-client", groups=("system:masters", AUTHENTICATED))
    with pytest.raises(ApiError) as refused:
        authenticator.authenticate(request("Bearer secret", Certified(itself, NOW + 1)))
    assert refused.value.code == 401


def test_a_certificate_that_expires_while_its_connection_lives_ends_with_its_time(
    authenticator: Authenticator,
) -> None:
    with pytest.raises(ApiError) as refused:
        authenticator.authenticate(request(shown=Certified(JANE, NOW)))
    assert refused.value.code == 401


def test_a_token_is_found(authenticator: Authenticator) -> None:
    assert authenticator.authenticate(request("Bearer secret")) == JANE
    assert authenticator.authenticate(request("bearer  secret ")) == JANE


def test_browsers_send_tokens_among_the_protocols_of_a_websocket(authenticator: Authenticator) -> None:
    def protocols(offered: str) -> Any:
        made = request()
        made.headers["Sec-WebSocket-Protocol"] = offered
        return made

    token = "base64url.bearer.authorization.k8s.io.c2VjcmV0"
    assert authenticator.authenticate(protocols(f"base64.binary.k8s.io, {token}")) == JANE
    assert authenticator.authenticate(protocols("base64.binary.k8s.io")) is ANONYMOUS
    for wrong in ("base64url.bearer.authorization.k8s.io.d3Jvbmc", "base64url.bearer.authorization.k8s.io.a"):
        with pytest.raises(ApiError):
            authenticator.authenticate(protocols(wrong))


def test_a_token_of_the_file_is_for_this_server_alone(authenticator: Authenticator) -> None:
    assert authenticator.identify("secret", ["us", "them"]) == (JANE, ["us"])
    with pytest.raises(TokenError):
        authenticator.identify("secret", ["them"])


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Bearer", "Basic c2VjcmV0", "secret", "Bearer sécret"])
def test_wrong_credentials_are_refused(authenticator: Authenticator, header: str) -> None:
    with pytest.raises(ApiError) as refused:
        authenticator.authenticate(request(header))
    assert refused.value.code == 401


def test_whoever_shows_nothing_is_anonymous(authenticator: Authenticator) -> None:
    assert authenticator.authenticate(request()) is ANONYMOUS


def test_whoever_shows_nothing_is_refused_where_nobody_may_be_anonymous() -> None:
    with pytest.raises(ApiError) as refused:
        authenticator_of({}, anonymous=False).authenticate(request())
    assert refused.value.code == 401


def test_a_token_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text('t1,jane,7,"developers,testers"\n\nt2,joe,8\n')
    assert read_token_file(path) == {
        "t1": User("jane", "7", ("developers", "testers", AUTHENTICATED)),
        "t2": User("joe", "8", (AUTHENTICATED,)),
    }


@pytest.mark.parametrize("line", ["only,two", ",jane,7", "token,,7"])
def test_a_token_file_that_is_wrong_says_where(tmp_path: Path, line: str) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text(f"t1,jane,7\n{line}\n")
    with pytest.raises(TokenFileError, match="line 2"):
        read_token_file(path)


def test_a_token_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="none.csv"):
        read_token_file(tmp_path / "none.csv")
