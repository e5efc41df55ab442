"""Who asks: a client certificate of the cluster's authority, or a bearer token: of the token file, of a Secret that
lets machines join, or of a service account. A proxy with a certificate of its own authority says it in headers.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/
"""

from __future__ import annotations

import base64
import csv
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path

from aiohttp import web

from apimachinery.errors import unauthorized
from apiserver.bootstrap_tokens import BootstrapTokens
from apiserver.connection import Connection
from apiserver.front_proxy import ANONYMOUS_NAME, FrontProxy, named_user
from apiserver.logs import kv
from apiserver.pki import KUBELET_CLIENT
from apiserver.request_info import AUTHENTICATED, UNAUTHENTICATED, User
from apiserver.serviceaccounts.verification import TokenError, TokenVerifier

log = logging.getLogger(__name__)

ANONYMOUS = User(ANONYMOUS_NAME, groups=(UNAUTHENTICATED,))
TOKEN_FIELDS_MIN = 3
# Source: k8s.io/apiserver/pkg/authentication/request/websocket
TOKEN_PROTOCOL = "base64url.bearer.authorization.k8s.io."


class TokenFileError(Exception):
    """The token file can't be used; the message names the line."""


class Authenticator:
    """Finds out who sends a request."""

    def __init__(
        self,
        tokens: Mapping[str, User],
        *,
        accounts: TokenVerifier,
        bootstrap: BootstrapTokens | None = None,
        audiences: Sequence[str],
        now: Callable[[], float],
        proxies: FrontProxy | None = None,
        anonymous: bool = True,
    ) -> None:
        """`audiences` are what this server is; `anonymous`: whether who shows no credentials may go on as nobody."""
        self._accounts = accounts
        self._bootstrap = bootstrap
        self._audiences = tuple(audiences)
        self._now = now
        self._proxies = proxies
        self._anonymous = anonymous
        # Only keyed digests are kept and compared: the time that a look-up takes tells nothing of a token.
        self._key = secrets.token_bytes(32)
        self._users = {self._digest(token): user for token, user in tokens.items()}

    def authenticate(self, request: web.BaseRequest) -> User:
        """The user of a request; `ANONYMOUS` if it carries no credentials. Raises 401 for wrong ones."""
        connection = request.protocol
        certified = connection.certified if isinstance(connection, Connection) else None
        if certified is not None and certified.expires > self._now():
            if certified.proxy and self._proxies is not None:
                named = named_user(request.headers, self._proxies)
                if named is not None:
                    return named
            if certified.user.name == KUBELET_CLIENT:
                # This server itself: it has been told that an agent listens where in truth it does.
                raise unauthorized()
            if certified.client:
                return certified.user
        header = request.headers.get("Authorization")
        if header is None and "Sec-WebSocket-Protocol" in request.headers:
            header = _of_protocols(request.headers["Sec-WebSocket-Protocol"])
        if header is None and certified is None and self._anonymous:
            return ANONYMOUS
        scheme, _, token = (header or "").partition(" ")
        if scheme.lower() != "bearer":
            raise unauthorized()
        try:
            return self.identify(token.strip())[0]
        except TokenError as error:
            log.debug(kv("token refused", reason=error))
            raise unauthorized() from error

    def identify(self, token: str, audiences: Sequence[str] = ()) -> tuple[User, list[str]]:
        """(whose token it is, for which of the audiences it is; without any: of this server). Raises TokenError."""
        digest = self._digest(token)
        user = self._users.get(digest)
        if user is None and self._bootstrap is not None:
            user = self._bootstrap.find(token)
        if user is not None:
            meant = [audience for audience in self._audiences if audience in (audiences or self._audiences)]
            if not meant:
                raise TokenError("the token is for this server alone")
            return user, meant
        found = self._accounts.verify(token, digest, audiences)
        if found is None:
            raise TokenError("invalid bearer token")
        return found

    def _digest(self, token: str) -> bytes:
        return blake2b(token.encode("utf-8", "surrogateescape"), key=self._key, digest_size=32).digest()


def _of_protocols(offered: str) -> str | None:
    """What browsers send for an Authorization header with a WebSocket: a token among the protocols."""
    for protocol in offered.split(","):
        name, found, encoded = protocol.strip().partition(TOKEN_PROTOCOL)
        if found and not name:
            try:
                return f"Bearer {base64.urlsafe_b64decode(encoded + '=' * (-len(encoded) % 4)).decode()}"
            except ValueError:
                raise unauthorized() from None
    return None


def read_token_file(path: Path) -> dict[str, User]:
    """Read lines of `token,user,uid,"group,group"` (the groups may be left out). Raises TokenFileError."""
    users = {}
    try:
        with path.open(newline="") as file:
            for number, fields in enumerate(csv.reader(file), start=1):
                if not fields:
                    continue
                if len(fields) < TOKEN_FIELDS_MIN or not fields[0].strip() or not fields[1].strip():
                    raise TokenFileError(f'{path}, line {number}: is not of the form token,user,uid,"group,group"')
                token, name, uid = (field.strip() for field in fields[:3])
                groups = [group.strip() for group in fields[3].split(",")] if len(fields) > TOKEN_FIELDS_MIN else []
                users[token] = User(name, uid, (*filter(None, groups), AUTHENTICATED))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TokenFileError(f"{path}: {error}") from error
    return users
