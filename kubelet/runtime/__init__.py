"""Wherry's container runtime: namespaces, cgroups and overlayfs, driven from pure Python.

The names below are looked up when first used: the runtime's small processes live in this package too, and must
not load asyncio, dataclasses and typing with it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from kubelet.runtime.api import (
        ContainerSpec,
        ContainerState,
        ExecIO,
        RuntimeFailure,
        SandboxSpec,
        SandboxState,
    )
    from kubelet.runtime.client import ExecHandle, Runtime

__all__ = [
    "ContainerSpec",
    "ContainerState",
    "ExecHandle",
    "ExecIO",
    "Runtime",
    "RuntimeFailure",
    "SandboxSpec",
    "SandboxState",
]


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if name in ("ExecHandle", "Runtime"):
            from kubelet.runtime import client as module
        else:
            from kubelet.runtime import api as module
        return getattr(module, name)
