"""The process that keeps one pod: it starts, reaps and logs its containers, and answers the kubelet.

It outlives the kubelet. Everything that a new kubelet must know is on disk before anybody is told of it
(sandbox.json, containers/ID/state.json), and the socket `control` in the pod's folder lets it in again.
Requests are {"op", "id", …}, answers {"id", "ok"} or {"id", "failed"}; {"event": …} comes without a request.
"""

from __future__ import annotations

import gc
import os
import signal
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_SEQPACKET, socket

from kubelet.runtime import launch, sandbox, sessions, wire
from kubelet.runtime import syscalls as sc
from kubelet.runtime.child import Child
from kubelet.runtime.container import Container
from kubelet.runtime.loop import READABLE, Loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType
    from typing import Any

    from kubelet.runtime.handlers.process import Family, Process

    Reply = Callable[[dict[str, Any]], None]

CLIENTS_MAX = 8
CONTAINERS_MAX = 1000


class Refused(Exception):
    """A request can't be carried out; becomes a RuntimeFailure in the kubelet."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.failed = {"reason": reason, "message": message}


def run(plan: dict[str, Any], directory: str, kubelet: socket, lock_fd: int, *, made: int = 0) -> None:
    """Set up the sandbox and serve it to its end; the node's lock is held until the pod can be found on disk.

    `made` are the namespaces that are there already.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gc.enable()
    os.setsid()
    sc.set_process_name("kubelet-pod")
    sc.prctl(sc.PR_SET_CHILD_SUBREAPER, 1)
    try:
        supervisor = Supervisor(plan, directory, made)
    except OSError as error:
        text = f"set up the sandbox: {launch.describe(error)}"
        wire.send(kubelet, {"failed": {"reason": "CreatePodSandboxError", "message": text}})
        return
    supervisor.accept(kubelet)
    supervisor.tell(kubelet, {"event": "ready", **supervisor.describe()})
    os.close(lock_fd)
    supervisor.loop.run()


