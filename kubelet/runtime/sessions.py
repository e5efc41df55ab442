"""Processes that join a running container (exec) and viewers of its own streams (attach).

A session belongs to the connection that asked for it: when the kubelet goes away, its exec'd processes are
killed, since nobody is left to hear how they end. Containers are not touched.
"""

from __future__ import annotations

import os
import signal

from kubelet.runtime import terminal
from kubelet.runtime.child import exit_code_of
from kubelet.runtime.streams import Sink, Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from kubelet.runtime.child import Child
    from kubelet.runtime.container import Container
    from kubelet.runtime.handlers.process import Process
    from kubelet.runtime.supervisor import Supervisor

SESSIONS_MAX = 256


class Sessions:
    """All sessions of one pod, by number."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._by_number: dict[int, Exec | Attachment] = {}
        self._last = 0

    def add(self, session: Exec | Attachment) -> int:
        """Give a session its number."""
        if len(self._by_number) >= SESSIONS_MAX:
            raise OSError(0, f"{SESSIONS_MAX} sessions are open in this pod already")
        self._last += 1
        self._by_number[self._last] = session
        return self._last

    def get(self, number: int) -> Exec | Attachment | None:
        """A session that has not ended."""
        return self._by_number.get(number)

    def ended(self, session: Exec | Attachment, exit_code: int) -> None:
        """Tell the client that asked for it how a session ended."""
        if self._by_number.pop(session.number, None) is not None:
            message = {"event": "session", "session": session.number, "exit_code": exit_code}
            self._supervisor.tell(session.client, message)

    def forget(self, session: Exec | Attachment) -> None:
        """A session never began."""
        self._by_number.pop(session.number, None)

    def client_gone(self, client: object) -> None:
        """End whatever a client that went away had asked for."""
        for session in list(self._by_number.values()):
            if session.client is client:
                session.kill(signal.SIGKILL)

    def start_exec(
        self, container: Container, plan: dict[str, Any], stdio: Sequence[int], client: Any, reply: Any
    ) -> None:
        """Fork a process into a container; `stdio` are three descriptors, -1 for /dev/null."""
        session = Exec(self, container, client)
        session.number = self.add(session)
        try:
            child = session.start({**container.plan, **plan}, stdio, reply)
        except OSError:
            del self._by_number[session.number]
            raise
        self._supervisor.keep(child)

    def start_attach(self, container: Container, stdio: Sequence[int], client: Any) -> int:
        """Show a container's output to a viewer, and feed it the viewer's input."""
        session = Attachment(self, container, client, stdio)
        try:
            session.number = self.add(session)
        except OSError:
            session.close()
            raise
        return session.number

    @property
    def loop(self) -> Any:
        """The supervisor's loop."""
        return self._supervisor.loop


class Exec:
    """One process that was put into a container beside its first."""

    def __init__(self, sessions: Sessions, container: Container, client: Any) -> None:
        self.number = 0
        self.client = client
        self._sessions = sessions
        self._container = container
        self._child: Child | Process | None = None
        self._stdio: tuple[int, ...] = ()
        self._master = -1
        self._output: Source | None = None
        self._screen: Sink | None = None
        self._keyboard: Source | None = None
        self._input: Sink | None = None
        self._exit_code: int | None = None

    def start(
        self, plan: dict[str, Any], stdio: Sequence[int], reply: Callable[[dict[str, Any]], None]
    ) -> Child | Process:
        """Fork; `reply` hears how it went."""
        given = (0, 0, 0) if plan["tty"] else tuple(fd if fd >= 0 else 0 for fd in stdio)
        if plan["tty"]:
            # The message's descriptors are closed when the request is done; the copying begins later.
            self._stdio = tuple(os.dup(fd) if fd >= 0 else -1 for fd in stdio[:2])

        def started(failure: dict[str, str] | None) -> None:
            if failure is None:
                assert self._child is not None
                reply({"ok": {"session": self.number, "pid": self._child.host_pid}})
                return
            self._sessions.forget(self)
            self._close()
            reply({"failed": {"reason": "ExecError", "message": failure["message"]}})

        self._child = self._container.enter(
            plan, given, on_console=self._console_opened, on_started=started, on_exit=self._exited
        )
        return self._child

    def kill(self, signo: int) -> None:
        """Send the process a signal."""
        if self._child is not None:
            self._child.kill(signo)

    def resize(self, width: int, height: int) -> None:
        """Set the terminal's size, if there is one."""
        if self._master >= 0:
            terminal.resize(self._master, width, height)

    def _console_opened(self, master: int) -> None:
        self._master = master
        os.set_blocking(master, False)
        loop = self._sessions.loop
        keyboard, screen = self._stdio
        if screen >= 0:
            self._screen = Sink(loop, screen, self._screen_has_room, self._screen_gone)
        self._output = Source(loop, os.dup(master), self._show, self._output_ended)
        if keyboard >= 0:
            self._input = Sink(loop, os.dup(master), self._input_has_room, self._input_gone)
            self._keyboard = Source(loop, keyboard, self._type, _nothing)
        self._stdio = ()

    def _show(self, data: bytes) -> None:
        if self._screen is not None:
            self._screen.push(data)
            if self._screen.full and self._output is not None and self._exit_code is None:
                self._output.pause()

    def _type(self, data: bytes) -> None:
        if self._input is not None:
            self._input.push(data)
            if self._input.full and self._keyboard is not None:
                self._keyboard.pause()

    def _screen_has_room(self) -> None:
        if self._output is not None:
            self._output.resume()
        self._finish_if_shown()

    def _screen_gone(self) -> None:
        self._screen = None
        if self._output is not None:
            self._output.resume()
        self._finish_if_shown()

    def _input_has_room(self) -> None:
        if self._keyboard is not None:
            self._keyboard.resume()

    def _input_gone(self) -> None:
        self._input = None

    def _output_ended(self) -> None:
        self._finish_if_shown()

    def _exited(self, wait_status: int) -> None:
        self._exit_code, _ = exit_code_of(wait_status)
        if self._output is not None:
            self._output.resume()
            self._output.drain()
        self._finish_if_shown()

    def _finish_if_shown(self) -> None:
        """Report the end once its last output is with the viewer."""
        if self._exit_code is None or (self._screen is not None and not self._screen.idle):
            return
        self._sessions.ended(self, self._exit_code)
        self._close()

    def _close(self) -> None:
        for end in (self._output, self._screen, self._keyboard, self._input):
            if end is not None:
                end.close()
        for fd in (self._master, *self._stdio):
            if fd >= 0:
                os.close(fd)
        self._master, self._stdio = -1, ()


