"""URLs.

Source: https://kubernetes.io/docs/reference/using-api/cel/#kubernetes-url-library. What is a URL and what its parts
are is as in Go's net/url: an absolute URL or an absolute path.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import ClassVar
from urllib.parse import quote, unquote

from apimachinery.cel.errors import CelEvaluationError
from apimachinery.cel.functions import Library
from apimachinery.cel.library.strings import traversal
from apimachinery.cel.types import BOOL, STRING, CelType, list_of, map_of, opaque

LIBRARY = Library()
URL = opaque("kubernetes.URL")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*):")
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_USER = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_HOST = re.compile(r"[^\x00-\x20#/?@\\^`{|}%]*")
_VALID_PATH = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:@\[\]%/]*")


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed URL; `path` as it was written."""

    scheme: str
    user: str
    host: str
    path: str
    query: str
    fragment: str = ""
    cel_type: ClassVar[CelType] = URL


def parse_url(text: str) -> Url:
    """The parts of a URL. Raises ValueError, with the reason in Go's words."""
    if _CONTROL.search(text):
        raise ValueError("net/url: invalid control character in URL")
    # First as what a request names, where # is no mark: it may stand in a path or query, but not in a host.
    _parse(text)
    before, _, fragment = text.partition("#")
    _check_escapes(fragment)
    return replace(_parse(before), fragment=fragment)


def _parse(text: str) -> Url:
    if not text:
        raise ValueError("empty url")
    if text == "*":
        return Url("", "", "", text, "")
    match = _SCHEME.match(text)
    scheme = match[1].lower() if match else ""
    rest = text[match.end() :] if match else text
    if not match and text.startswith(":"):
        raise ValueError("missing protocol scheme")
    rest, _, query = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return Url(scheme, "", "", "", query)
        raise ValueError("invalid URI for request")
    user = host = ""
    if scheme and rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        rest = slash + path
        user, _, host = authority.rpartition("@")
        if not _USER.fullmatch(user):
            raise ValueError("net/url: invalid userinfo")
        host = _checked_host(host)
    _check_escapes(user)
    _check_escapes(rest)
    return Url(scheme, user, host, rest, query)


def _check_escapes(text: str) -> None:
    if bad := _BAD_ESCAPE.search(text):
        raise ValueError(f'invalid URL escape "{text[bad.start() : bad.start() + 3]}"')


def _checked_host(host: str) -> str:
    name, port = host, ""
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            raise ValueError("missing ']' in host")
        port = host[end + 1 :]
    elif ":" in host:
        name = host[: host.rindex(":")]
        port = host[len(name) :]
    if port and not re.fullmatch(r":[0-9]*", port):
        raise ValueError(f'invalid port "{port}" after host')
    plain = unquote(name)
    if _BAD_ESCAPE.search(name) or not _HOST.fullmatch(plain.partition("%")[0]):
        raise ValueError(f'invalid character in host name "{name}"')
    return host


@LIBRARY.function("url", STRING, result=URL, cost=traversal)
def _url(text: str) -> Url:
    try:
        return parse_url(text)
    except ValueError as error:
        raise CelEvaluationError(f'URL parse error during conversion from string: parse "{text}": {error}')


@LIBRARY.function("isURL", STRING, result=BOOL, cost=traversal)
def is_url(text: str) -> bool:
    """Whether the text is an absolute URL or path."""
    try:
        parse_url(text)
    except ValueError:
        return False
    return True


LIBRARY.method("getScheme", URL, result=STRING)(lambda url: url.scheme)
LIBRARY.method("getHost", URL, result=STRING)(lambda url: url.host)


@LIBRARY.method("getHostname", URL, result=STRING)
def _hostname(url: Url) -> str:
    host = re.sub(r":[0-9]*$", "", url.host)
    return host[1:-1] if host.startswith("[") else host


@LIBRARY.method("getPort", URL, result=STRING)
def _port(url: Url) -> str:
    match = re.search(r":([0-9]*)$", url.host)
    return match[1] if match else ""


@LIBRARY.method("getEscapedPath", URL, result=STRING)
def _escaped_path(url: Url) -> str:
    return url.path if _VALID_PATH.fullmatch(url.path) else quote(unquote(url.path), safe="$&+,/:;=@~")


@LIBRARY.method("getQuery", URL, result=map_of(STRING, list_of(STRING)))
def _query(url: Url) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in url.query.split("&"):
        if not pair or ";" in pair or _BAD_ESCAPE.search(pair):
            continue
        key, _, value = pair.replace("+", " ").partition("=")
        found.setdefault(unquote(key), []).append(unquote(value))
    return found
