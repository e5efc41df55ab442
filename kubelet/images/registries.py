"""How the registries of this node are reached: DIR/registries.yaml, in the form that k3s reads.

    mirrors:
      docker.io:                              # or "*", for all that have no entry of their own
        endpoint: [https://mirror.example, http://10.0.0.5:5000]
        rewrite: {"^library/(.*)": "cached/$1"}
    configs:
      mirror.example:                         # by the host (and port) that is asked
        auth: {username: u, password: p}      # or auth (base64), identitytoken, registrytoken
        tls: {ca_file: F, cert_file: F, key_file: F, insecure_skip_verify: false}

Mirrors are asked in their order and the registry itself comes last. Without configuration registries are asked over
TLS, but for those on this machine: localhost and loopback addresses are asked in plain HTTP first. An insecure
registry is one whose mirror, perhaps itself, is an http:// address.

Source: https://docs.k3s.io/installation/private-registry
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from kubelet.images import keyring
from kubelet.images.auth import Credential
from kubelet.images.http import Tls
from kubelet.images.proxies import is_loopback

FILE = "registries.yaml"
_DOCKER_HUB = "registry-1.docker.io"


class RegistriesError(Exception):
    """The file can't be used."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A place to ask for a registry's images: base URLs, of which the first that speaks its protocol is used."""

    urls: Sequence[str]
    repository: str
    tls: Tls
    credential: Credential | None = None
    is_mirror: bool = False


@dataclass(frozen=True, slots=True)
class Mirror:
    """Endpoints in front of a registry, and how repositories are called there."""

    endpoints: Sequence[str]
    rewrites: Sequence[tuple[re.Pattern[str], str]] = ()


@dataclass(frozen=True, slots=True)
class Registries:
    """The file's content."""

    mirrors: Mapping[str, Mirror] = field(default_factory=dict)
    credentials: Mapping[str, Credential] = field(default_factory=dict)
    tls: Mapping[str, Tls] = field(default_factory=dict)

    def endpoints(self, registry: str, repository: str) -> list[Endpoint]:
        """Where to ask for a repository, in order."""
        mirror = self.mirrors.get(registry) or self.mirrors.get("*") or Mirror(())
        found = [self._endpoint(url, _rewritten(repository, mirror), is_mirror=True) for url in mirror.endpoints]
        own = self.own(registry, repository)
        if not any(set(own.urls) & set(endpoint.urls) and endpoint.repository == repository for endpoint in found):
            found.append(own)
        return found

    def own(self, registry: str, repository: str) -> Endpoint:
        """The registry itself."""
        host = _DOCKER_HUB if registry == "docker.io" else registry
        urls = [f"https://{host}"]
        if is_loopback(urlsplit(f"//{host}").hostname or "") and host not in self.tls:
            urls = [f"http://{host}", f"https://{host}"]
        for url in (self.mirrors.get(registry) or Mirror(())).endpoints:
            if urlsplit(url).netloc == host:
                urls = [url]
        tls, credential = self.tls.get(host), self.credentials.get(host)
        return Endpoint(
            urls,
            repository,
            tls or self.tls.get(registry) or Tls(),
            credential or self.credentials.get(registry),
        )

    def _endpoint(self, url: str, repository: str, *, is_mirror: bool) -> Endpoint:
        host = urlsplit(url).netloc
        return Endpoint([url], repository, self.tls.get(host, Tls()), self.credentials.get(host), is_mirror)


def load(root: Path) -> Registries:
    """The configuration in a store; an absent file is an empty one. Raises RegistriesError."""
    path = root / FILE
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Registries()
    except OSError as error:
        raise RegistriesError(f"{path}: {error.strerror}") from error
    import yaml  # only here: most stores have no such file

    try:
        document = yaml.safe_load(text) or {}
        return parse(document)
    except (yaml.YAMLError, RegistriesError, re.error) as error:
        raise RegistriesError(f"{path}: {error}") from error


def parse(document: Any) -> Registries:
    """The file's content, from its YAML. Raises RegistriesError."""
    mirrors, credentials, tls = {}, {}, {}
    for registry, entry in _mapping(document, "mirrors").items():
        endpoints = _mapping({"mirrors": entry}, "mirrors").get("endpoint") or []
        rewrites = _mapping(entry or {}, "rewrite")
        if not isinstance(endpoints, list):
            raise RegistriesError(f"mirrors.{registry}.endpoint must be a list")
        for url in endpoints:
            if urlsplit(str(url)).scheme not in ("http", "https"):
                raise RegistriesError(f"mirrors.{registry}: {url!r} is no http:// or https:// address")
        mirrors[registry] = Mirror(
            [str(url).rstrip("/").removesuffix("/v2") for url in endpoints],
            [(re.compile(pattern), re.sub(r"\$(\d+)", r"\\\1", str(into))) for pattern, into in rewrites.items()],
        )
    for host, entry in _mapping(document, "configs").items():
        auth, tls_entry = _mapping(entry or {}, "auth"), _mapping(entry or {}, "tls")
        if auth:
            try:
                [key] = keyring.of_config(_json({"auths": {host: auth}}))
            except (keyring.KeyringError, ValueError) as error:
                raise RegistriesError(f"configs.{host}.auth: {error}") from error
            credentials[host] = Credential(key.username, key.password, key.identity_token, key.registry_token)
        if tls_entry:
            tls[host] = Tls(
                ca_file=str(tls_entry.get("ca_file") or ""),
                cert_file=str(tls_entry.get("cert_file") or ""),
                key_file=str(tls_entry.get("key_file") or ""),
                skip_verify=tls_entry.get("insecure_skip_verify") is True,
            )
    return Registries(mirrors, credentials, tls)


def _mapping(document: Any, key: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise RegistriesError(f"what holds `{key}` must be a mapping")
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RegistriesError(f"{key} must be a mapping")
    return value


def _json(value: Any) -> bytes:
    import orjson

    return orjson.dumps(value)


def _rewritten(repository: str, mirror: Mirror) -> str:
    for pattern, into in mirror.rewrites:
        if pattern.search(repository):
            return pattern.sub(into, repository, count=1)
    return repository
