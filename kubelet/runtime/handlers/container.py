"""A container that another runtime makes, as its pod's supervisor keeps it.

    create, start      one after the other; the process waits in between, so that a console is there before it runs
    kill               signals for the first process
    exec --detach      further processes, as children of the supervisor
    delete --force     after the end, and after a start that failed

What the runtime remembers lies in the pod's folder, ROOT/pods/UID/oci, and goes with it.
"""

from __future__ import annotations

import os
import resource
import sys
from _socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_NONBLOCK,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

from kubelet.runtime import cgroupfs, wire
from kubelet.runtime.container import Container
from kubelet.runtime.handlers.commands import Run
from kubelet.runtime.handlers.process import Family, Process
from kubelet.runtime.loop import READABLE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from kubelet.runtime.child import Failure

ROOT = "rootfs"
STATE = "oci"
CONSOLE_SECONDS_MAX = 1.0
# A runtime that takes longer is not waited for: the signal is then sent without it.
KILL_SECONDS_MAX = 5.0


class OCIContainer(Container):
    """A container of a handler. `family` are the supervisor's children, `namespaces` the pod's: see `namespaces`."""

    def __init__(
        self,
        loop: Loop,
        pod_dir: str,
        plan: dict[str, Any],
        on_change: Callable[[Container], None],
        *,
        family: Family,
        namespaces: list[dict[str, str]],
    ) -> None:
        super().__init__(loop, pod_dir, plan, on_change)
        self._family = family
        self._namespaces = namespaces
        self._state_dir = f"{pod_dir}/{STATE}"
        self._pod_dir = pod_dir
        self._commands = 0

    def fork(
        self,
        _pid_namespace: int,
        stdio: Sequence[int],
        *,
        on_console: Callable[[int], None],
        on_started: Callable[[Failure | None], None],
        on_exit: Callable[[int], None],
    ) -> Process:
        """Have the container made and started."""
        create = self._command("create", "--bundle", ".", "--pid-file", "pid")
        create.shared = self._write_bundle()
        create.root = {"name": ROOT, "lower_dirs": self.plan["lower_dirs"], "path": self.plan["root_path"]}
        create.oom_score_adj = self.plan["oom_score_adj"]
        console = Console(self._loop, self.directory, "console", on_console) if self.plan["tty"] else None
        if console is not None:
            create.argv += ["--console-socket", console.name]
        create.argv.append(self.plan["id"])
        start = self._command("start", self.plan["id"])

        def started(failure: Failure | None) -> None:
            if console is not None:
                console.close()
            on_started(failure)

        pid_file = f"{self.directory}/pid"
        return Process(self._family, (create, start), stdio, pid_file, on_started=started, on_exit=on_exit)

    def enter(
        self,
        plan: dict[str, Any],
        stdio: Sequence[int],
        *,
        on_console: Callable[[int], None],
        on_started: Callable[[Failure | None], None],
        on_exit: Callable[[int], None],
    ) -> Process:
        """Have a process put into the container."""
        name = f"exec-{self._commands}"
        files = [f"{self.directory}/{name}.{kind}" for kind in ("json", "pid")]
        wire.write_json(files[0], process_of(self.plan["config"]["process"], plan))
        run = self._command("exec", "--detach", "--process", f"{name}.json", "--pid-file", f"{name}.pid")
        run.oom_score_adj = self.plan["oom_score_adj"]
        console = Console(self._loop, self.directory, f"{name}.sock", on_console) if plan["tty"] else None
        if console is not None:
            run.argv += ["--console-socket", console.name]
        run.argv.append(self.plan["id"])

        def started(failure: Failure | None) -> None:
            if console is not None:
                console.close()
            for file in files:
                _unlink(file)
            on_started(failure)

        return Process(self._family, (run,), stdio, files[1], on_started=started, on_exit=on_exit)

    def signal(self, signo: int, *, all_processes: bool) -> None:
        """Send a signal to the first process, or to all of the container's."""
        if all_processes or self.child is None or not self.running:
            super().signal(signo, all_processes=all_processes)
            return
        child = self.child

        def done(failure: str) -> None:
            if failure and child.pidfd >= 0:
                self._say(f"kill: {failure}")
                child.kill(signo)  # whatever keeps the runtime from it

        kill = self._command("kill", self.plan["id"], str(signo))
        kill.seconds_max = KILL_SECONDS_MAX
        self._run(kill, done)

    def discard(self) -> None:
        """Let go of every descriptor, and have the runtime forget the container."""
        super().discard()
        delete = self._command("delete", "--force", self.plan["id"])
        # The container's own folder may be removed meanwhile.
        delete.directory = self._pod_dir

        def done(failure: str) -> None:
            if failure:
                self._say(f"delete: {failure}")
            # The runtime may have made some in hierarchies that our own does without.
            cgroupfs.remove(self.plan["all_cgroups"], attempts_max=1)

        self._run(delete, done)

    def _run(self, run: Run, done: Callable[[str], None]) -> None:
        """Run something that nobody waits for."""
        try:
            self._family.start(run, (0, 0, 0), on_notice=self._say, on_end=done)
        except OSError as error:
            done(str(error))

    def _say(self, text: str) -> None:
        """To ROOT/runtime/supervisors.log."""
        sys.stderr.write(f"container {self.plan['id']}: {text}\n")

    def _command(self, name: str, *arguments: str) -> Run:
        self._commands += 1
        log = f"{self._pod_dir}/{STATE}-{self.plan['id']}-{self._commands}.log"
        argv = [*self.plan["handler"], "--root", self._state_dir, "--log", log, "--log-format", "json"]
        return Run([*argv, name, *arguments], self.directory, log=log, cgroup_mounts=self.plan["cgroup_mounts"])

    def _write_bundle(self) -> dict[str, str]:
        """config.json and the folder of the root; returns where mounts that are shared with the node go."""
        os.makedirs(self._state_dir, 0o700, exist_ok=True)
        os.mkdir(f"{self.directory}/{ROOT}", 0o755)
        config = self.plan["config"]
        config["linux"]["namespaces"] = self._namespaces
        hold_open_files(config["process"])
        shared = {}
        for number, entry in enumerate(config["mounts"]):
            if entry["type"] == "bind" and "rshared" in entry["options"]:
                place = f"{self.directory}/shared-{number}"
                if os.path.isdir(entry["source"]):
                    os.mkdir(place, 0o700)
                else:
                    os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
                shared[place], entry["source"] = entry["source"], place
        wire.write_json(f"{self.directory}/config.json", config)
        return shared


