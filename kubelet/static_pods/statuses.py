"""Statuses of static pods are written into their mirrors, and wait for nobody: there may be no API server at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from apimachinery.meta import Object, uid
from kubelet.pods.status_writer import Status, StatusWriter
from kubelet.static_pods.identity import is_static


class NodeStatusWriter(StatusWriter):
    """Writes the statuses of all pods of a node; `mirror` gives the mirror of a static pod by the UID of that."""

    def __init__(self, *arguments: Any, mirror: Callable[[str], Object | None]) -> None:
        super().__init__(*arguments)
        self._mirror = mirror
        self._told: dict[str, Status] = {}

    def set(self, pod: Object, status: Status) -> None:
        """Have this be the pod's status; that of a static pod without a mirror is kept until it has one."""
        if is_static(pod):
            self._told[uid(pod)] = status
            mirror = self._mirror(uid(pod))
            if mirror is None:
                return
            pod = mirror
        super().set(pod, status)

    def last(self, uid: str) -> Status | None:
        """The status that was last asked to be written."""
        return self._told.get(uid) or super().last(uid)

    async def settled(self, uid: str) -> None:
        """Wait until the status is in the API, unless it is that of a static pod."""
        if uid not in self._told:
            await super().settled(uid)

    def forget(self, uid: str) -> None:
        """The pod is gone."""
        self._told.pop(uid, None)
        super().forget(uid)

    def shown_by(self, pod: Object, mirror: Object) -> None:
        """A static pod has a mirror: it shows what was told of the pod before."""
        status = self._told.get(uid(pod))
        if status is not None:
            super().set(mirror, status)

    def forget_mirror(self, mirror: Object) -> None:
        """A mirror is gone: nothing is to be written into it any more."""
        super().forget(uid(mirror))
