"""How a proxy in front of a server tells who asks: headers that are believed to whoever shows a certificate of an
authority of its own.

This server reads them as kube-apiserver does with its `--requestheader-*` flags, and writes them where it is itself
the proxy in front of an extension server.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/#authenticating-proxy
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, unquote

from apiserver.request_info import AUTHENTICATED, UNAUTHENTICATED, User

if TYPE_CHECKING:
    from multidict import MultiMapping

ANONYMOUS_NAME = "system:anonymous"
USER, UID, GROUP, EXTRA = "X-Remote-User", "X-Remote-Uid", "X-Remote-Group", "X-Remote-Extra-"
_PEM = r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n?"
# What may stand in the name of a header as it is (RFC 9110, 5.6.2); `%` begins what may not.
_TOKEN = string.ascii_letters + string.digits + "!#$&'*+-.^_`|~"


class FrontProxy(NamedTuple):
    """Who may name users, and in which headers; what this server shows where it does so itself.

    `authority` is the file of the authority of proxies, `names` are the common names that it must have issued a
    certificate for: any, if there are none.
    """

    authority: Path
    certificate: Path
    key: Path
    names: tuple[str, ...]
    user_headers: tuple[str, ...] = (USER,)
    uid_headers: tuple[str, ...] = (UID,)
    group_headers: tuple[str, ...] = (GROUP,)
    extra_prefixes: tuple[str, ...] = (EXTRA,)


def named_user(headers: MultiMapping[str], settings: FrontProxy) -> User | None:
    """The user that a proxy names; None if it names nobody."""
    name = _first(headers, settings.user_headers)
    if not name:
        return None
    groups = [value for header in settings.group_headers for value in headers.getall(header, ()) if value]
    extra: dict[str, list[str]] = {}
    for prefix in settings.extra_prefixes:
        for header, value in headers.items():
            if header[: len(prefix)].lower() == prefix.lower():
                extra.setdefault(unquote(header[len(prefix) :].lower()), []).append(value)
    if name != ANONYMOUS_NAME and not {AUTHENTICATED, UNAUTHENTICATED} & set(groups):
        groups.append(AUTHENTICATED)
    known = tuple((key, tuple(values)) for key, values in extra.items())
    return User(name, _first(headers, settings.uid_headers), tuple(groups), known)


def naming(user: User) -> Iterator[tuple[str, str]]:
    """The headers by which this server names a user to another one."""
    yield USER, user.name
    if user.uid:
        yield UID, user.uid
    for group in user.groups:
        yield GROUP, group
    for key, values in user.extra:
        for value in values:
            yield f"{EXTRA}{quote(key, safe=_TOKEN)}", value


def _first(headers: MultiMapping[str], names: Sequence[str]) -> str:
    return next((value for name in names if (value := headers.get(name, ""))), "")


def certificates(pem: str) -> list[str]:
    """The certificates of a bundle, each as PEM."""
    return [found.strip() + "\n" for found in re.findall(_PEM, pem, re.DOTALL)]


def fingerprints(path: Path) -> frozenset[bytes]:
    """The certificates in a file, as DER. Raises OSError and ValueError."""
    import ssl  # the flags are read before anything large is imported

    return frozenset(map(ssl.PEM_cert_to_DER_cert, certificates(path.read_text())))
