"""Wherry's container runtime: namespaces, cgroups and overlayfs, driven from pure Python."""

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
