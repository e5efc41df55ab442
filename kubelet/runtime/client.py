"""The kubelet's side of the runtime."""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from apiclient.logs import kv
from kubelet.instruments import runtime_operation
from kubelet.runtime import capabilities, cgroupfs, cgroups, credentials, disk, id_ranges, plan, seccomp
from kubelet.runtime.api import ContainerSpec, ContainerState, ExecIO, RuntimeFailure, SandboxSpec, SandboxState
from kubelet.runtime.cgroups import Limits
from kubelet.runtime.forker import Forker
from kubelet.runtime.handlers import bundle
from kubelet.runtime.link import Disconnected, connect
from kubelet.runtime.pod import UNANSWERED, Pod

logger = logging.getLogger(__name__)

SANDBOX_SECONDS_MAX = 30.0
CONTAINER_END_SECONDS_MAX = 10.0
# More than this keeps a few processors no busier, and would overflow the queue of the one process that forks.
SANDBOXES_AT_ONCE_MAX = 32


class ExecHandle:
    """A process that runs in a container beside its first one."""

    def __init__(self, pod: Pod, session: int, pid: int) -> None:
        self.pid = pid
        self._pod = pod
        self._session = session

    def resize(self, width: int, height: int) -> None:
        """Tell the terminal its size in columns and rows; nothing happens without a tty."""
        self._pod.post("resize", session=self._session, width=width, height=height)

    async def wait(self) -> int:
        """Return the exit code (128 + signal when a signal ended it)."""
        return await self._pod.session_end(self._session)

    def kill(self, signo: int = 9) -> None:
        """Send a signal to the exec'd process; an attached viewer is let go, and the container runs on."""
        self._pod.post("signal_session", session=self._session, signo=signo)


