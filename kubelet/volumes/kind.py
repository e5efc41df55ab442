"""What every kind of volume is asked for, and what it may use to answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from apimachinery.meta import Object, get_path, namespace
from kubelet.objects import Objects
from kubelet.tokens import Tokens


class Claims(Protocol):
    """Where the claims of pods are followed to their volumes: persistent.py."""

    async def set_up(self, request: Request, claim_name: str, *, own: bool) -> Path:
        """Set up the volume of a claim; `own` says that the pod brought the claim along."""


@dataclass(frozen=True, slots=True)
class Request:
    """One volume of a pod: `source` is what its kind says of it, `directory` where it is to be made.

    `allocatable` is what the node can give: the limit of those containers that have none. `again_after` has the
    volume set up once more after some seconds, as long as its pod is there. `persistent` is where claims are read.
    """

    pod: Object
    source: Mapping[str, Any]
    directory: Path
    objects: Objects
    tokens: Tokens
    allocatable: Mapping[str, str]
    again_after: Callable[[float], None]
    persistent: Claims | None = None

    @property
    def namespace(self) -> str:
        """The pod's namespace."""
        return namespace(self.pod)

    @property
    def fs_group(self) -> int | None:
        """The group that is to own the volume, if the pod says one."""
        group: int | None = get_path(self.pod, "spec", "securityContext", "fsGroup")
        return group

    @property
    def fs_group_policy(self) -> str:
        """When the files of a volume that outlives its pod are given to that group: Always, or OnRootMismatch."""
        return get_path(self.pod, "spec", "securityContext", "fsGroupChangePolicy") or "Always"


@dataclass(frozen=True, slots=True)
class VolumeKind:
    """A kind of volume: `set_up` makes it and returns what containers are to be given; repeating it is harmless.

    `shows_objects`: its files follow objects of the API, so `set_up` is repeated when those change, and
    containers can't write to it. Nor can they where it is `read_only`. Raises VolumeError, OSError, ApiError.
    """

    set_up: Callable[[Request], Awaitable[Path]]
    shows_objects: bool = False
    read_only: bool = False
