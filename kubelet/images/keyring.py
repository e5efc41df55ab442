"""Which credentials fit an image: Docker's configuration files, which secrets of type dockerconfigjson and dockercfg
hold too, and Kubernetes' rules for matching them.

    *.kubernetes.io          matches abc.kubernetes.io/…, but neither kubernetes.io nor a.b.kubernetes.io
    registry.io:5000/team    matches registry.io:5000/team/app

Source: https://kubernetes.io/docs/concepts/containers/images/#config-json
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson

from kubelet.images.reference import DEFAULT_REGISTRY, Reference

DOCKER_CONFIG_JSON, DOCKER_CFG = "kubernetes.io/dockerconfigjson", "kubernetes.io/dockercfg"
_KEYS = {DOCKER_CONFIG_JSON: ".dockerconfigjson", DOCKER_CFG: ".dockercfg"}
_DEFAULT_REGISTRY_KEY = "index.docker.io"


class KeyringError(ValueError):
    """A configuration file or secret that can't be read."""


@dataclass(frozen=True, slots=True)
class Key:
    """A credential for the images that `pattern` matches; `secret`: (uid, namespace, name), or () for the node's."""

    pattern: str
    username: str
    password: str = field(repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    secret: tuple[str, ...] = ()

    @property
    def hash(self) -> str:
        """Tells one credential from another without giving it away."""
        parts = (self.username, self.password, self.identity_token, self.registry_token)
        return hashlib.sha256(orjson.dumps(parts)).hexdigest()


def lookup(keys: Iterable[Key], reference: Reference) -> list[Key]:
    """The keys that fit an image, the more specific patterns first. Kubernetes tries them in this order."""
    ordered = sorted(keys, key=lambda key: key.pattern, reverse=True)
    found = [key for key in ordered if _matches(key.pattern, reference.name)]
    if not found and reference.registry == DEFAULT_REGISTRY:
        found = [key for key in ordered if key.pattern == _DEFAULT_REGISTRY_KEY]
    return found


def of_secret(secret: Mapping[str, Any]) -> list[Key]:
    """The keys in a Secret; none in one of another type. Raises KeyringError."""
    field = _KEYS.get(secret.get("type") or "")
    text = (secret.get("data") or {}).get(field or "")
    if not field or not text:
        return []
    metadata = secret["metadata"]
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise KeyringError(f"secret {metadata['name']}: {field} is not base64") from error
    origin = (metadata.get("uid", ""), metadata.get("namespace", ""), metadata["name"])
    return of_config(data, legacy=field == ".dockercfg", secret=origin)


def of_config(data: bytes, *, legacy: bool = False, secret: tuple[str, ...] = ()) -> list[Key]:
    """The keys in a config.json (its `auths`), or in a .dockercfg, which has nothing else. Raises KeyringError."""
    try:
        document = orjson.loads(data)
    except ValueError as error:
        raise KeyringError(f"no JSON: {error}") from error
    auths = document if legacy else document.get("auths") if isinstance(document, dict) else None
    if auths is None and not legacy and isinstance(document, dict):
        auths = {}
    if not isinstance(auths, dict):
        raise KeyringError("`auths` must be an object")
    return [key for place, entry in auths.items() if (key := _key(place, entry, secret)) is not None]


def _key(place: str, entry: Any, secret: tuple[str, ...]) -> Key | None:
    if not isinstance(entry, dict):
        raise KeyringError(f"the entry for {place!r} must be an object")
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if auth := entry.get("auth"):
        username, password = _pair(place, str(auth))
    identity, registry = str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or "")
    if not (username or identity or registry):
        return None  # Docker leaves empty entries where a helper has the credential
    return Key(_pattern(place), username, password, identity, registry, secret)


def _pair(place: str, auth: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(auth.strip() + "=" * (-len(auth.strip()) % 4), validate=True).decode()
    except ValueError as error:
        raise KeyringError(f"the `auth` of {place!r} is not base64") from error
    username, colon, password = text.partition(":")
    if not colon:
        raise KeyringError(f"the `auth` of {place!r} is not USER:PASSWORD")
    return username, password.rstrip("\0")


def _pattern(place: str) -> str:
    """Host and path: scheme, /v1/ and /v2/ mean nothing."""
    bare = place.removeprefix("https://").removeprefix("http://")
    host, slash, path = bare.partition("/")
    path = slash + path
    if path.startswith(("/v1/", "/v2/")):
        path = path[3:]
    return host if path in ("", "/") else host + path


def _matches(pattern: str, name: str) -> bool:
    wanted, found = _parts(pattern), _parts(name)
    if wanted is None or found is None:
        return False
    (hosts, port, path), (own_hosts, own_port, own_path) = wanted, found
    if port != own_port or len(hosts) != len(own_hosts) or not own_path.startswith(path):
        return False
    return all(fnmatch.fnmatchcase(own, glob) for own, glob in zip(own_hosts, hosts, strict=True))


def _parts(name: str) -> tuple[Sequence[str], str, str] | None:
    try:
        parts = urlsplit(f"//{name}")
    except ValueError:
        return None
    host, colon, port = parts.netloc.rpartition(":")
    if not colon or not port.isdigit():
        host, port = parts.netloc, ""
    return host.split("."), port, parts.path
