"""The kubelet's side of the runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubelet.runtime.api import ContainerSpec, ContainerState, ExecIO, SandboxSpec, SandboxState


class ExecHandle:
    """A process that runs in a container beside its first one."""

    pid: int

    def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size in columns and rows; nothing happens without a tty."""
        raise NotImplementedError

    async def wait(self) -> int:
        """Return the exit code (128 + signal when a signal ended it)."""
        raise NotImplementedError

    def kill(self, signo: int = 9) -> None:
        """Send a signal to the exec'd process."""
        raise NotImplementedError


class Runtime:
    """Runs pods on this machine; see api.py for the data and its docstrings for the meaning."""

    on_change: Callable[[str], None]

    def __init__(self, root_dir: Path, cgroup_root: str) -> None:
        raise NotImplementedError

    async def start(self) -> None:
        """Spawn the zygote and connect again to every supervisor that lives on."""
        raise NotImplementedError

    async def close(self) -> None:
        """Let go of everything; supervisors and containers run on."""
        raise NotImplementedError

    async def sandboxes(self) -> list[SandboxState]:
        """Everything on disk, alive or dead (for adoption after a restart)."""
        raise NotImplementedError

    def sandbox(self, pod_uid: str) -> SandboxState | None:
        """The state of one pod as last reported: no I/O, good inside on_change."""
        raise NotImplementedError

    async def create_sandbox(self, spec: SandboxSpec) -> SandboxState:
        raise NotImplementedError

    async def start_container(self, pod_uid: str, spec: ContainerSpec) -> ContainerState:
        """Return once execve has succeeded; raise RuntimeFailure otherwise."""
        raise NotImplementedError

    async def signal_container(
        self, pod_uid: str, container_id: str, signo: int, all_processes: bool = False
    ) -> None:
        raise NotImplementedError

    async def remove_container(self, pod_uid: str, container_id: str) -> None:
        raise NotImplementedError

    async def remove_sandbox(self, pod_uid: str) -> None:
        """Kill everything, remove cgroups and directories; good to call again at any time."""
        raise NotImplementedError

    async def update_container_resources(self, pod_uid: str, container_id: str, resources: dict[str, Any]) -> None:
        raise NotImplementedError

    async def reopen_log(self, pod_uid: str, container_id: str) -> None:
        """Open the log path anew, after somebody renamed the file."""
        raise NotImplementedError

    async def exec(
        self,
        pod_uid: str,
        container_id: str,
        argv: Sequence[str],
        *,
        io: ExecIO,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: Mapping[str, Any] | None = None,
        tty: bool = False,
    ) -> ExecHandle:
        """Run argv inside a running container; env is added to the container's own environment."""
        raise NotImplementedError

    async def attach(self, pod_uid: str, container_id: str, io: ExecIO) -> ExecHandle:
        """Feed and copy a running container's own standard streams."""
        raise NotImplementedError
