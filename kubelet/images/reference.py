"""Image references: the short names that people write and the full names that they stand for.

    busybox                    docker.io/library/busybox:latest
    localhost/host             localhost/host:latest
    registry:5000/a/b@sha256:… registry:5000/a/b@sha256:…

Source: https://kubernetes.io/docs/concepts/containers/images/#image-names and the distribution project's
reference grammar.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
TAG = re.compile(r"[\w][\w.-]{0,127}", re.ASCII)
DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?\.?)+(?::[0-9]+)?|\[[a-fA-F0-9:]+\](?::[0-9]+)?", re.ASCII
)
_REFERENCE = re.compile(
    rf"(?P<name>{_PATH}(?:/{_PATH})*)(?::(?P<tag>{TAG.pattern}))?(?:@(?P<digest>{DIGEST.pattern}))?", re.ASCII
)
_NAME_LENGTH_MAX = 255


class InvalidReference(ValueError):
    """Not an image reference."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A full name: registry, repository, and a tag or (which counts for more) a digest."""

    registry: str
    repository: str
    tag: str
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository."""
        return f"{self.registry}/{self.repository}"

    @property
    def version(self) -> str:
        """What a registry is asked for: the digest, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}" if self.digest else f"{self.name}:{self.tag}"


def parse(reference: str) -> Reference:
    """What a short or full name stands for. Raises InvalidReference."""
    registry, rest = _split_registry(reference)
    match = _REFERENCE.fullmatch(rest)
    if match is None or len(reference) > _NAME_LENGTH_MAX or not _DOMAIN.fullmatch(registry):
        raise InvalidReference(f"couldn't parse image name {reference!r}: invalid reference format")
    name = match["name"]
    if registry == DEFAULT_REGISTRY and "/" not in name:
        name = f"library/{name}"
    return Reference(registry, name, match["tag"] or DEFAULT_TAG, match["digest"] or "")


def normalize(reference: str) -> str:
    """The full name of an image: registry, repository, and tag or digest. Raises InvalidReference."""
    return str(parse(reference))


def repository_of(full_name: str) -> str:
    """A full name without its tag or digest."""
    before_digest = full_name.partition("@")[0]
    head, slash, last = before_digest.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _split_registry(reference: str) -> tuple[str, str]:
    first, slash, rest = reference.partition("/")
    looks_like_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if slash and looks_like_host:
        # Both names of the same registry; the shorter one is what all tools show.
        return (DEFAULT_REGISTRY if first == "index.docker.io" else first), rest
    return DEFAULT_REGISTRY, reference
