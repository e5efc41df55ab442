"""The supervisor of a cluster's parts on this machine: it starts them, and starts again what ends by itself.

`kctl up` starts the supervisor, which is in a session of its own and stays until `kctl down`. Commands tell it over a
socket which parts to start, and which they are about to end on purpose. All parts are its children, those that
`kctl.cluster.launch` forks too, since whoever is orphaned below it becomes its child (PR_SET_CHILD_SUBREAPER of
prctl(2), which the command that starts it sets); so it learns how each of them ended, and says so in its log.

It waits for events only, and imports next to nothing (not even pathlib, which would be a fifth of it): it is always
there, and its memory is all that it costs. It may be killed itself: the parts run on, and the next one takes them
over from what is written in DATA/run.

One message is one packet of JSON, with one answer:

    {"op": "prepare", "parts": [PART…], "env": {…}}   import what these parts need, so that they can start at once
    {"op": "start", "parts": [PART…], "env": {…}}     start what does not run; answered when all have been started
    {"op": "release", "names": [NAME…]}               don't start these again: they are about to be ended
    {"op": "end"}                                     end, and leave alone whatever runs

where PART is {"name": …, "argv": […], "netns": NAME or null}. The answer has the process ids by name.
"""
# ruff: noqa: PTH105

from __future__ import annotations

import json
import os
import select
import signal
import socket
import sys
import time

# A part that ends sooner than this after its start has failed once more in a row.
CALM_SECONDS = 30.0
RESTART_FIRST_SECONDS, RESTART_MAX_SECONDS = 1.0, 30.0
MESSAGE_BYTES_MAX = 1 << 20
LOG_TAIL_BYTES = 2000
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def restart_delay(failures: int) -> float:
    """Seconds until a part is started again that has failed so often in a row; one that ran for long, at once."""
    return 0.0 if failures == 0 else min(RESTART_FIRST_SECONDS * 2.0 ** (failures - 1), RESTART_MAX_SECONDS)


