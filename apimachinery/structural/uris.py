"""Whether a text is an absolute URI or path, as Go's url.ParseRequestURI decides."""

from __future__ import annotations

import re
from string import ascii_letters, digits

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_USER = re.compile(r"([A-Za-z0-9\-._:~!$&'()*+,;=@]|%[0-9A-Fa-f]{2})*")
_ESCAPES = re.compile(r"([^%]|%[0-9A-Fa-f]{2})*", re.DOTALL)
_HOST = frozenset(ascii_letters + digits + "-_.~!$&'()*+,;=:[]<>\"")
_PORT = re.compile(r"(:\d*)?", re.ASCII)


def is_request_uri(text: str) -> bool:
    """`https://example.com/x`, `mailto:someone` or `/a/path`."""
    if not text or any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        return False
    if text == "*":
        return True
    found = _SCHEME.match(text)
    scheme = found[0] if found and text[found.end() :].startswith(":") else ""
    if not scheme and text.startswith(":"):
        return False
    rest = (text[len(scheme) + 1 :] if scheme else text).partition("?")[0]
    if not rest.startswith("/"):
        return bool(scheme)
    if scheme and rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        return _is_authority(authority) and _ESCAPES.fullmatch(slash + path) is not None
    return _ESCAPES.fullmatch(rest) is not None


def _is_authority(text: str) -> bool:
    user, _, host = text.rpartition("@")
    if not _USER.fullmatch(user):
        return False
    if host.startswith("["):
        inner, bracket, port = host.rpartition("]")
        return bool(bracket) and _PORT.fullmatch(port) is not None and _is_host(inner[1:].partition("%25")[0])
    name, colon, port = host.rpartition(":")
    if colon and not _PORT.fullmatch(colon + port):
        return False
    return _is_host(name if colon else host)


def _is_host(text: str) -> bool:
    # Only what is not ASCII may be escaped in a host.
    plain = re.sub(r"%[89A-Fa-f][0-9A-Fa-f]", "", text)
    return all(character in _HOST or ord(character) >= 0x80 for character in plain)