class Supervisor:
    """Everything that one pod's supervisor knows."""

    def __init__(self, plan: dict[str, Any], directory: str, made: int) -> None:
        self.directory = directory
        self.plan = plan
        self.loop = Loop(self.reap)
        self.containers: dict[str, Container] = {}
        self.children: dict[int, Child | Process] = {}
        self.sessions = sessions.Sessions(self)
        self._clients: dict[int, socket] = {}
        self._handlers: ModuleType | None = None
        self._family: Family | None = None
        if plan["spec"].get("runtime_handler"):
            self._load_handlers()
        self._listener = _listen(directory)
        self.host_pid = int(os.readlink("/proc/self"))
        self.start_ticks = wire.process_start_ticks(self.host_pid)
        self._save()
        self._users_fd = sandbox.enter(plan, directory, made=made)
        self._pause_pid, self._pause_pidfd = 0, -1
        if plan["shared_pid"]:
            self._hold_process_namespace()
        self.loop.watch(self._listener.fileno(), READABLE, self._someone_connects)

    def _save(self) -> None:
        """Say on disk who keeps this pod, before there is anything that would have to be cleaned up."""
        record = {
            "spec": self.plan["spec"],
            "supervisor_pid": self.host_pid,
            "supervisor_start_ticks": self.start_ticks,
            "cgroups": self.plan["cgroup"]["directories"],
        }
        wire.write_json(f"{self.directory}/sandbox.json", record)

    def describe(self) -> dict[str, Any]:
        """The whole state, as a kubelet that connects gets it."""
        return {
            "supervisor_pid": self.host_pid,
            "supervisor_start_ticks": self.start_ticks,
            "containers": [container.state for container in self.containers.values()],
        }

    def accept(self, client: socket) -> None:
        """Serve another connection."""
        client.setblocking(False)
        self._clients[client.fileno()] = client
        self.loop.watch(client.fileno(), READABLE, lambda _events: self._receive(client))

    def drop(self, client: socket) -> None:
        """End a connection, and what only made sense for it."""
        if self._clients.pop(client.fileno(), None) is None:
            return
        self.loop.forget(client.fileno())
        self.sessions.client_gone(client)
        client.close()

    def tell(self, client: socket, message: dict[str, Any]) -> None:
        """Send to one client; one that has not read for so long that its socket is full is dropped."""
        if client.fileno() not in self._clients:
            return
        try:
            wire.send(client, message)
        except OSError:
            self.drop(client)

    def changed(self, container: Container) -> None:
        """Tell every client the new state of a container."""
        self._tell_all({"event": "container", "state": container.state})

    def _tell_all(self, message: dict[str, Any]) -> None:
        for client in list(self._clients.values()):
            self.tell(client, message)

    def container(self, container_id: str, *, running: bool = False) -> Container:
        """The container of this id, or Refused."""
        container = self.containers.get(container_id)
        if container is None:
            raise Refused("ContainerNotFound", f"no container {container_id} in this pod")
        if running and not container.running:
            raise Refused("ContainerNotFound", f"container {container_id} is not running")
        return container

    def reap(self) -> None:
        """Wait for every child that has ended (wait(2)); orphans of host-pid pods come here too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            child = self.children.pop(pid, None)
            if child is not None:
                child.ended(status)
            elif self._family is not None:
                self._family.orphan_ended(pid, status)

    def keep(self, child: Child | Process) -> None:
        """Have a child hear of its end; what a handler makes gets its number later, and then sees to that itself."""
        if child.pid:
            self.children[child.pid] = child

    def _someone_connects(self, _events: int) -> None:
        try:
            fd, _ = self._listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            return
        client = socket(fileno=fd)
        os.set_inheritable(fd, False)
        if len(self._clients) >= CLIENTS_MAX:
            client.close()
            return
        self.accept(client)
        self.tell(client, {"event": "ready", **self.describe()})

    def _receive(self, client: socket) -> None:
        try:
            message, fds = wire.receive(client)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            message, fds = None, []
        if message is None:
            self.drop(client)
            return
        request = message["id"]

        def reply(answer: dict[str, Any]) -> None:
            self.tell(client, {"id": request, **answer})

        try:
            _OPERATIONS[message["op"]](self, message, fds, client, reply)
        except Refused as refused:
            reply({"failed": refused.failed})
        except OSError as error:
            reason = _REASONS.get(message["op"], "RuntimeError")
            reply({"failed": {"reason": reason, "message": launch.describe(error)}})
        except Exception as error:
            reply({"failed": {"reason": "RuntimeError", "message": f"{message['op']}: {launch.describe(error)}"}})
            raise
        finally:
            for fd in fds:
                os.close(fd)

    def _start(self, message: dict[str, Any], _fds: list[int], _client: socket, reply: Reply) -> None:
        plan = {**message["plan"], "users_fd": self._users_fd}
        if plan["id"] in self.containers:
            raise Refused("CreateContainerError", f"container {plan['id']} exists already")
        if len(self.containers) >= CONTAINERS_MAX:
            raise Refused("CreateContainerError", f"the pod has {CONTAINERS_MAX} containers already")
        container = self._new_container(plan)
        self.containers[plan["id"]] = container

        def done(failure: dict[str, str] | None) -> None:
            if failure is None:
                # The event comes first: whoever handles the answer finds the state in place.
                self.changed(container)
                reply({"ok": {}})
            else:
                self.containers.pop(plan["id"], None)
                self._tell_all({"event": "gone", "container": plan["id"]})
                reply({"failed": failure})

        try:
            child = container.start(self._pid_namespace_for(plan), done)
        except OSError:
            container.discard()
            del self.containers[plan["id"]]
            raise
        self.keep(child)

    def _new_container(self, plan: dict[str, Any]) -> Container:
        """A container that is not started yet: of our own making, or of a handler's."""
        if self._handlers is None:
            return Container(self.loop, self.directory, plan, self.changed)
        kind, _, target_id = plan["pid"].partition(":")
        target = self.container(target_id, running=True).child if target_id else None
        pids = {"shared": self._pause_pid, "container": target.pid if target is not None else 0}
        namespaces = self._handlers.namespaces(self.plan["spec"], os.getpid(), kind=kind, pid=pids.get(kind, 0))
        container: Container = self._handlers.OCIContainer(
            self.loop, self.directory, plan, self.changed, family=self._family, namespaces=namespaces
        )
        return container

    def _load_handlers(self) -> None:
        """What makes containers by other runtimes: only for pods that need it, and while it is sure to be there."""
        from kubelet.runtime.handlers import container, process

        self._handlers = container
        self._family = process.Family(self.loop, self.children)

    def _pid_namespace_for(self, plan: dict[str, Any]) -> int:
        """A pidfd of a process in the pid namespace that the new container joins, or -1."""
        if plan["pid"] == "shared":
            return self._pause_pidfd
        if plan["pid"].startswith("container:"):
            target = self.container(plan["pid"].partition(":")[2], running=True)
            assert target.child is not None
            return target.child.pidfd
        return -1

    def _signal(self, message: dict[str, Any], _fds: list[int], _client: socket, reply: Reply) -> None:
        container = self.container(message["container"])
        container.signal(message["signo"], all_processes=message["all"])
        reply({"ok": {}})

    def _reopen_log(self, message: dict[str, Any], _fds: list[int], _client: socket, reply: Reply) -> None:
        self.container(message["container"]).reopen_log()
        reply({"ok": {}})

    def _remove(self, message: dict[str, Any], _fds: list[int], _client: socket, reply: Reply) -> None:
        """Forget a container that has ended; the kubelet then removes its folder."""
        container = self.container(message["container"])
        if container.state["status"] != "exited":
            raise Refused("ContainerRunning", f"container {container.plan['id']} has not ended")
        del self.containers[container.plan["id"]]
        reply({"ok": {}})

    def _exec(self, message: dict[str, Any], fds: list[int], client: socket, reply: Reply) -> None:
        container = self.container(message["container"], running=True)
        plan = dict(message["plan"])
        plan["env"] = [*container.plan["env"], *plan["env"]]
        self.sessions.start_exec(container, plan, _stdio(message, fds), client, reply)

    def _attach(self, message: dict[str, Any], fds: list[int], client: socket, reply: Reply) -> None:
        container = self.container(message["container"], running=True)
        number = self.sessions.start_attach(container, _stdio(message, fds), client)
        reply({"ok": {"session": number, "pid": container.state["pid"]}})

    def _resize(self, message: dict[str, Any], _fds: list[int], _client: socket, reply: Reply) -> None:
        session = self.sessions.get(message["session"])
        if session is not None:
            session.resize(message["width"], message["height"])
        reply({"ok": {}})

    def _signal_session(self, message: dict[str, Any], _fds: list[int], _client: socket, reply: Reply) -> None:
        session = self.sessions.get(message["session"])
        if session is not None:
            session.kill(message["signo"])
        reply({"ok": {}})

    def _hold_process_namespace(self) -> None:
        cgroup = self.plan["cgroup"]
        pid, pidfd = launch.fork(cgroup["pause"], new_pid_namespace=True)
        if pid == 0:
            try:
                sandbox.hold_process_namespace(cgroup["pause_join"], self._users_fd)
            finally:
                os._exit(1)
        self._pause_pid, self._pause_pidfd = pid, pidfd


def _stdio(message: dict[str, Any], fds: list[int]) -> list[int]:
    """The three standard descriptors of a message that names which of them it carries."""
    carried = iter(fds)
    return [next(carried) if present else -1 for present in message["stdio"]]


def _listen(directory: str) -> socket:
    """The pod's control socket; its path is given through a descriptor, since sun_path holds 108 bytes only."""
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK)
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{folder}/control")
        listener.listen(CLIENTS_MAX)
    finally:
        os.close(folder)
    return listener


_OPERATIONS: dict[str, Callable[..., None]] = {
    "start": Supervisor._start,
    "signal": Supervisor._signal,
    "reopen_log": Supervisor._reopen_log,
    "remove": Supervisor._remove,
    "exec": Supervisor._exec,
    "attach": Supervisor._attach,
    "resize": Supervisor._resize,
    "signal_session": Supervisor._signal_session,
}
_REASONS = {"start": "CreateContainerError", "exec": "ExecError", "attach": "ExecError"}