class Attachment:
    """A viewer of a container's own standard streams."""

    def __init__(self, sessions: Sessions, container: Container, client: Any, stdio: Sequence[int]) -> None:
        self.number = 0
        self.client = client
        self._sessions = sessions
        self._container = container
        self._exit_code: int | None = None
        self._sinks: dict[str, Sink] = {}
        self._keyboard: Source | None = None
        loop = sessions.loop
        for name, fd in (("stdout", stdio[1]), ("stderr", stdio[2])):
            if fd >= 0:
                gone = self._gone(name)
                self._sinks[name] = Sink(loop, os.dup(fd), self._has_room, gone)
        if stdio[0] >= 0 and container.input is not None:
            self._keyboard = Source(loop, os.dup(stdio[0]), self._type, self._input_ended)
        container.viewers.append(self)

    @property
    def full(self) -> bool:
        """True while the viewer is so far behind that the container has to wait for it."""
        return any(sink.full for sink in self._sinks.values())

    def show(self, stream: str, data: bytes) -> None:
        """Pass output on."""
        if stream in self._sinks:
            self._sinks[stream].push(data)

    def read_on(self) -> None:
        """The container takes input again."""
        if self._keyboard is not None:
            self._keyboard.resume()

    def finish(self, exit_code: int) -> None:
        """It is over, as the container is or what was to be typed: report it once the last output is shown."""
        self._exit_code = exit_code
        if self._keyboard is not None:
            self._keyboard.close()
        self._finish_if_shown()

    def kill(self, _signo: int) -> None:
        """Detach; the container runs on."""
        self._sessions.ended(self, 0)
        self.close()

    def resize(self, width: int, height: int) -> None:
        """Set the size of the container's terminal, if it has one."""
        if self._container.console_fd >= 0:
            terminal.resize(self._container.console_fd, width, height)

    def close(self) -> None:
        """Let go at once."""
        for sink in self._sinks.values():
            sink.close()
        if self._keyboard is not None:
            self._keyboard.close()
            self._end_input()
        if self in self._container.viewers:
            self._container.viewers.remove(self)
            self._container.pace_output()

    def _gone(self, name: str) -> Callable[[], None]:
        def gone() -> None:
            self._sinks.pop(name, None)
            self._has_room()

        return gone

    def _has_room(self) -> None:
        if self._exit_code is None:
            self._container.pace_output()
        else:
            self._finish_if_shown()

    def _finish_if_shown(self) -> None:
        if self._exit_code is not None and all(sink.idle for sink in self._sinks.values()):
            self._sessions.ended(self, self._exit_code)
            self.close()

    def _type(self, data: bytes) -> None:
        if self._container.input is not None and self._keyboard is not None:
            self._container.input.push(data)
            if self._container.input.full:
                self._keyboard.pause()

    def _input_ended(self) -> None:
        """Who has nothing more to type leaves, unless the container's input ends with it: then its end is awaited."""
        if not self._end_input():
            self.finish(0)

    def _end_input(self) -> bool:
        """End the container's input where only one viewer may type; at a terminal somebody else may go on."""
        plan = self._container.plan
        if not plan["stdin_once"] or plan["tty"]:
            return False
        if self._container.input is not None:
            self._container.input.finish()
            self._container.input = None
        return True


def _nothing() -> None:
    """A terminal has no end of input: what typed the last key may come back by another exec."""
