"""A node's runtime for tests: pods of `localhost/host`, their output, and a look at what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kubelet import cleanup
from kubelet.images import host_image
from kubelet.runtime import ContainerSpec, ContainerState, ExecIO, Runtime, SandboxSpec, SandboxState, cgroups, oci

SECONDS_MAX = 60.0


class Node:
    """One runtime, with a host image, and the short way to a container in it."""

    def __init__(
        self, folder: Path, cgroup_root: str | None = None, handlers: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self.folder = folder
        self.handlers = dict(handlers or {})
        self.root = folder / "node"
        self.image = folder / "image"
        self.cgroup_root = cgroup_root or f"wherry/t{secrets.token_hex(4)}/node-1"
        self.runtime = Runtime(self.root, self.cgroup_root, self.handlers)
        self.changes: list[str] = []
        self._changed = asyncio.Event()
        self._numbers = itertools.count(1)
        if not self.image.exists():
            self.image.mkdir(parents=True)
            host_image.build(self.image)

    async def start(self) -> None:
        """Start the runtime."""
        self.runtime.on_change = self._note
        await self.runtime.start()

    async def restart(self) -> None:
        """Let go of everything and start over, as a new kubelet does."""
        await self.runtime.close()
        self.runtime = Runtime(self.root, self.cgroup_root, self.handlers)
        await self.start()

    async def stop(self) -> None:
        """Remove every pod, and what the node itself has made."""
        for sandbox in await self.runtime.sandboxes():
            await self.runtime.remove_sandbox(sandbox.pod_uid)
        await self.runtime.close()
        self.clean_up()

    def clean_up(self) -> None:
        """Do what `python -m kubelet.cleanup` does with no kubelet running."""
        cleanup.clean_up(self.root, self.cgroup_root)

    async def pod(self, **fields: Any) -> SandboxState:
        """A sandbox with nothing in it."""
        uid = fields.pop("pod_uid", f"uid-{next(self._numbers)}")
        wanted = {"pod_name": f"pod-{uid}", "pod_namespace": "default", "hostname": f"host-{uid}", **fields}
        wanted.setdefault("cgroup_parent", f"burstable/pod{uid}")
        return await self.runtime.create_sandbox(SandboxSpec(pod_uid=uid, **wanted))

    def spec(self, *argv: str, **changes: Any) -> ContainerSpec:
        """A container of the host image; one word is a shell script.

        `process`, `linux` and `root` are merged into the config, `mounts` and `env` added to it.
        """
        config = oci.default_spec()
        config["process"]["args"] = ["/bin/sh", "-c", argv[0]] if len(argv) == 1 else list(argv)
        config["process"]["env"] = [f"PATH={host_image.PATH}", *changes.pop("env", [])]
        for source, destination in host_image.binds(self.image):
            config["mounts"].append(bind(source, destination, "ro"))
        config["mounts"] += changes.pop("mounts", [])
        if "capabilities" in changes:
            oci.set_capabilities(config, changes.pop("capabilities"))
            oci.set_runtime_default_seccomp(config)
        if changes.pop("privileged", False):
            oci.set_privileged(config)
        for key in ("process", "linux", "root"):
            config[key].update(changes.pop(key, {}))
        number = next(self._numbers)
        fields = {"id": f"c{number}", "name": "main", "attempt": 0, "lower_dirs": [str(self.image)], **changes}
        fields.setdefault("log_path", str(self.log_path(fields["id"])))
        return ContainerSpec(config=config, **fields)

    async def run(self, *argv: str, pod: SandboxState | None = None, **changes: Any) -> ContainerState:
        """Start a container, in a pod of its own unless one is given; remembers its pod under its id."""
        sandbox = pod or await self.pod()
        return await self.runtime.start_container(sandbox.pod_uid, self.spec(*argv, **changes))

    async def ended(self, container_id: str) -> ContainerState:
        """Wait until a container has ended."""
        async with asyncio.timeout(SECONDS_MAX):
            while True:
                self._changed.clear()
                state = self.find(container_id)
                if state.status == "exited":
                    return state
                await self._changed.wait()

    async def output(self, *argv: str, **changes: Any) -> str:
        """What a container prints, to its end."""
        started = await self.run(*argv, **changes)
        await self.ended(started.id)
        return self.log(started.id)

    async def printed(self, container_id: str, text: str) -> None:
        """Wait until a container has printed text."""
        await until(lambda: text in self.log(container_id), f"{container_id} to print {text!r}")

    def find(self, container_id: str) -> ContainerState:
        """The present state of a container."""
        state = self.pod_of(container_id).container(container_id)
        assert state is not None
        return state

    def pod_of(self, container_id: str) -> SandboxState:
        """The pod that a container is in."""
        for pod in self.runtime._pods.values():
            if pod.state.container(container_id) is not None:
                return pod.state
        raise AssertionError(f"no container {container_id}")

    def log_path(self, container_id: str) -> Path:
        """Where a container's log is."""
        return self.folder / "logs" / f"{container_id}.log"

    def log(self, container_id: str, stream: str | None = None) -> str:
        """What a container has printed, less the times and tags."""
        path = self.log_path(container_id)
        text = ""
        for line in path.read_text().splitlines() if path.exists() else []:
            _, name, tag, content = line.split(" ", 3)
            if stream in (None, name):
                text += content + ("\n" if tag == "F" else "")
        return text

    async def exec(self, container_id: str, *argv: str, stdin: bytes = b"", **options: Any) -> tuple[int, str, str]:
        """Run a command in a container: exit code, standard output and error."""
        feed, take_out, take_err = os.pipe(), os.pipe(), os.pipe()
        io = ExecIO(feed[0], take_out[1], take_err[1])
        uid = self.pod_of(container_id).pod_uid
        command = ["/bin/sh", "-c", argv[0]] if len(argv) == 1 else list(argv)
        try:
            handle = await self.runtime.exec(uid, container_id, command, io=io, **options)
        except BaseException:
            for fd in (feed[1], take_out[0], take_err[0]):
                os.close(fd)
            raise
        finally:
            for fd in (feed[0], take_out[1], take_err[1]):
                os.close(fd)
        os.write(feed[1], stdin)
        os.close(feed[1])
        out, err = await asyncio.gather(read_all(take_out[0]), read_all(take_err[0]))
        async with asyncio.timeout(SECONDS_MAX):
            return await handle.wait(), out.decode(), err.decode()

    def _note(self, pod_uid: str) -> None:
        self.changes.append(pod_uid)
        self._changed.set()

    def left_behind(self) -> list[str]:
        """Mounts, cgroups, folders and processes of pods of this node."""
        return [*self.mounts(), *self.cgroups(), *self.folders(), *self.processes()]

    def mounts(self) -> list[str]:
        """Mounts of this node that the host's mount table shows."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [line.split()[4] for line in lines if line.split()[4].startswith(str(self.root))]

    def cgroups(self) -> list[str]:
        """Cgroups of pods, in all hierarchies."""
        roots = cgroups.present().directories(self.cgroup_root)
        found = [folder for root in roots for folder, _, _ in os.walk(root)]
        return [path for path in found if "/pod" in path]

    def folders(self) -> list[str]:
        """Folders of pods."""
        pods = self.root / "pods"
        return [str(path) for path in pods.iterdir()] if pods.exists() else []

    def processes(self) -> list[str]:
        """Supervisors and containers, by command; the dead that their parent has yet to reap don't count."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    dead = (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
                    if not dead and f"/{self.cgroup_root}/" in (entry / "cgroup").read_text():
                        found.append(f"{entry.name} {(entry / 'comm').read_text().strip()}")
        return [process for process in found if not process.endswith(("kubelet-zygote", "kubelet-spare"))]


def bind(source: str | Path, destination: str, *options: str) -> dict[str, Any]:
    """A bind mount for a config."""
    entry: Mapping[str, Any] = {"destination": destination, "type": "bind", "source": str(source)}
    return {**entry, "options": ["rbind", *options]}


async def until(condition: Any, what: str) -> None:
    """Wait for something that tells nobody when it comes true, such as a file's content."""
    for _ in range(int(SECONDS_MAX / 0.01)):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


async def read_all(fd: int) -> bytes:
    """Read a descriptor to its end, and close it."""

    def read() -> bytes:
        with open(fd, "rb") as file:
            return file.read()

    async with asyncio.timeout(SECONDS_MAX):
        return await asyncio.to_thread(read)


@contextlib.asynccontextmanager
async def started_node(folder: Path, handlers: Mapping[str, Sequence[str]] | None = None) -> AsyncIterator[Node]:
    """A node that leaves nothing behind, whatever the test did."""
    node = Node(folder, handlers=handlers)
    await node.start()
    try:
        yield node
    finally:
        await node.stop()
        left = node.left_behind()
        assert not left, left
