"""Pods that every Pod Security Standard lets through, and what is made of them for tests."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object

HARMLESS = {
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
HARMLESS_CONTAINER = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def container(name: str = "c", context: Object | None = None, **fields: Any) -> Object:
    """A container that nobody has anything against."""
    return {"name": name, "image": "i", "securityContext": {**HARMLESS_CONTAINER, **(context or {})}, **fields}


def spec(context: Object | None = None, **fields: Any) -> Object:
    """A pod's spec that nobody has anything against."""
    return {"securityContext": {**HARMLESS, **(context or {})}, "containers": [container()], **fields}


def of_containers(*containers: Object, **fields: Any) -> Object:
    return spec(containers=list(containers), **fields)
