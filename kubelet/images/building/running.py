"""RUN: the steps of a build in this project's own runtime, as containers of one pod.

What a step wrote is the upper side of its overlay afterwards. The build's own runtime has its folder in the build's
folder; whoever finds that folder without an owner ends what still runs in it (layers.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kubelet.images import layers
from kubelet.images.building.errors import BuildError
from kubelet.runtime import ContainerSpec, Runtime, RuntimeFailure, SandboxSpec, oci

POD = "build"
_PIPE_READ_BYTES = 1 << 16
# Files of the node that a step which reaches the network needs, too.
_NODE_FILES = ("/etc/resolv.conf", "/etc/hosts")


@dataclass(frozen=True, slots=True)
class Command:
    """What a step runs, as whom and where, and the folders of its root, top first.

    `mounts` are those of the step beyond the usual ones, in the shape of OCI.
    """

    args: Sequence[str]
    env: Sequence[str]
    cwd: str
    user: Mapping[str, Any]
    lowers: Sequence[str]
    mounts: Sequence[Mapping[str, Any]] = ()
    reaches_network: bool = True


@dataclass(slots=True)
class Finished:
    """What came of a step: how it ended, and the folder with what it wrote."""

    exit_code: int
    upper: Path
    stubs: list[str] = field(default_factory=list)


class Runner:
    """Runs the steps of one build, one after the other. To be closed."""

    def __init__(self, folder: Path, said: Callable[[str], None]) -> None:
        self._folder = folder
        self._said = said
        self._loop = asyncio.Runner()
        self._runtime: Runtime | None = None
        self._count = 0

    def run(self, command: Command) -> Finished:
        """Run a step to its end. Raises BuildError; KeyboardInterrupt ends the step, too."""
        return self._loop.run(self._run(command))

    def close(self) -> None:
        """End everything."""
        with self._loop:
            if self._runtime is not None:
                self._loop.run(self._end(self._runtime))

    async def _run(self, command: Command) -> Finished:
        runtime = await self._started()
        self._count += 1
        name = f"step-{self._count}"
        pod = f"{POD}-{'net' if command.reaches_network else 'alone'}"
        ended = asyncio.Event()
        runtime.on_change = lambda _uid: ended.set()
        try:
            if runtime.sandbox(pod) is None:
                await runtime.create_sandbox(_sandbox(pod, command.reaches_network))
            with self._output(name) as log_path:
                spec = ContainerSpec(name, name, 0, _config(command), list(command.lowers), log_path=str(log_path))
                await runtime.start_container(pod, spec)
                exit_code = await _exit_code(runtime, pod, name, ended)
                # What is still in the pipe belongs to the step.
                await asyncio.sleep(0)
        except RuntimeFailure as error:
            raise BuildError(error.message) from error
        upper = self._folder / layers.RUNTIME / "pods" / pod / "containers" / name / "upper"
        return Finished(exit_code, upper, [str(mount["destination"]) for mount in spec.config["mounts"]])

    async def _started(self) -> Runtime:
        if self._runtime is None:
            self._runtime = Runtime(self._folder / layers.RUNTIME, layers.build_cgroup(self._folder))
            await self._runtime.start()
        return self._runtime

    async def _end(self, runtime: Runtime) -> None:
        for sandbox in await runtime.sandboxes():
            await runtime.remove_sandbox(sandbox.pod_uid)
        await runtime.close()

    @contextlib.contextmanager
    def _output(self, name: str) -> Any:
        """A pipe in a log file's place: what a step prints is shown as it comes."""
        path = self._folder / f"{name}.log"
        os.mkfifo(path, 0o600)
        # For reading and writing: the other side finds a reader, and we no end before all is over.
        descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        reader = _LogReader(descriptor, self._said)
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, reader.read)
        try:
            yield path
        finally:
            loop.remove_reader(descriptor)
            reader.read()
            reader.finish()
            os.close(descriptor)
            path.unlink()


class _LogReader:
    """Takes CRI log records apart: `TIME STREAM TAG TEXT`."""

    def __init__(self, descriptor: int, said: Callable[[str], None]) -> None:
        self._descriptor = descriptor
        self._said = said
        self._rest = b""
        self._partial = b""

    def read(self) -> None:
        """Show whatever is there."""
        while True:
            try:
                data = os.read(self._descriptor, _PIPE_READ_BYTES)
            except BlockingIOError:
                return
            *records, self._rest = (self._rest + data).split(b"\n")
            for record in records:
                _, _, tag, text = (*record.split(b" ", 3), b"")[:4]
                self._partial += text
                if tag == b"F":
                    self._show()

    def finish(self) -> None:
        """Show a line that has no end, if there is one."""
        if self._partial:
            self._show()

    def _show(self) -> None:
        text, self._partial = self._partial, b""
        self._said(text.decode(errors="replace"))


async def _exit_code(runtime: Runtime, pod: str, name: str, changed: asyncio.Event) -> int:
    """Wait for the end of a step, however long it takes: only whoever runs the build knows what is too long."""
    while True:
        changed.clear()
        sandbox = runtime.sandbox(pod)
        if sandbox is None or not sandbox.alive:
            raise BuildError("the process that keeps the step's container has died")
        state = sandbox.container(name)
        if state is not None and state.status == "exited":
            if state.oom_killed:
                raise BuildError("the step ran out of memory")
            return state.exit_code if state.exit_code is not None else 137
        await changed.wait()


def _sandbox(pod: str, reaches_network: bool) -> SandboxSpec:
    return SandboxSpec(pod, pod, POD, hostname="build", host_network=reaches_network, cgroup_parent=pod)


def _config(command: Command) -> dict[str, Any]:
    config = oci.default_spec()
    config["process"].update(args=list(command.args), env=list(command.env), cwd=command.cwd)
    config["process"]["user"] = dict(command.user)
    if command.reaches_network:
        for path in _NODE_FILES:
            if os.path.exists(path):  # noqa: PTH110
                source = os.path.realpath(path)
                config["mounts"].append(bind(source, path, "ro"))
    config["mounts"] += [dict(mount) for mount in command.mounts]
    return config


def bind(source: str, destination: str, *options: str) -> dict[str, Any]:
    """A bind mount in the shape of OCI."""
    return {"type": "bind", "source": source, "destination": destination, "options": ["rbind", "rprivate", *options]}
