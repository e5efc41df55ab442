"""Holds all pods together to what the node can give them, and others to what is reserved for them.

Without this, pods that ask for nothing could take what the system needs. What is reserved is only held on to where
the operator names the groups that it is for.

Source: https://kubernetes.io/docs/tasks/administer-cluster/reserve-compute-resources/
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from apiclient.clock import Clock
from apiclient.logs import kv
from apimachinery.meta import Object
from kubelet.containers import resources
from kubelet.node import machine
from kubelet.node.node_settings import NodeSettings
from kubelet.runtime import Runtime, RuntimeFailure

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60.0

Tell = Callable[[str, str, str], None]


@dataclass(frozen=True, slots=True)
class GroupLimits:
    """OCI `linux.resources` of a cgroup: one of the machine's, or that of all pods where `path` is empty."""

    path: str
    resources: dict[str, Any]


class AllocatableEnforcer:
    """Sets the limits once the node is known; `tell` records an event about it."""

    def __init__(
        self,
        runtime: Runtime,
        settings: NodeSettings,
        node: Callable[[], Awaitable[Object]],
        clock: Clock,
        *,
        tell: Tell,
    ) -> None:
        self._runtime = runtime
        self._settings = settings
        self._node = node
        self._clock = clock
        self._tell = tell

    async def run(self) -> None:
        """Set the limits, however often that has to be tried."""
        capacity = (await self._node())["status"]["capacity"]
        left = limits(self._settings, capacity, pids_max=machine.pids_max())
        while left:
            left = [group for group in left if not await self._set(group)]
            if left:
                await self._clock.sleep(RETRY_SECONDS)

    async def _set(self, group: GroupLimits) -> bool:
        whom = "system reserved" if group.path else "pods"
        try:
            if group.path:
                await self._runtime.limit_machine_group(group.path, group.resources)
            else:
                await self._runtime.set_group_resources("", group.resources)
        except RuntimeFailure as failure:
            logger.warning(kv("node allocatable not enforced", cgroup=group.path or "pods", error=failure.message))
            reason = "FailedNodeAllocatableEnforcement"
            self._tell("Warning", reason, f"Failed to update Node Allocatable Limits {group.path}: {failure.message}")
            return False
        self._tell("Normal", "NodeAllocatableEnforced", f"Updated Node Allocatable limit across {whom}")
        return True


def limits(settings: NodeSettings, capacity: Mapping[str, str], *, pids_max: int) -> Sequence[GroupLimits]:
    """What to hold whom to; `capacity` is the Node's, `pids_max` the processes that the machine can have.

    Thresholds of eviction are no limits: there is nothing to be evicted if nothing can come so far.
    """
    found = []
    if "pods" in settings.enforced:
        whole = resources.amounts(capacity) | {"pid": pids_max}
        kept = resources.add(
            *(resources.amounts(reserved) for reserved in (settings.reserved, settings.system_reserved))
        )
        found.append(GroupLimits("", _linux({name: whole[name] - kept.get(name, 0) for name in whole})))
    groups = (
        ("kube-reserved", settings.kube_reserved_group, settings.reserved),
        ("system-reserved", settings.system_reserved_group, settings.system_reserved),
    )
    for name, path, reserved in groups:
        amounts = resources.amounts(reserved)
        if name in settings.enforced:
            found.append(GroupLimits(path, _linux(amounts)))
        elif f"{name}-compressible" in settings.enforced:
            found.append(GroupLimits(path, _linux({"cpu": amounts["cpu"]} if "cpu" in amounts else {})))
    return found


def _linux(amounts: Mapping[str, int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "cpu" in amounts:
        found["cpu"] = {"shares": resources.shares(amounts["cpu"])}
    if "memory" in amounts:
        found["memory"] = {"limit": amounts["memory"]}
    if "pid" in amounts:
        found["pids"] = {"limit": amounts["pid"]}
    return found