def namespaces(pod: dict[str, Any], supervisor: int, *, kind: str, pid: int) -> list[dict[str, str]]:
    """OCI `linux.namespaces` of a container: the pod's network, IPC and host name, which are the supervisor's.

    `kind` is that of its pid namespace: private, host, or another for that of process `pid`.
    """
    found = [{"type": "mount"}, {"type": "cgroup"}]
    for type_, file, is_host in (
        ("network", "net", pod["host_network"]),
        ("uts", "uts", pod["host_network"]),
        ("ipc", "ipc", pod["host_ipc"]),
    ):
        if not is_host:
            found.append({"type": type_, "path": f"/proc/{supervisor}/ns/{file}"})
    if kind == "private":
        found.append({"type": "pid"})
    elif kind != "host":
        found.append({"type": "pid", "path": f"/proc/{pid}/ns/pid"})
    return found


def hold_open_files(process: dict[str, Any]) -> None:
    """Have RLIMIT_NOFILE be what it is with our own runtime: Go raises it for itself, and so for what it executes."""
    limits = process.setdefault("rlimits", [])
    if not any(entry["type"] == "RLIMIT_NOFILE" for entry in limits):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        limits.append({"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard})


def process_of(process: dict[str, Any], plan: dict[str, Any]) -> dict[str, Any]:
    """OCI `process` of an exec: the container's, with what the exec says otherwise."""
    wanted = {**process, "args": plan["argv"], "terminal": plan["tty"]}
    variables = dict(pair.partition("=")[::2] for pair in plan["env"])
    wanted["env"] = [f"{name}={value}" for name, value in variables.items()]
    if "cwd" in plan:
        wanted["cwd"] = plan["cwd"]
    if "uid" in plan:
        wanted["user"] = {"uid": plan["uid"], "gid": plan["gid"], "additionalGids": plan["groups"]}
        if plan["umask"] is not None:
            wanted["user"]["umask"] = plan["umask"]
    return wanted


class Console:
    """A socket to which the runtime sends the master side of a terminal (SCM_RIGHTS, unix(7)).

    The runtime gets its path relative to its working directory: sun_path is short.
    """

    def __init__(self, loop: Loop, directory: str, name: str, on_console: Callable[[int], None]) -> None:
        self.name = name
        self._loop = loop
        self._path = f"{directory}/{name}"
        self._on_console = on_console
        self._socket: socket | None = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK)
        folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._socket.bind(f"/proc/self/fd/{folder}/{name}")
            self._socket.listen(1)
        finally:
            os.close(folder)
        loop.watch(self._socket.fileno(), READABLE, lambda _events: self._take())

    def close(self) -> None:
        """The runtime is done: take what it has sent, and nothing any more."""
        self._take()
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        _unlink(self._path)

    def _take(self) -> None:
        """Take a connection if there is one, and what it brings: it is written whole before anything else is done."""
        if self._socket is None:
            return
        try:
            fd, _ = self._socket._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return
        connection = socket(fileno=fd)
        connection.settimeout(CONSOLE_SECONDS_MAX)
        _, control, _, _ = connection.recvmsg(4096, 64, MSG_CMSG_CLOEXEC)
        connection.close()
        for level, kind, data in control:
            if level == SOL_SOCKET and kind == SCM_RIGHTS:
                self._on_console(int.from_bytes(data[:4], sys.byteorder))


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
