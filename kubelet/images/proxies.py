"""HTTP proxies, as the environment names them: HTTPS_PROXY, HTTP_PROXY and NO_PROXY, in either case.

Source: what Go's `net/http` (ProxyFromEnvironment) and curl agree on, and RFC 9110, section 9.3.6 (CONNECT)
"""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote, urlsplit

from apiclient.http1 import ResponseParser

_DEFAULT_PORT = 80


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where it listens, and what it wants to hear of us."""

    host: str
    port: int
    authorization: str = ""


def for_host(scheme: str, host: str, port: int, environment: Mapping[str, str] = os.environ) -> Proxy | None:
    """The proxy on the way to a host; None if there is none, as always to this machine itself."""
    name = f"{scheme}_proxy"
    url = environment.get(name.upper()) or environment.get(name) or ""
    if not url or is_loopback(host) or _is_excepted(host, port, environment):
        return None
    parts = urlsplit(url if "://" in url else f"http://{url}")
    authorization = ""
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
    return Proxy(parts.hostname or "", parts.port or _DEFAULT_PORT, authorization)


def tunnel(connection: socket.socket, proxy: Proxy, host: str, port: int) -> None:
    """Have the proxy connect us through to a host. Raises OSError."""
    target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    authorization = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
    connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n".encode())
    parser = ResponseParser()
    # An answer that agrees has no body, whatever its header says; the bytes after it are the other side's.
    parser.begin("HEAD")
    while not parser.complete:
        data = connection.recv(1)
        if not data:
            raise ConnectionError(f"the proxy {proxy.host}:{proxy.port} closed the connection")
        parser.feed(data)
    if not 200 <= parser.status < 300:
        raise ConnectionError(f"the proxy {proxy.host}:{proxy.port} refuses to connect: status {parser.status}")


def is_loopback(host: str) -> bool:
    """Whether a name or address means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_excepted(host: str, port: int, environment: Mapping[str, str]) -> bool:
    for entry in (environment.get("NO_PROXY") or environment.get("no_proxy") or "").split(","):
        entry = entry.strip().lower()
        name, colon, wanted_port = entry.rpartition(":")
        if colon and wanted_port.isdigit() and "]" not in wanted_port and name.count(":") == 0:
            entry = name
            if int(wanted_port) != port:
                continue
        if entry == "*" or (entry and _covers(entry, host.lower())):
            return True
    return False


def _covers(entry: str, host: str) -> bool:
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        suffix = entry.removeprefix("*").removeprefix(".")
        return host == suffix or host.endswith(f".{suffix}")
