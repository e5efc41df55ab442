"""One container as its supervisor sees it: its process, its output, its state on disk."""

from __future__ import annotations

import os
import time

from kubelet.runtime import cgroupfs, launch, wire
from kubelet.runtime.child import Child, exit_code_of, status_pair
from kubelet.runtime.crilog import Framer, LogFile, Stamp
from kubelet.runtime.streams import Sink, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from kubelet.runtime.child import Failure
    from kubelet.runtime.handlers.process import Process
    from kubelet.runtime.loop import Loop

    class Viewer(Protocol):
        """Somebody attached to a container's standard streams: an Attachment of sessions.py."""

        @property
        def full(self) -> bool:
            """True while the viewer is so far behind that the container has to wait for it."""

        def show(self, stream: str, data: bytes) -> None:
            """Show output of the container."""

        def read_on(self) -> None:
            """The container's standard input takes more."""

        def finish(self, exit_code: int) -> None:
            """The container has ended."""

        def close(self) -> None:
            """Let go at once."""


# Output that still comes after the end can only be that of a process in another container that was handed
# the descriptor; it is not waited for longer than this.
DRAIN_SECONDS_MAX = 1.0


class Container:
    """A container from its start to its removal.

    `state` is a ContainerState as a dict (api.py), written to state.json before anybody hears of a change.
    """

    def __init__(
        self, loop: Loop, pod_dir: str, plan: dict[str, Any], on_change: Callable[[Container], None]
    ) -> None:
        self.plan = plan
        self.directory = f"{pod_dir}/containers/{plan['id']}"
        self.state: dict[str, Any] = {
            "id": plan["id"],
            "name": plan["name"],
            "attempt": plan["attempt"],
            "status": "created",
            "log_path": plan["log_path"],
            "image": plan.get("image", ""),
        }
        self.child: Child | Process | None = None
        self.viewers: list[Viewer] = []
        self.input: Sink | None = None
        self.console_fd = -1
        self._loop = loop
        self._on_change = on_change
        self._stamp = Stamp()
        self._log = LogFile("")
        self._outputs: dict[str, tuple[Source, Framer]] = {}
        self._ended = False

    @property
    def running(self) -> bool:
        """True between a successful start and the end."""
        return bool(self.state["status"] == "running")

    def start(self, pid_namespace: int, done: Callable[[dict[str, str] | None], None]) -> Child | Process:
        """Fork the container's first process; `done` hears how it went. OSError when it can't even begin.

        `pid_namespace` is a descriptor of the one to join, or -1.
        """
        os.mkdir(self.directory, 0o755)
        self._log = LogFile(self.plan["log_path"])
        cgroupfs.apply(self.plan["cgroup"])
        stdin = _Pipe(self.plan["stdin"] and not self.plan["tty"], writes=True)
        stdout, stderr = _Pipe(not self.plan["tty"]), _Pipe(not self.plan["tty"])
        self.child = self.fork(
            pid_namespace,
            (stdin.theirs, stdout.theirs, stderr.theirs),
            on_console=self._console_opened,
            on_started=lambda failure: self._started(failure, done),
            on_exit=self._exited,
        )
        for pipe in (stdin, stdout, stderr):
            pipe.close_theirs()
        if stdin.ours >= 0:
            self.input = Sink(self._loop, stdin.ours, self._input_has_room, self._input_gone)
        for name, pipe in (("stdout", stdout), ("stderr", stderr)):
            if pipe.ours >= 0:
                self._read_output(name, pipe.ours)
        return self.child

    def fork(
        self,
        pid_namespace: int,
        stdio: Sequence[int],
        *,
        on_console: Callable[[int], None],
        on_started: Callable[[Failure | None], None],
        on_exit: Callable[[int], None],
    ) -> Child | Process:
        """Fork the first process."""
        status, child_status = status_pair()
        pid, pidfd = launch.fork(
            self.plan["cgroup"]["unified"],
            new_pid_namespace=self.plan["pid"] == "private",
            join_pid_namespace=pid_namespace,
        )
        if pid == 0:
            launch.become_container(self.plan, self.directory, stdio, child_status.fileno())
        child_status.close()
        return Child(
            self._loop,
            pid=pid,
            pidfd=pidfd,
            status=status,
            on_console=on_console,
            on_started=on_started,
            on_exit=on_exit,
        )

    def enter(
        self,
        plan: dict[str, Any],
        stdio: Sequence[int],
        *,
        on_console: Callable[[int], None],
        on_started: Callable[[Failure | None], None],
        on_exit: Callable[[int], None],
    ) -> Child | Process:
        """Fork a process that joins the first one."""
        assert self.child is not None
        status, child_status = status_pair()
        target = self.child.pidfd
        pid, pidfd = launch.fork(plan["cgroup"]["unified"], join_pid_namespace=target)
        if pid == 0:
            launch.join_container(plan, stdio, child_status.fileno(), target)
        child_status.close()
        return Child(
            self._loop,
            pid=pid,
            pidfd=pidfd,
            status=status,
            on_console=on_console,
            on_started=on_started,
            on_exit=on_exit,
        )

    def signal(self, signo: int, *, all_processes: bool) -> None:
        """Send a signal to the first process, or to all of the container's."""
        if self.child is None:
            return
        if not all_processes:
            self.child.kill(signo)
            return
        for pid in cgroupfs.processes(self.plan["cgroup"]["processes"]):
            if pid > 0:
                try:
                    os.kill(pid, signo)
                except ProcessLookupError:
                    pass

    def reopen_log(self) -> None:
        """Open the log path anew, after somebody renamed the file; one that has ended writes no more."""
        if self.state["status"] != "exited":
            self._log.reopen()

    def kill_rest(self) -> None:
        """Kill what the first process left behind where no pid namespace of its own died with it."""
        if self.plan["pid"] != "private":
            cgroupfs.kill_all(self.plan["cgroup"]["directories"])

    def discard(self) -> None:
        """Let go of every descriptor; the process must have ended."""
        for source, _ in self._outputs.values():
            source.close()
        for viewer in self.viewers:
            viewer.close()
        if self.input is not None:
            self.input.close()
        if self.console_fd >= 0:
            os.close(self.console_fd)
            self.console_fd = -1
        self._log.close()
        cgroupfs.remove(self.plan["cgroup"]["directories"], attempts_max=1)

    def _read_output(self, name: str, fd: int) -> None:
        framer = Framer(name)
        source = Source(self._loop, fd, lambda data: self._output(name, framer, data), self._output_ended)
        self._outputs[name] = (source, framer)

    def _output(self, name: str, framer: Framer, data: bytes) -> None:
        self._log.write(framer.feed(data, self._stamp(time.time_ns())))
        for viewer in self.viewers:
            viewer.show(name, data)
        self.pace_output()

    def pace_output(self) -> None:
        """Read the output no faster than those who are attached take it."""
        behind = any(viewer.full for viewer in self.viewers)
        for source, _ in self._outputs.values():
            if behind and not self._ended:
                source.pause()
            else:
                source.resume()

    def _output_ended(self) -> None:
        if self._ended:
            self._finish_if_drained()

    def _console_opened(self, fd: int) -> None:
        self.console_fd = fd
        os.set_blocking(fd, False)
        self._read_output("stdout", os.dup(fd))
        if self.plan["stdin"]:
            self.input = Sink(self._loop, os.dup(fd), self._input_has_room, self._input_gone)

    def _input_has_room(self) -> None:
        for viewer in self.viewers:
            viewer.read_on()

    def _input_gone(self) -> None:
        self.input = None

    def _started(self, failure: dict[str, str] | None, done: Callable[[dict[str, str] | None], None]) -> None:
        if failure is None:
            assert self.child is not None
            pid = self.child.host_pid
            self.state.update(
                status="running",
                pid=pid,
                pid_start_ticks=wire.process_start_ticks(pid),
                started_at=time.time(),
                notices=self.child.notices,
            )
            self._save()
        else:
            self.kill_rest()
            self.discard()
        done(failure)

    def _exited(self, wait_status: int) -> None:
        """The first process is gone: kill what it left, collect the last output, then tell."""
        self._ended = True
        self.kill_rest()
        code, signo = exit_code_of(wait_status)
        # Any process that the kernel killed for memory counts, even if the first one took no harm.
        oom_killed = cgroupfs.oom_kills(self.plan["cgroup"]["memory"]) > 0
        self.state.update(exit_code=code, signal=signo, oom_killed=oom_killed, finished_at=time.time())
        for source, _ in list(self._outputs.values()):
            source.resume()
            source.drain()
        self._loop.call_later(DRAIN_SECONDS_MAX, self._finish)
        self._finish_if_drained()

    def _finish_if_drained(self) -> None:
        if all(source.fd < 0 for source, _ in self._outputs.values()):
            self._finish()

    def _finish(self) -> None:
        if self.state["status"] == "exited":
            return
        for _, framer in self._outputs.values():
            self._log.write(framer.finish(self._stamp(time.time_ns())))
        for viewer in self.viewers:
            viewer.finish(self.state["exit_code"])
        self.viewers = []
        if self._log.error:
            self.state["error"] = f"output was lost: {self._log.error}"
        self.state["status"] = "exited"
        self._save()
        self.discard()
        self._on_change(self)

    def _save(self) -> None:
        wire.write_json(f"{self.directory}/state.json", self.state)


class _Pipe:
    """A pipe between supervisor and container, or /dev/null (descriptor 0) if none is wanted."""

    def __init__(self, wanted: bool, *, writes: bool = False) -> None:
        self.ours, self.theirs = -1, 0
        if wanted:
            ends = os.pipe2(os.O_CLOEXEC)
            self.theirs, self.ours = ends if writes else (ends[1], ends[0])
            os.set_blocking(self.ours, False)

    def close_theirs(self) -> None:
        """The child has its copy."""
        if self.theirs > 0:
            os.close(self.theirs)
