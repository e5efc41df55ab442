"""Cgroups without a kernel, under the rule of v1 that no container may have more than its pod."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kubelet.runtime import RuntimeFailure
from kubelet.runtime.cgroups import Limits

Key = tuple[str, str]


class FakeGroups:
    """What groups are held to, by (uid of the pod, id of the container or "" for the pod); `written` is in order."""

    def __init__(self) -> None:
        self.limits: dict[Key, Limits] = {}
        self.written: list[tuple[str, dict[str, Any]]] = []
        self.failure = ""

    def make(self, key: Key, resources: dict[str, Any]) -> None:
        """A new group."""
        self.limits[key] = Limits(shares=1024)
        self._set(key, resources)

    def change(self, key: Key, resources: dict[str, Any]) -> None:
        """A group's limits are changed."""
        if self.failure:
            raise RuntimeFailure("UpdateContainerError", self.failure)
        self.written.append((key[1], resources))
        self._set(key, resources)

    def use(self, key: Key, memory_bytes: int) -> None:
        """A group's processes use that much memory."""
        self.limits[key] = replace(self.limits[key], memory_used=memory_bytes)

    def _set(self, key: Key, resources: dict[str, Any]) -> None:
        found = self.limits[key]
        cpu, memory = resources.get("cpu") or {}, resources.get("memory") or {}
        found = replace(
            found,
            shares=cpu.get("shares", found.shares),
            quota=cpu.get("quota", found.quota),
            memory=memory.get("limit", found.memory),
        )
        self.limits[key] = found
        pod = self.limits.get((key[0], ""), Limits())
        for other, limits in self.limits.items():
            if other[0] == key[0] and other[1] and pod.quota >= 0 and not 0 <= limits.quota <= pod.quota:
                raise RuntimeFailure("UpdateContainerError", "write cpu.cfs_quota_us: Invalid argument")
