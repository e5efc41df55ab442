"""What the node has free: a dozen small files. What each pod uses: many more, looked at only when it matters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from apimachinery import quantity
from apimachinery.meta import Object, uid
from kubelet.eviction.ranking import Figures
from kubelet.eviction.thresholds import (
    ALLOCATABLE_MEMORY,
    MEMORY_AVAILABLE,
    PIDS_AVAILABLE,
    Observation,
    Observations,
)
from kubelet.node import machine
from kubelet.node.machine import Disk, Machine
from kubelet.node.node_settings import NodeSettings
from kubelet.runtime import Runtime, SandboxState
from kubelet.server.stats.disk_usage import PodDisks, Taken, pod_disks
from kubelet.server.stats.groups import Groups
from kubelet.server.stats.usage import Target, targets


class NodeFigures:
    """Reads them for one node: `root` holds what its pods write, `images` the images, `cgroup_root` the pods."""

    def __init__(
        self,
        settings: NodeSettings,
        this_machine: Machine,
        groups: Groups,
        runtime: Runtime,
        *,
        root: Path,
        images: Path,
        cgroup_root: str,
    ) -> None:
        self._machine = this_machine
        self._groups = groups
        self._runtime = runtime
        self._root, self._images = root, images
        self._cgroup_root = cgroup_root.strip("/")
        # Who is not held to what pods may have together is not short of it either.
        self._memory_for_pods = _memory_for_pods(settings, this_machine) if "pods" in settings.enforced else 0

    def free(self) -> Observations:
        """What is free now, by signal. Raises OSError."""
        found = machine.usage(self._root, self._images)
        free = {
            MEMORY_AVAILABLE: Observation(found.memory_available_bytes, self._machine.memory_bytes),
            PIDS_AVAILABLE: Observation(found.pids_available, found.pids_max),
            **_disk("nodefs", found.node_disk),
            **_disk("containerfs", found.node_disk),
            **_disk("imagefs", found.image_disk),
        }
        pods = self._groups.usage(self._cgroup_root) if self._memory_for_pods else None
        if pods is not None:
            left = max(0, self._memory_for_pods - pods.working_set_bytes)
            free[ALLOCATABLE_MEMORY] = Observation(left, self._memory_for_pods)
        return free

    def shares_a_disk(self) -> bool:
        """Whether images are on the file system that pods write to."""
        return os.stat(self._root).st_dev == os.stat(self._images).st_dev

    async def of_pods(self, pods: Sequence[Object], *, disks: bool) -> Mapping[str, Figures]:
        """What each of these pods uses, by UID; with `disks` what it has on the node's disk, else memory and tasks.

        A pod that has no sandbox yet uses nothing.
        """
        sandboxes = {sandbox.pod_uid: sandbox for sandbox in await self._runtime.sandboxes()}
        there = [pod for pod in pods if uid(pod) in sandboxes]
        look = self._disks if disks else self._groups_of
        # Hundreds of small files, or all that a pod has written: the rest of the agent goes on meanwhile.
        return {uid(pod): Figures() for pod in pods} | await asyncio.to_thread(look, there, sandboxes)

    def _groups_of(self, pods: Iterable[Object], sandboxes: Mapping[str, SandboxState]) -> dict[str, Figures]:
        wanted = targets([sandboxes[uid(pod)] for pod in pods], self._cgroup_root)
        return {target.uid: found for target in wanted if (found := self._group(target)) is not None}

    def _group(self, target: Target) -> Figures | None:
        whole = self._groups.usage(target.group)
        if whole is None:
            return None
        containers = {
            name: used.working_set_bytes
            for _, name, _, group in target.containers
            if (used := self._groups.usage(group)) is not None
        }
        tasks = self._groups.tasks(target.group) or 0
        return Figures(memory_bytes=whole.working_set_bytes, tasks=tasks, container_memory=containers)

    def _disks(self, pods: Iterable[Object], sandboxes: Mapping[str, SandboxState]) -> dict[str, Figures]:
        return {uid(pod): storage_figures(pod_disks(self._root, pod), _names(sandboxes[uid(pod)])) for pod in pods}


def storage_figures(disks: PodDisks, names: Mapping[str, str]) -> Figures:
    """What a pod has on the node's disk; `names` are those of its containers by id. Pure."""
    containers = {name: taken.bytes for name, taken in disks.logs.items()}
    for container_id, taken in disks.layers.items():
        name = names.get(container_id, container_id)
        containers[name] = containers.get(name, 0) + taken.bytes
    whole: Taken = disks.ephemeral
    return Figures(
        storage_bytes=whole.bytes,
        inodes=whole.inodes,
        container_storage=containers,
        volumes={name: taken.bytes for name, taken in disks.volumes.items()},
    )


def _names(sandbox: SandboxState) -> dict[str, str]:
    return {state.id: state.name for state in sandbox.containers}


def _disk(name: str, disk: Disk) -> dict[str, Observation]:
    return {
        f"{name}.available": Observation(disk.bytes_available, disk.bytes),
        f"{name}.inodesFree": Observation(disk.inodes_free, disk.inodes),
    }


def _memory_for_pods(settings: NodeSettings, this_machine: Machine) -> int:
    """What pods may have together: what the node has, less what is reserved."""
    whole = quantity.value(settings.capacity.get("memory", this_machine.memory_bytes))
    reserved = [known.get("memory", 0) for known in (settings.reserved, settings.system_reserved)]
    return int(whole) - sum(quantity.value(amount) for amount in reserved)