class Runtime:
    """Runs pods on this machine; see api.py for the data and its docstrings for the meaning.

    `root_dir` holds what is to be known after a restart; `cgroup_root` ("wherry/ab12cd/node-1") is the group,
    in every hierarchy, below which everything runs. Both belong to one kubelet alone.
    `handlers` are the command lines of other runtimes that pods may name.
    """

    on_change: Callable[[str], None]

    def __init__(self, root_dir: Path, cgroup_root: str, handlers: Mapping[str, Sequence[str]] | None = None) -> None:
        self.on_change = _ignore
        self._root = root_dir
        self._cgroup_root = cgroup_root.strip("/")
        self.handlers = {name: tuple(command) for name, command in (handlers or {}).items()}
        self._pods: dict[str, Pod] = {}
        self._programs = seccomp.Programs(root_dir / "runtime" / "seccomp")
        self._lock_fd = -1
        self._random = random.Random()
        self._forker: Forker | None = None
        self._sandboxes_at_once = asyncio.Semaphore(SANDBOXES_AT_ONCE_MAX)
        self._hierarchies = cgroups.Hierarchies(version=0)

    async def start(self) -> None:
        """Spawn the zygote and connect again to every supervisor that lives on.

        TimeoutError when another kubelet uses the same root_dir; OSError when there are no cgroups.
        """
        self._hierarchies = cgroups.present()
        if self._hierarchies.version == 2:
            cgroupfs.vacate(self._hierarchies.unified)
        disk.make_folders(self._root)
        self._lock_fd = await asyncio.to_thread(disk.lock, self._root)
        group = cgroups.group(self._hierarchies, f"{self._cgroup_root}/supervisors", {}, is_container=True)
        self._forker = Forker(self._lock_fd, self._root / "runtime" / "supervisors.log", group)
        self._forker.start()
        async with asyncio.TaskGroup() as tasks:
            for folder in disk.sandbox_folders(self._root):
                tasks.create_task(self._adopt(folder))
        # The filter that nearly every container loads is compiled before the first one waits for it.
        self._programs.path(seccomp.default_profile(tuple(sorted(capabilities.DEFAULT))))

    async def close(self) -> None:
        """Let go of everything; supervisors and containers run on."""
        for pod in self._pods.values():
            pod.close()
        self._pods.clear()
        if self._forker is not None:
            await asyncio.to_thread(self._forker.close)
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1

    async def sandboxes(self) -> list[SandboxState]:
        """Everything on disk, alive or dead (for adoption after a restart)."""
        return [pod.state for pod in self._pods.values()]

    def sandbox(self, pod_uid: str) -> SandboxState | None:
        """The state of one pod as last reported: no I/O, good inside on_change."""
        pod = self._pods.get(pod_uid)
        return pod.state if pod is not None else None

    async def create_sandbox(self, spec: SandboxSpec) -> SandboxState:
        """Make a pod's namespaces and cgroup. RuntimeFailure says why that was not possible; then nothing is left."""
        if not plan.ID_PATTERN.fullmatch(spec.pod_uid):
            raise RuntimeFailure("CreatePodSandboxError", f"invalid pod uid {spec.pod_uid!r}")
        self._handler(spec)
        async with self._sandboxes_at_once:
            with runtime_operation("run_podsandbox"):
                return await self._make_sandbox(spec)

    async def _make_sandbox(self, spec: SandboxSpec) -> SandboxState:
        if spec.pod_uid in self._pods:
            raise RuntimeFailure("CreatePodSandboxError", f"pod {spec.pod_uid} has a sandbox already")
        assert self._forker is not None, "start() comes first"
        spec = self._with_ids(spec)
        folder = self._root / "pods" / spec.pod_uid
        path = plan.group_path(self._cgroup_root, spec)
        pause = cgroups.group(self._hierarchies, f"{path}/pause", {}, is_container=True)
        try:
            group = cgroups.group(self._hierarchies, path, spec.cgroup_resources, is_container=False)
            sandbox_plan = plan.sandbox(spec, group, pause)
            (folder / "containers").mkdir(mode=0o700, parents=True)
            connection = self._forker.fork_supervisor(sandbox_plan, folder)
        except OSError as error:
            await _in_thread(disk.remove_tree, folder)
            raise RuntimeFailure("CreatePodSandboxError", str(error)) from error
        pod = Pod(spec, folder, group["directories"], self._changed)
        self._pods[spec.pod_uid] = pod
        try:
            async with asyncio.timeout(SANDBOX_SECONDS_MAX):
                await pod.connect(connection)
        except (RuntimeFailure, Disconnected, TimeoutError) as error:
            await self.remove_sandbox(spec.pod_uid)
            if isinstance(error, RuntimeFailure):
                raise
            text = "the pod's supervisor died" if isinstance(error, Disconnected) else "the pod's supervisor is stuck"
            raise RuntimeFailure("CreatePodSandboxError", f"{text} while it made the sandbox") from error
        return pod.state

    async def start_container(self, pod_uid: str, spec: ContainerSpec) -> ContainerState:
        """Return once execve has succeeded; raise RuntimeFailure otherwise."""
        pod = self._alive(pod_uid)
        if pod.state.container(spec.id) is not None or spec.id in pod.starting:
            raise RuntimeFailure("CreateContainerError", f"container {spec.id} exists already")
        pod.starting.add(spec.id)
        try:
            with runtime_operation("start_container"):
                return await self._start(pod, spec)
        finally:
            pod.starting.discard(spec.id)

    async def signal_container(
        self, pod_uid: str, container_id: str, signo: int, all_processes: bool = False
    ) -> None:
        """Send a signal to a container's first process, or to all of them; harmless once it has ended."""
        pod = self._alive(pod_uid)
        await pod.request("signal", container=container_id, signo=int(signo), all=all_processes)

    async def remove_container(self, pod_uid: str, container_id: str) -> None:
        """Kill a container if it still runs, and remove what it left; good to call again at any time."""
        pod = self._pod(pod_uid)
        state = pod.state.container(container_id)
        if state is None:
            return
        try:
            if state.status != "exited":
                await self._kill(pod, container_id)
            if pod.state.alive and pod.state.container(container_id) is not None:
                await pod.request("remove", container=container_id)
        except RuntimeFailure as failure:
            if failure.reason != "SandboxNotFound":
                raise
        path = plan.group_path(self._cgroup_root, pod.state.spec, container_id)
        await _in_thread(disk.remove_cgroups, self._hierarchies.directories(path, cgroups.CONTROLLERS))
        await _in_thread(disk.remove_tree, pod.folder / "containers" / container_id)
        pod.forget(container_id)

    async def remove_sandbox(self, pod_uid: str) -> None:
        """Kill everything, remove cgroups and directories; good to call again at any time."""
        pod = self._pods.get(pod_uid)
        if pod is None:
            return
        pod.removing = True
        path = plan.group_path(self._cgroup_root, pod.state.spec)
        directories = self._hierarchies.directories(path, cgroups.CONTROLLERS)
        with runtime_operation("remove_podsandbox"):
            await _in_thread(disk.remove_sandbox, pod.folder, directories)
        pod.close()
        self._pods.pop(pod_uid, None)

    async def update_container_resources(self, pod_uid: str, container_id: str, resources: dict[str, Any]) -> None:
        """Change the limits that `resources` (OCI `linux.resources`) names, in place."""
        state = self._pod(pod_uid).state.container(container_id)
        if state is None or state.status != "running":
            raise RuntimeFailure("ContainerNotFound", f"container {container_id} is not running")
        path = plan.group_path(self._cgroup_root, self._pod(pod_uid).state.spec, container_id)
        self._write_limits(path, resources)

    def limits(self, pod_uid: str, container_id: str = "") -> Limits:
        """What the kernel holds a running container to, or the pod as a whole."""
        path = plan.group_path(self._cgroup_root, self._pod(pod_uid).state.spec, container_id)
        return cgroups.read_limits(self._hierarchies, path, cgroupfs.read)

    async def update_pod_resources(self, pod_uid: str, resources: dict[str, Any]) -> None:
        """Change the limits of a pod as a whole, in place."""
        self._write_limits(plan.group_path(self._cgroup_root, self._alive(pod_uid).state.spec), resources)

    async def set_group_resources(self, path: str, resources: dict[str, Any]) -> None:
        """Make a cgroup below the cgroup root ("", "burstable", a pod's) if need be, and set limits on it."""
        full = "/".join(part for part in (self._cgroup_root, path.strip("/")) if part)
        try:
            cgroupfs.apply(cgroups.group(self._hierarchies, full, resources, is_container=False))
        except OSError as error:
            raise RuntimeFailure("CreatePodSandboxError", str(error)) from error

    async def limit_machine_group(self, path: str, resources: dict[str, Any]) -> None:
        """Set limits on a cgroup that is not this runtime's, and that must be there."""
        if not any(os.path.isdir(directory) for directory in self._hierarchies.directories(path.strip("/"))):
            raise RuntimeFailure("UpdateContainerError", f'"{path}" cgroup does not exist')
        self._write_limits(path.strip("/"), resources)

    async def reopen_log(self, pod_uid: str, container_id: str) -> None:
        """Open the log path anew, after somebody renamed the file."""
        await self._alive(pod_uid).request("reopen_log", container=container_id)

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
        pod = self._alive(pod_uid)
        present, fds = _descriptors(io)
        changes = plan.session(argv, env=env, cwd=cwd, user_wanted=user, tty=tty, stdio=present)
        with runtime_operation("exec"):
            answer = await pod.request("exec", container=container_id, plan=changes, stdio=present, fds=fds)
        return ExecHandle(pod, answer["session"], answer["pid"])

    async def attach(self, pod_uid: str, container_id: str, io: ExecIO) -> ExecHandle:
        """Feed and copy a running container's own standard streams."""
        pod = self._alive(pod_uid)
        present, fds = _descriptors(io)
        answer = await pod.request("attach", container=container_id, stdio=present, fds=fds)
        return ExecHandle(pod, answer["session"], answer["pid"])

    async def _kill(self, pod: Pod, container_id: str) -> None:
        await pod.request("signal", container=container_id, signo=signal.SIGKILL, all=False)
        try:
            async with asyncio.timeout(CONTAINER_END_SECONDS_MAX):
                await pod.container_end(container_id)
        except TimeoutError:
            message = f"container {container_id} does not end even when killed"
            raise RuntimeFailure("RemoveError", message) from None

    async def _start(self, pod: Pod, spec: ContainerSpec) -> ContainerState:
        path = plan.group_path(self._cgroup_root, pod.state.spec, spec.id)
        resources = (spec.config.get("linux") or {}).get("resources") or {}
        folder = pod.folder / "containers" / spec.id
        try:
            if handler := self._handler(pod.state.spec):
                container_plan = bundle.container(
                    spec,
                    pod.state.spec,
                    command=handler,
                    pod_dir=str(pod.folder),
                    hierarchies=self._hierarchies,
                    group_path=path,
                    permitted=credentials.permitted_capabilities(),
                    mountinfo=Path("/proc/self/mountinfo").read_text(),
                )
            else:
                container_plan = plan.container(
                    spec,
                    pod.state.spec,
                    pod_dir=str(pod.folder),
                    group=cgroups.group(self._hierarchies, path, resources, is_container=True),
                    shown_cgroups=cgroups.mounts_for_container(self._hierarchies),
                    seccomp_program=self._programs.path,
                )
        except OSError as error:
            raise plan.refuse(str(error)) from error
        try:
            await pod.request("start", plan=container_plan)
        except RuntimeFailure as error:
            # Without an answer the process may still be at work in there: remove_sandbox will take it away.
            if error.reason not in ("SandboxNotFound", UNANSWERED):
                await _in_thread(disk.remove_tree, folder)
            raise
        except asyncio.CancelledError:
            # Nobody will ever ask for this container again.
            pod.post("signal", container=spec.id, signo=signal.SIGKILL, all=False)
            raise
        state = pod.state.container(spec.id)
        if state is None:
            raise RuntimeFailure("ContainerNotFound", f"container {spec.id} was removed while it started")
        return state

    async def _adopt(self, folder: Path) -> None:
        """Take over a pod that an earlier kubelet made; one whose supervisor is dead is kept as such."""
        record = disk.read_record(folder)
        if record is None:
            try:
                await _in_thread(disk.remove_sandbox, folder, [])
            except RuntimeFailure as error:
                logger.warning(kv("leftovers of a pod stay", folder=folder, error=error.message))
            return
        spec = SandboxSpec(**{key: value for key, value in record["spec"].items() if key in SandboxSpec.__slots__})
        pod = Pod(spec, folder, record["cgroups"], self._changed)
        self._pods[spec.pod_uid] = pod
        try:
            async with asyncio.timeout(SANDBOX_SECONDS_MAX):
                await pod.connect(connect(folder))
        except (OSError, Disconnected, TimeoutError) as error:
            logger.warning(kv("supervisor lost", pod=f"{spec.pod_namespace}/{spec.pod_name}", error=repr(error)))
            process = (record["supervisor_pid"], record["supervisor_start_ticks"])
            try:
                await _in_thread(disk.kill_process, *process)
            except RuntimeFailure as stuck:
                logger.warning(
                    kv("supervisor hangs", pod=f"{spec.pod_namespace}/{spec.pod_name}", error=stuck.message)
                )
            pod.lost()

    def _handler(self, pod: SandboxSpec) -> Sequence[str]:
        """The command line of the runtime that makes a pod's containers; none: our own makes them."""
        if not pod.runtime_handler:
            return ()
        if pod.runtime_handler not in self.handlers:
            text = f'no runtime for "{pod.runtime_handler}" is configured'
            raise RuntimeFailure("CreatePodSandboxError", text)
        return self.handlers[pod.runtime_handler]

    def _with_ids(self, spec: SandboxSpec) -> SandboxSpec:
        """The spec with a range of ids for a pod that has users of its own."""
        if spec.host_users:
            return spec
        if spec.runtime_handler:
            text = f'RuntimeClass handler "{spec.runtime_handler}" does not support user namespaces'
            raise RuntimeFailure("CreatePodSandboxError", text)
        taken = {pod.state.spec.first_id for pod in self._pods.values()}
        try:
            return replace(spec, first_id=id_ranges.choose(taken, self._random))
        except (id_ranges.NoRange, OSError) as error:
            raise RuntimeFailure("CreatePodSandboxError", str(error)) from error

    def _changed(self, pod: Pod) -> None:
        if not pod.removing:
            self.on_change(pod.state.pod_uid)

    def _pod(self, pod_uid: str) -> Pod:
        pod = self._pods.get(pod_uid)
        if pod is None:
            raise RuntimeFailure("SandboxNotFound", f"pod {pod_uid} has no sandbox")
        return pod

    def _alive(self, pod_uid: str) -> Pod:
        pod = self._pod(pod_uid)
        if not pod.state.alive:
            raise RuntimeFailure("SandboxNotFound", f"the supervisor of pod {pod_uid} is dead")
        return pod

    def _write_limits(self, path: str, resources: dict[str, Any]) -> None:
        try:
            changes, optional = cgroups.limits(self._hierarchies, path, resources)
            cgroupfs.change([*changes, *(entry for entry in optional if os.path.exists(entry[0]))])
        except OSError as error:
            raise RuntimeFailure("UpdateContainerError", str(error)) from error


async def _in_thread(call: Callable[..., None], *arguments: Any) -> None:
    try:
        await asyncio.to_thread(call, *arguments)
    except (disk.StillThere, OSError) as error:
        raise RuntimeFailure("RemoveError", str(error)) from error


def _descriptors(io: ExecIO) -> tuple[list[bool], list[int]]:
    given = (io.stdin_fd, io.stdout_fd, io.stderr_fd)
    return [fd is not None for fd in given], [fd for fd in given if fd is not None]


def _ignore(_pod_uid: str) -> None:
    """Nobody wants to hear of changes yet."""
