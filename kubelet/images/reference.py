"""Image references: the short names that people write and the full names that they stand for.

    busybox                    docker.io/library/busybox:latest
    localhost/host             localhost/host:latest
    registry:5000/a/b@sha256:… registry:5000/a/b@sha256:…

Source: https://kubernetes.io/docs/concepts/containers/images/#image-names and the distribution project's
reference grammar.
"""

from __future__ import annotations

import re

DEFAULT_REGISTRY = "docker.io"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?\.?)+(?::[0-9]+)?|\[[a-fA-F0-9:]+\](?::[0-9]+)?"
_REFERENCE = re.compile(
    rf"(?P<name>{_PATH}(?:/{_PATH})*)(?::(?P<tag>[\w][\w.-]{{0,127}}))?(?:@(?P<digest>sha256:[a-f0-9]{{64}}))?"
)
_NAME_LENGTH_MAX = 255


class InvalidReference(ValueError):
    """Not an image reference."""


def normalize(reference: str) -> str:
    """The full name of an image: registry, repository, and tag or digest. Raises InvalidReference."""
    registry, rest = _split_registry(reference)
    match = _REFERENCE.fullmatch(rest)
    if match is None or len(reference) > _NAME_LENGTH_MAX or not re.fullmatch(_DOMAIN, registry):
        raise InvalidReference(f"couldn't parse image name {reference!r}: invalid reference format")
    name = match["name"]
    if registry == DEFAULT_REGISTRY and "/" not in name:
        name = f"library/{name}"
    if match["digest"]:
        return f"{registry}/{name}@{match['digest']}"
    return f"{registry}/{name}:{match['tag'] or 'latest'}"


def _split_registry(reference: str) -> tuple[str, str]:
    first, slash, rest = reference.partition("/")
    looks_like_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if slash and looks_like_host:
        return first, rest
    return DEFAULT_REGISTRY, reference
