"""Registries for tests: Debian's `docker-registry` as it is, a token server for it, and one that lies as told."""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.layers import MadeImage

USER, PASSWORD = "tester", "secret"
# PASSWORD in bcrypt, the only form that the registry takes.
_HTPASSWD = f"{USER}:$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"
START_SECONDS_MAX = 60.0
SERVICE, ISSUER = "test-registry", "test-issuer"


def need(*programs: str) -> None:
    """Skip the test where a program is absent."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)} (Debian: apt install {' '.join(missing)})")


def run(*command: str | Path, check: bool = True, timeout: float = 120.0) -> str:
    """Run a program; returns what it prints."""
    words = list(map(str, command))
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=timeout)
    assert not check or done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass(slots=True)
class Registry:
    """A registry that runs at `host` (address and port)."""

    host: str
    log: Path
    ca_file: Path | None = None

    def requests(self, word: str) -> int:
        """How many requests with this word in their line it has had."""
        return sum(1 for line in self.log.read_text().splitlines() if word in line and "HTTP/1.1" in line)


@contextlib.contextmanager
def registry(
    folder: Path,
    *,
    address: str = "127.0.0.1",
    tls: tuple[Path, Path, Path] | None = None,
    htpasswd: bool = False,
    token_server: str = "",
    token_bundle: Path | None = None,
) -> Iterator[Registry]:
    """A `docker-registry` with storage of its own; `tls` are certificate, key and their authority."""
    need("docker-registry")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port(address)
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}, "delete": {"enabled": True}},
        "http": {"addr": f"{address}:{port}", "secret": "test"},
    }
    if tls is not None:
        config["http"]["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    if htpasswd:
        (folder / "htpasswd").write_text(_HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    if token_server:
        token = {"realm": token_server, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(token_bundle)}
        config["auth"] = {"token": token}
    (folder / "config.yml").write_text(json.dumps(config))
    log = folder / "registry.log"
    with log.open("wb") as out:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=out, stderr=out)
    try:
        wait_for_port(address, port, process, log)
        yield Registry(f"{address}:{port}", log, tls[2] if tls else None)
    finally:
        process.terminate()
        process.wait(timeout=60)


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def wait_for_port(address: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until a server listens."""
    deadline = time.monotonic() + START_SECONDS_MAX
    while True:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError), socket.create_connection((address, port), 1):
            return
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


class TokenServer(ThreadingHTTPServer):
    """Gives whoever has the password a token for what is asked, and counts them."""

    daemon_threads = True

    def __init__(self, certificate: Path, key: Path, *, seconds: int = 300) -> None:
        super().__init__(("127.0.0.1", 0), _TokenHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/token"
        self.certificate, self.key, self.seconds = certificate, key, seconds
        self.scopes: list[str] = []
        self.refreshed = 0

    def token(self, scopes: list[str]) -> str:
        """A signed token, as the distribution project's specification has it."""
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        der = x509.load_pem_x509_certificate(self.certificate.read_bytes()).public_bytes(serialization.Encoding.DER)
        now = int(time.time())
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        claims = {
            **{"iss": ISSUER, "sub": USER, "aud": SERVICE, "nbf": now - 10, "iat": now - 10, "jti": str(now)},
            "exp": now + self.seconds,
            "access": access,
        }
        text = f"{_base64url(json.dumps(header).encode())}.{_base64url(json.dumps(claims).encode())}"
        r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{_base64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


class _TokenHandler(BaseHTTPRequestHandler):
    server: TokenServer

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        expected = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self._answer(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong password"}]})
            return
        self._give(query.get("scope", []))

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        if form.get("refresh_token") != ["refresh-me"] or form.get("grant_type") != ["refresh_token"]:
            self._answer(401, {"details": "wrong token"})
            return
        self.server.refreshed += 1
        self._give(form["scope"][0].split(" "))

    def _give(self, scopes: list[str]) -> None:
        self.server.scopes += scopes
        self._answer(200, {"token": self.server.token(scopes), "expires_in": self.server.seconds})

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        _send(self, status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def log_message(self, *_: Any) -> None:
        pass


@dataclass(slots=True)
class Asked:
    """A request that the lying registry has had."""

    method: str
    path: str
    headers: dict[str, str]


Hook = Callable[["LyingRegistry", BaseHTTPRequestHandler], bool]


@dataclass(slots=True)
class LyingRegistry:
    """A registry in a thread that serves what it is given, as it is told.

    A hook is asked first about every request; True means that it has answered.
    """

    host: str
    manifests: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    hook: Hook | None = None

    def add(self, name: str, made: MadeImage) -> None:
        """Serve an image under `repository:tag`."""
        repository, _, tag = name.partition(":")
        self.manifests[f"{repository}/{tag}"] = (made.manifest, made.media_type)
        self.manifests[f"{repository}/{made.digest}"] = (made.manifest, made.media_type)
        for digest, data in made.blobs.items():
            self.blobs[digest] = data
            if b'"schemaVersion"' in data[:200]:
                self.manifests[f"{repository}/{digest}"] = (data, json.loads(data)["mediaType"])

    def paths(self, word: str) -> list[str]:
        """The paths that were asked for and hold this word."""
        return [asked.path for asked in self.asked if word in asked.path]


@contextlib.contextmanager
def lying_registry(address: str = "127.0.0.1") -> Iterator[LyingRegistry]:
    """Such a registry, while the context lasts."""
    state = LyingRegistry("")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            state.asked.append(Asked(self.command, self.path, dict(self.headers)))
            if state.hook is not None and state.hook(state, self):
                return
            _, _, *repository, kind, name = urlsplit(self.path).path.split("/")
            key = f"{'/'.join(repository)}/{name}"
            if kind == "manifests" and key in state.manifests:
                data, media_type = state.manifests[key]
                _send(self, 200, data, {"Content-Type": media_type})
            elif kind == "blobs" and name in state.blobs:
                serve_blob(self, state.blobs[name])
            else:
                _send(self, 404, b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no such thing"}]}', {})

        do_GET = do_HEAD = _serve

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer((address, 0), Handler)
    server.daemon_threads = True
    state.host = f"{address}:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=60)


@contextlib.contextmanager
def tunnel_proxy(target: str) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that connects everybody to `target`: its address, and the first lines that it was sent."""
    address, _, port = target.rpartition(":")
    lines: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            lines.append(self.rfile.readline().strip())
            while self.rfile.readline().strip():
                pass
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection((address, int(port))) as out:
                back = threading.Thread(target=_pump, args=(out, self.connection), daemon=True)
                back.start()
                _pump(self.connection, out)
                back.join(timeout=60)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_address[1]}", lines
        finally:
            server.shutdown()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def serve_blob(handler: BaseHTTPRequestHandler, data: bytes) -> None:
    """A blob, or the part of it that is asked for."""
    wanted = handler.headers.get("Range", "")
    if wanted.startswith("bytes="):
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        fields = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}
        _send(handler, 206, data[start:], fields)
    else:
        _send(handler, 200, data, {})


def _send(handler: BaseHTTPRequestHandler, status: int, data: bytes, headers: dict[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    if handler.command != "HEAD":
        with contextlib.suppress(OSError):
            handler.wfile.write(data)


def answer(handler: BaseHTTPRequestHandler, status: int, data: bytes = b"", **headers: str) -> bool:
    """Answer a request from a hook; underscores in the names of headers stand for dashes."""
    _send(handler, status, data, {name.replace("_", "-"): value for name, value in headers.items()})
    return True


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
