"""Asking a container by HTTP: the `httpGet` action of probes and hooks.

Certificates are not looked at, nothing is kept between requests, and redirects are followed only as long as they
stay on the host that was asked: a container must not have the node ask others in its place.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/#http-probes
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kubelet.containers.handlers import OUTPUT_BYTES_MAX, Answer, NoAnswer, dial_failure, joined, port_number
from kubelet.pods.pod_spec import Container

if TYPE_CHECKING:
    from aiohttp import ClientSession
    from yarl import URL

PROBE_USER_AGENT, HOOK_USER_AGENT = "kube-probe/1.35", "kube-lifecycle/1.35"
REDIRECTS_MAX = 10
_REDIRECTS = (301, 302, 303, 307, 308)
# The container decides which headers are sent, but for those that the protocol itself needs.
_OWN_HEADERS = ("Accept", "Accept-Encoding", "User-Agent")
_NOT_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNEXPECTED_MESSAGE")
_WELL_FORMED_PATH = re.compile(r"(?:[A-Za-z0-9/._~!$&'()*+,;=:@?#-]|%[0-9A-Fa-f]{2})*")

Headers = list[tuple[str, str]]


class NotTLS(NoAnswer):
    """The server was asked by HTTPS and speaks plain HTTP."""


async def http_get(
    action: Mapping[str, Any],
    container: Container,
    *,
    host: str,
    timeout_seconds: float,
    user_agent: str,
    scheme: str = "",
    without: Iterable[str] = (),
) -> Answer:
    """Carry an `httpGet` action out, `without` some of its headers. Raises NoAnswer."""
    import aiohttp
    from multidict import CIMultiDict

    address, port = action.get("host") or host, port_number(action["port"], container)
    url = target(action, address, port, scheme or (action.get("scheme") or "HTTP").lower())
    headers = CIMultiDict(request_headers(action, user_agent, without))
    try:
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=False, force_close=True),
            timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_OWN_HEADERS,
            auto_decompress=False,
        ) as session:
            return await _follow(session, url, headers)
    except TimeoutError:
        message = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        raise NoAnswer(f'Get "{url}": {message}') from None
    except aiohttp.ClientConnectorSSLError as error:
        if any(sign in str(error) for sign in _NOT_TLS):
            raise NotTLS(f'Get "{url}": http: server gave HTTP response to HTTPS client') from error
        raise NoAnswer(f'Get "{url}": {error.os_error}') from error
    except aiohttp.ClientConnectorError as error:
        raise NoAnswer(f'Get "{url}": {dial_failure(address, port, error.os_error)}') from error
    except (aiohttp.ClientError, ValueError, OSError) as error:
        raise NoAnswer(f'Get "{url}": {error}') from error


def target(action: Mapping[str, Any], address: str, port: int, scheme: str) -> URL:
    """What is asked for. A path that is well-formed is asked for as it stands there; another one is made so."""
    from yarl import URL

    path = action.get("path") or "/"
    path = path if path.startswith("/") else f"/{path}"
    return URL(f"{scheme}://{joined(address, port)}{path}", encoded=bool(_WELL_FORMED_PATH.fullmatch(path)))


def request_headers(action: Mapping[str, Any], user_agent: str, without: Iterable[str] = ()) -> Headers:
    """The action's own headers, which may be there several times, and what is sent unless they say otherwise."""
    left_out = {name.lower() for name in without}
    own = [(entry["name"], entry.get("value") or "") for entry in action.get("httpHeaders") or ()]
    given = {name.lower() for name, _ in own}
    usual = [("User-Agent", user_agent), ("Accept", "*/*"), ("Connection", "close")]
    return [
        *(pair for pair in usual if pair[0].lower() not in given),
        *(pair for pair in own if pair[0].lower() not in left_out and (pair[0].lower() != "accept" or pair[1])),
    ]


async def _follow(session: ClientSession, url: URL, headers: Mapping[str, str]) -> Answer:
    """The answer after all redirects that lead nowhere else; one that does is itself the answer."""
    first_host = url.host
    for _ in range(REDIRECTS_MAX):
        async with session.get(url, headers=headers, allow_redirects=False) as response:
            place = response.headers.get("Location", "")
            if response.status in _REDIRECTS and place:
                following = url.join(type(url)(place))
                if following.host == first_host:
                    url = following
                    continue
            body = await response.content.read(OUTPUT_BYTES_MAX)
            return Answer(response.status, body.decode(errors="replace"))
    raise NoAnswer(f'Get "{url}": stopped after {REDIRECTS_MAX} redirects')
