"""How a registry is told who asks: its challenge, answered by a password or by a token from its token server.

Sources: RFC 9110, section 11 (challenges); https://distribution.github.io/distribution/spec/auth/token/ and oauth/
"""

from __future__ import annotations

import base64
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

import orjson

from kubelet.images.http import Body, Http, HttpError, Tls
from kubelet.images.proxies import is_loopback

TOKEN_BYTES_MAX = 1 << 20
TOKEN_SECONDS_DEFAULT = 60.0
# A token is not used in the last seconds of its life: it may be judged by another clock, after a while.
TOKEN_SECONDS_SPARE = 5.0
CLIENT_ID = "wherry"
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_SCHEME = re.compile(rf"\s*,?\s*({_TOKEN})(?:\s+|$)")
_PARAMETER = re.compile(rf'\s*,?\s*({_TOKEN})\s*=\s*("(?:[^"\\]|\\.)*"|[^\s,]+)')


class AuthError(Exception):
    """The registry does not let us in, or asks for something that can't be given."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What somebody may show to a registry; all empty is nobody.

    `identity_token` is exchanged for tokens (a refresh token), `registry_token` is shown as it is.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)


ANONYMOUS = Credential()


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to answer: the scheme in lower case, and its parameters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """What a WWW-Authenticate header asks for, in its order; what can't be read ends the list."""
    challenges: list[Challenge] = []
    position = 0
    while match := _SCHEME.match(header, position):
        position = match.end()
        parameters: dict[str, str] = {}
        while found := _PARAMETER.match(header, position):
            value = found[2]
            if value.startswith('"'):
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
            parameters[found[1].lower()] = value
            position = found.end()
        challenges.append(Challenge(match[1].lower(), parameters))
    return challenges


class Authorizer:
    """The Authorization header for one registry and credential; tokens are kept as long as they are good."""

    def __init__(
        self, http: Http, host: str, credential: Credential, tls: Tls, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._http, self._host, self._tls, self._now = http, host, tls, now
        self._credential = credential
        self._challenge: Challenge | None = None
        self._tokens: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()

    def header(self, scope: str) -> str:
        """What to send along, as far as is known; "" for nothing. Raises AuthError, HttpError."""
        if self._credential.registry_token:
            return f"Bearer {self._credential.registry_token}"
        challenge = self._challenge
        if challenge is None:
            return ""
        if challenge.scheme == "basic":
            return _basic(self._credential) if self._credential.username else ""
        with self._lock:
            token, until = self._tokens.get(scope, ("", 0.0))
            if not token or self._now() >= until:
                token, until = self._fetch_token(challenge, scope)
                self._tokens[scope] = (token, until)
        return f"Bearer {token}"

    def answer(self, header: str, scope: str, *, is_secure: bool) -> bool:
        """The registry has refused with this challenge: True if it is worth asking again. Raises AuthError."""
        challenges = parse_challenges(header)
        known = self._challenge
        chosen = next((c for c in challenges if c.scheme == "bearer" and c.parameters.get("realm")), None)
        if chosen is None:
            chosen = next((c for c in challenges if c.scheme == "basic"), None)
        if chosen is None:
            schemes = ", ".join(c.scheme for c in challenges) or "nothing"
            raise AuthError(f"the registry asks for an unknown kind of authorization ({schemes[:100]})")
        if chosen.scheme == "basic":
            if not self._credential.username:
                raise AuthError("no basic auth credentials")
            self._challenge = chosen
            return known is None
        _check_realm(chosen.parameters["realm"], is_secure=is_secure)
        self._challenge = chosen
        with self._lock:
            # A token that was refused before its time: its key was changed, or the clocks differ.
            had_token = self._tokens.pop(scope, None) is not None
        return known is None or had_token

    def _fetch_token(self, challenge: Challenge, scope: str) -> tuple[str, float]:
        realm, service = challenge.parameters["realm"], challenge.parameters.get("service", "")
        credential = self._credential
        headers = {"Accept": "application/json"}
        body = None
        method = "GET"
        if credential.identity_token:
            form = {"grant_type": "refresh_token", "service": service, "client_id": CLIENT_ID, "scope": scope}
            data = urlencode({**form, "refresh_token": credential.identity_token}).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            method, body = "POST", Body(len(data), [data])
            url = realm
        else:
            query = [("service", service)] if service else []
            query += [("scope", one) for one in scope.split(" ") if one]
            if credential.username:
                query.append(("account", credential.username))
                headers["Authorization"] = _basic(credential)
            url = f"{realm}{'&' if '?' in realm else '?'}{urlencode(query, quote_via=quote)}"
        # A token server beside the registry is trusted as it is; one elsewhere by the machine's authorities.
        tls = self._tls if urlsplit(realm).hostname == urlsplit(f"//{self._host}").hostname else Tls()
        with self._http.request(method, url, headers, body=body, tls=tls) as response:
            data = response.read(TOKEN_BYTES_MAX)
            if response.status in (400, 401, 403):
                raise AuthError(
                    f"failed to fetch {'oauth' if body else 'anonymous' if not credential else 'basic'} "
                    f"token: unexpected status: {response.status}{told(data)}"
                )
            if response.status != 200:
                raise HttpError(f"the token server answers with status {response.status}{told(data)}")
        return self._read_token(data)

    def _read_token(self, data: bytes) -> tuple[str, float]:
        try:
            document = orjson.loads(data)
            token = document.get("token") or document["access_token"]
            seconds = float(document.get("expires_in") or TOKEN_SECONDS_DEFAULT)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise AuthError("the token server's answer holds no token") from error
        if not isinstance(token, str) or not re.fullmatch(r"[\x21-\x7e]+", token):
            raise AuthError("the token server's answer holds no token")
        return token, self._now() + max(seconds - TOKEN_SECONDS_SPARE, 1.0)


def told(data: bytes) -> str:
    """What a registry says of an error, for people: `: code: message`, or nothing."""
    try:
        errors = orjson.loads(data)["errors"]
        first = errors[0]
        text = f"{str(first.get('code', '')).lower().replace('_', ' ')}: {first.get('message', '')}"
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return ""
    return f": {text[:300]}"


def _check_realm(realm: str, *, is_secure: bool) -> None:
    """Passwords go where the registry says: never in the clear if the registry itself is not asked so."""
    parts = urlsplit(realm)
    if parts.scheme == "https":
        return
    if parts.scheme != "http" or (is_secure and not is_loopback(parts.hostname or "")):
        raise AuthError(f"the registry sends passwords to {realm[:200]!r}, which is not safe")


def _basic(credential: Credential) -> str:
    pair = f"{credential.username}:{credential.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