def ending(status: int) -> str:
    """How a process ended, from its wait status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        name = signal.Signals(number).name if number in set(signal.Signals) else str(number)
        return f"killed by {name}" + (" (by somebody, or for want of memory)" if name == "SIGKILL" else "")
    return f"ended with status {os.WEXITSTATUS(status)}"


class Part:
    """A part that is wanted, and the process that runs it."""

    __slots__ = ("due", "env", "failures", "handle", "pid", "spec", "start_time", "started", "wanted")

    def __init__(self, spec: dict[str, Any], env: dict[str, str]) -> None:
        self.spec = spec
        self.env = env
        self.wanted = True
        self.pid = 0
        self.start_time = 0
        # A pidfd, for a process that is no child of ours.
        self.handle = -1
        self.started = 0.0
        self.failures = 0
        self.due = 0.0

    @property
    def name(self) -> str:
        """What it is called."""
        return str(self.spec["name"])


class Nursery:
    """Processes that have imported what some parts need, and wait for the word to fork them."""

    __slots__ = ("heard", "names", "orders", "pid", "report")

    def __init__(self, pid: int, names: set[str], orders: int, report: int) -> None:
        self.pid = pid
        self.names = names
        self.orders = orders
        self.report = report
        self.heard = b""


class Supervisor:
    """All parts of one data folder."""

    def __init__(self, data_dir: str, listener: socket.socket) -> None:
        self._data_dir = data_dir
        self._listener = listener
        self._parts: dict[str, Part] = {}
        self._nursery: Nursery | None = None
        # Who waits for parts that the nursery is forking, and for which.
        self._waiting: tuple[socket.socket, list[Part]] | None = None
        # How processes ended that nobody has claimed yet: a part may end before the nursery has told of it.
        self._unclaimed: dict[int, int] = {}
        self._clients: dict[int, socket.socket] = {}
        self._poll = select.poll()
        self._wakeup, wake = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(self._wakeup, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for descriptor in (self._listener.fileno(), self._wakeup):
            self._poll.register(descriptor, select.POLLIN)
        self._adopt()

    def run(self) -> None:
        """Until somebody asks for the end."""
        while True:
            for descriptor, _ in self._poll.poll(self._milliseconds_until_due()):
                if not self._handle(descriptor):
                    return
            self._start_due()

    def _handle(self, descriptor: int) -> bool:
        if descriptor == self._listener.fileno():
            client, _ = self._listener.accept()
            self._clients[client.fileno()] = client
            self._poll.register(client.fileno(), select.POLLIN)
        elif descriptor == self._wakeup:
            self._reap()
        elif self._nursery is not None and descriptor == self._nursery.report:
            self._hear_nursery(self._nursery)
        elif descriptor in self._clients:
            return self._converse(self._clients[descriptor])
        else:
            for part in list(self._parts.values()):
                if part.handle == descriptor:
                    self._close(descriptor)
                    part.handle = -1
                    self._ended(part, "has ended; how is not known, for another supervisor had started it")
        return True

    def _converse(self, client: socket.socket) -> bool:
        try:
            data = client.recv(MESSAGE_BYTES_MAX)
        except ConnectionError:
            data = b""
        if not data:
            self._hang_up(client)
            return True
        try:
            message = json.loads(data)
            op = message["op"]
            while self._waiting is not None and self._nursery is not None:
                self._hear_nursery(self._nursery)  # what is being forked is known before anything else is done
            if op == "start" and self._start(client, message["parts"], message["env"]):
                return True  # answered when the nursery has done its work
            if op == "prepare":
                self._prepare(message["parts"], message["env"])
            elif op == "release":
                self._release(message["names"])
        except (ValueError, KeyError, TypeError) as error:
            log("message not understood", error=repr(error))
            self._hang_up(client)
            return True
        self._answer(client)
        return bool(op != "end")

    def _hang_up(self, client: socket.socket) -> None:
        self._poll.unregister(client.fileno())
        del self._clients[client.fileno()]
        client.close()
        if not self._clients and self._waiting is None:
            self._abandon_nursery()  # whoever had it prepared is gone

    def _answer(self, client: socket.socket) -> None:
        pids = {name: part.pid for name, part in self._parts.items() if part.pid}
        try:
            client.send(json.dumps(pids).encode())
        except OSError:
            pass  # it did not wait for the answer

    def _start(self, client: socket.socket, specs: list[dict[str, Any]], env: dict[str, str]) -> bool:
        """Start what does not run; True if the client has to wait for the nursery."""
        forking = []
        for spec in specs:
            known = self._parts.get(spec["name"])
            if known is not None and known.pid:
                known.spec, known.env, known.wanted = spec, env, True
                continue
            part = self._parts[spec["name"]] = Part(spec, env)
            if self._nursery is not None and spec["name"] in self._nursery.names:
                forking.append(part)
            else:
                self._spawn(part)
        if self._nursery is None or not forking:
            return False
        self._waiting = client, forking
        self._order("".join(f"{part.name}\n" for part in forking).encode())
        os.close(self._nursery.orders)
        self._nursery.orders = -1
        return True

    def _release(self, names: list[str]) -> None:
        for name in names:
            part = self._parts.get(name)
            if part is not None and part.pid:
                part.wanted = False
            else:
                self._parts.pop(name, None)

    def _prepare(self, specs: list[dict[str, Any]], env: dict[str, str]) -> None:
        self._abandon_nursery()
        orders_read, orders = os.pipe()
        report, report_write = os.pipe()
        # The last argument makes room for the parts' own command lines, which `ps` is to show.
        room = max(sum(len(word.encode()) + 1 for word in spec["argv"]) for spec in specs)
        argv = [sys.executable, "-m", "kctl.cluster.launch", "." * room]
        actions = (
            (os.POSIX_SPAWN_DUP2, orders_read, 0),
            (os.POSIX_SPAWN_OPEN, 1, self._log_path("supervisor"), os.O_WRONLY | os.O_APPEND, 0),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            (os.POSIX_SPAWN_DUP2, report_write, 3),
        )
        pid = os.posix_spawn(argv[0], argv, env, file_actions=actions, setsigdef=[signal.SIGCHLD])
        os.close(orders_read)
        os.close(report_write)
        self._nursery = Nursery(pid, {spec["name"] for spec in specs}, orders, report)
        self._poll.register(report, select.POLLIN)
        logged = [{**spec, "log": self._log_path(spec["name"])} for spec in specs]
        self._order(json.dumps(logged).encode() + b"\n")

    def _order(self, data: bytes) -> None:
        assert self._nursery is not None
        try:
            while data:
                data = data[os.write(self._nursery.orders, data) :]
        except BrokenPipeError:
            pass  # it has ended; its report, which ends too, tells the same

    def _abandon_nursery(self) -> None:
        """Without a word it ends by itself."""
        if self._nursery is not None:
            self._close(self._nursery.report)
            if self._nursery.orders >= 0:
                os.close(self._nursery.orders)
            self._nursery = None

    def _hear_nursery(self, nursery: Nursery) -> None:
        data = os.read(nursery.report, 65536)
        if data:
            nursery.heard += data
            return
        for line in nursery.heard.decode().splitlines():
            name, pid = line.rsplit(" ", 1)
            self._started(self._parts[name], int(pid))
        self._abandon_nursery()
        if self._waiting is not None:
            client, parts = self._waiting
            self._waiting = None
            for part in parts:
                if not part.started:
                    self._spawn(part)  # something is wrong with the nursery: the part itself will say what
            self._answer(client)
        self._unclaimed.clear()

    def _spawn(self, part: Part) -> None:
        """Start a part from scratch."""
        argv = part.spec["argv"]
        if part.spec["netns"]:
            argv = ["nsenter", f"--net=/run/netns/{part.spec['netns']}", "--", *argv]
        actions = (
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, self._log_path(part.name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        )
        part.started = time.monotonic()
        try:
            pid = os.posix_spawnp(
                argv[0], argv, part.env, file_actions=actions, setsid=True, setsigdef=[signal.SIGCHLD]
            )
        except OSError as error:
            self._ended(part, f"can't be started: {error.strerror}")
        else:
            self._started(part, pid)

    def _started(self, part: Part, pid: int) -> None:
        part.pid, part.started = pid, time.monotonic()
        part.start_time = start_time(pid) or 0
        path = os.path.join(self._data_dir, "run", f"{part.name}.json")
        with open(f"{path}.new", "w") as file:
            json.dump({"pid": pid, "start_time": part.start_time, "spec": part.spec}, file)
        os.replace(f"{path}.new", path)
        if pid in self._unclaimed:
            self._ended(part, ending(self._unclaimed.pop(pid)))

    def _reap(self) -> None:
        os.read(self._wakeup, 4096)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            part = next((part for part in self._parts.values() if part.pid == pid), None)
            if part is not None:
                self._ended(part, ending(status))
            elif self._nursery is not None:
                self._unclaimed[pid] = status

    def _ended(self, part: Part, how: str) -> None:
        now = time.monotonic()
        lived = now - part.started
        part.pid = 0
        if not part.wanted:
            del self._parts[part.name]
            return
        part.failures = 0 if lived >= CALM_SECONDS else part.failures + 1
        delay = restart_delay(part.failures)
        part.due = now + delay
        log(
            "part ended", part=part.name, how=how, after=f"{lived:.1f}s", restart=f"{delay:g}s", said=self._said(part)
        )

    def _said(self, part: Part) -> str:
        """The last line of its log."""
        try:
            with open(self._log_path(part.name), "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL_BYTES))
                lines = file.read().decode(errors="replace").strip().splitlines()
        except OSError:
            return ""
        return lines[-1] if lines else ""

    def _milliseconds_until_due(self) -> float | None:
        """Until the next restart; None if there is none to come."""
        due = [part.due for part in self._parts.values() if not part.pid and part.due]
        return max(0.0, (min(due) - time.monotonic()) * 1000) + 1 if due else None

    def _start_due(self) -> None:
        now = time.monotonic()
        for part in self._parts.values():
            if not part.pid and part.due and part.due <= now:
                part.due = 0.0
                self._spawn(part)
                if part.pid:
                    log("part started again", part=part.name, pid=str(part.pid), failures=str(part.failures))

    def _adopt(self) -> None:
        """Take over what an earlier supervisor had started."""
        folder = os.path.join(self._data_dir, "run")
        for file in sorted(os.listdir(folder)):
            if not file.endswith(".json") or file == "supervisor.json":
                continue
            try:
                with open(os.path.join(folder, file)) as found:
                    known = json.load(found)
                part = Part(known["spec"], dict(os.environ))
                handle = os.pidfd_open(known["pid"])
            except (OSError, ValueError, KeyError):
                continue  # it has ended, or was not written by a supervisor
            if start_time(known["pid"]) != known["start_time"]:
                os.close(handle)
                continue
            part.pid, part.start_time, part.handle = known["pid"], known["start_time"], handle
            part.started = time.monotonic()
            self._parts[part.name] = part
            self._poll.register(handle, select.POLLIN)
            log("part taken over", part=part.name, pid=str(part.pid))

    def _log_path(self, name: str) -> str:
        return os.path.join(self._data_dir, "log", f"{name}.log")

    def _close(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        os.close(descriptor)


def start_time(pid: int) -> int | None:
    """The start time of a live process in clock ticks since boot (field 22 of proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in ("Z", "X") else int(fields[19])


def log(message: str, **fields: str) -> None:
    """A line as all parts write them."""
    moment = time.time()
    text = " ".join(f"{key}={_quoted(value)}" for key, value in {"msg": message, **fields}.items() if value)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    print(f"{stamp}.{int(moment % 1 * 1000):03d}Z info kctl.supervisor {text}", file=sys.stderr, flush=True)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if any(c in text for c in ' "=\n\t') else text


def main(data_dir: str, descriptor: int) -> None:
    """Supervise the parts of this folder; the descriptor is that of the socket on which commands are heard."""
    listener = socket.socket(fileno=descriptor)
    listener.set_inheritable(False)  # or commands would wait for parts to answer, when this process is gone
    log("supervisor starts", pid=str(os.getpid()))
    Supervisor(data_dir, listener).run()
    log("supervisor ends")
