"""A runtime for tests of a node agent's server: processes of this machine in place of containers."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from typing import Any

from apimachinery.meta import Object
from kubelet.runtime import ContainerState, ExecIO, RuntimeFailure, SandboxSpec, SandboxState

POD: Object = {
    "metadata": {"name": "web", "namespace": "default", "uid": "u-1"},
    "spec": {"containers": [{"name": "main"}, {"name": "idle"}]},
    "status": {"containerStatuses": [{"name": "idle", "state": {"waiting": {"reason": "ContainerCreating"}}}]},
}


class Process:
    """A process of this machine as if it ran in a container."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.pid = process.pid
        self._process = process
        self.sizes: list[tuple[int, int]] = []
        self.killed = asyncio.Event()

    async def wait(self) -> int:
        code = await asyncio.to_thread(self._process.wait)
        return code if code >= 0 else 128 - code

    def kill(self, signo: int = 9) -> None:
        self._process.send_signal(signo)
        self.killed.set()

    def resize(self, width: int, height: int) -> None:
        self.sizes.append((width, height))


class Machine:
    """A runtime with one pod, whose container `main` runs."""

    def __init__(self) -> None:
        spec = SandboxSpec("u-1", "web", "default", "web")
        self.container = ContainerState("c-1", "main", 0, "running")
        self.state = SandboxState("u-1", 1, "", True, spec, [self.container])
        self.started: list[Process] = []
        self.asked: list[dict[str, Any]] = []

    def sandbox(self, pod_uid: str) -> SandboxState | None:
        return self.state if pod_uid == "u-1" else None

    async def sandboxes(self) -> list[SandboxState]:
        return [self.state]

    async def exec(self, pod_uid: str, container_id: str, argv: Sequence[str], *, io: ExecIO, **more: Any) -> Process:
        assert (pod_uid, container_id) == ("u-1", "c-1")
        self.asked.append(more)
        stdio = [subprocess.DEVNULL if fd is None else fd for fd in (io.stdin_fd, io.stdout_fd, io.stderr_fd)]
        try:
            process = subprocess.Popen(argv, stdin=stdio[0], stdout=stdio[1], stderr=stdio[2])  # noqa: ASYNC220
        except FileNotFoundError as error:
            raise RuntimeFailure("ExecError", f'exec: "{argv[0]}": executable file not found in $PATH') from error
        self.started.append(Process(process))
        return self.started[-1]

    async def attach(self, pod_uid: str, container_id: str, io: ExecIO) -> Process:
        return await self.exec(pod_uid, container_id, ["sh", "-c", "echo hello; exit 3"], io=io)


class Listed:
    """The pods of this node."""

    def get(self, key: str) -> Object | None:
        return POD if key == "default/web" else None

    def list(self) -> list[Object]:
        return [POD]
