"""One pod as the kubelet sees it: its last known state, and the way to its supervisor.

Whether a supervisor lives is told by its pidfd alone. A connection that ends while the process lives on is
made anew; when the process has ended, the kernel has killed the pod's processes with it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubelet.runtime import cgroupfs, disk, wire
from kubelet.runtime.api import ContainerState, RuntimeFailure, SandboxSpec, SandboxState
from kubelet.runtime.link import Disconnected, Link, connect

RECONNECT_SECONDS = 0.2
RECONNECTS_MAX = 50
FATE_SECONDS_MAX = 5.0
LOST_EXIT_CODE = 137
# The reason of a RuntimeFailure when it is not known what became of a request.
UNANSWERED = "RuntimeUnanswered"


class Pod:
    """One pod's state and connection; `changed` is called after a container or the supervisor has ended."""

    def __init__(self, spec: SandboxSpec, folder: Path, cgroups: list[str], changed: Callable[[Pod], None]) -> None:
        self.folder = folder
        self.removing = False
        self.starting: set[str] = set()
        self.state = SandboxState(spec.pod_uid, 0, "", alive=False, spec=spec)
        self._cgroups = cgroups
        self._changed = changed
        self._link: Link | None = None
        self._pidfd = -1
        self._closed = False
        self._ready: asyncio.Future[None] | None = None
        self._known: asyncio.Future[None] | None = None
        self._reconnects = 0
        self._sessions: dict[int, asyncio.Future[int]] = {}
        self._ends: dict[str, asyncio.Future[None]] = {}

    async def connect(self, connection: socket.socket) -> None:
        """Wait for the supervisor's first words. RuntimeFailure or Disconnected if they are its last."""
        self._ready = asyncio.get_running_loop().create_future()
        self._link = Link(connection, self._event, self._disconnected)
        await self._ready

    async def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Ask the supervisor; RuntimeFailure if it refuses, is dead, or does not answer in time."""
        try:
            if self._link is None:
                raise Disconnected
            return await self._link.request(op, **fields)
        except Disconnected:
            await self._fate()
            if self.state.alive:
                raise RuntimeFailure(UNANSWERED, f"the connection to pod {self.state.pod_uid} was lost") from None
            raise RuntimeFailure("SandboxNotFound", f"the supervisor of pod {self.state.pod_uid} is dead") from None
        except TimeoutError:
            message = f"the supervisor of pod {self.state.pod_uid} does not answer"
            raise RuntimeFailure(UNANSWERED, message) from None

    async def _fate(self) -> None:
        """Wait, for a moment, until it is known whether the connection or the supervisor is lost."""
        if not self.state.alive or (self._link is not None and not self._link.closed):
            return  # that became known before whoever asks came to run
        self._known = self._known or asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(FATE_SECONDS_MAX):
                await asyncio.shield(self._known)
        except TimeoutError:
            return  # neither yet: the process hangs while it ends, or is very slow

    def post(self, op: str, **fields: Any) -> None:
        """Ask without waiting for an answer."""
        if self._link is not None:
            self._link.post(op, **fields)

    async def session_end(self, session: int) -> int:
        """The exit code of an exec or attach, once it has ended."""
        try:
            return await asyncio.shield(self._session(session))
        finally:
            if self._session(session).done():
                del self._sessions[session]

    async def container_end(self, container_id: str) -> None:
        """Wait until a container has ended."""
        state = self.state.container(container_id)
        if state is not None and state.status != "exited":
            end = self._ends.setdefault(container_id, asyncio.get_running_loop().create_future())
            await asyncio.shield(end)

    def forget(self, container_id: str) -> None:
        """A container was removed, or its start failed."""
        self.state.containers = [state for state in self.state.containers if state.id != container_id]
        self._container_ended(container_id)

    def close(self) -> None:
        """Let go of the supervisor."""
        self._closed = True
        if self._link is not None:
            self._link.close()
        self._drop_pidfd()
        self._end_waiting()

    def lost(self) -> None:
        """The supervisor is dead: so is the pod, and what ran in it has ended with SIGKILL's exit code."""
        self._drop_pidfd()
        self.state.alive = False
        self.state.netns_path = ""
        self._fate_known()
        self._end_waiting()
        if self.removing:
            return  # remove_sandbox killed it, and takes away what would be written here
        cgroupfs.kill_all(self._cgroups)
        for data in disk.read_container_states(self.folder):
            state = ContainerState.from_dict(data)
            if state.status != "exited":
                state.status, state.exit_code, state.signal = "exited", LOST_EXIT_CODE, 9
                state.finished_at = time.time()
                state.error = "the pod's supervisor died, and the container with it"
                wire.write_json(f"{self.folder}/containers/{state.id}/state.json", state.to_dict())
            self._store(state)
        if not self._closed:
            self._changed(self)

    def _fate_known(self) -> None:
        if self._known is not None:
            if not self._known.done():
                self._known.set_result(None)
            self._known = None

    def _end_waiting(self) -> None:
        """Whoever waits for the end of something has it."""
        for session in self._sessions.values():
            if not session.done():
                session.set_result(LOST_EXIT_CODE)
        for end in self._ends.values():
            if not end.done():
                end.set_result(None)

    def _event(self, message: dict[str, Any]) -> None:
        if "failed" in message:
            self._answer(RuntimeFailure(message["failed"]["reason"], message["failed"]["message"]))
        elif message["event"] == "ready":
            self._take_over(message)
        elif message["event"] == "container":
            state = ContainerState.from_dict(message["state"])
            self._store(state)
            if state.status == "exited":
                self._changed(self)
        elif message["event"] == "gone":
            self.forget(message["container"])
        elif message["event"] == "session":
            end = self._session(message["session"])
            if not end.done():
                end.set_result(message["exit_code"])

    def _take_over(self, message: dict[str, Any]) -> None:
        """Hear from a supervisor for the first time, or again."""
        pid = message["supervisor_pid"]
        self._drop_pidfd()
        self._pidfd = disk.open_process(pid, message["supervisor_start_ticks"])
        if self._pidfd < 0:
            self._answer(Disconnected())
            return
        asyncio.get_running_loop().add_reader(self._pidfd, self._supervisor_died)
        self.state.supervisor_pid = pid
        self.state.alive = True
        self.state.netns_path = f"/proc/{pid}/ns/net" if not self.state.spec.host_network else ""
        missed = False
        for data in message["containers"]:
            state = ContainerState.from_dict(data)
            before = self.state.container(state.id)
            missed |= before is not None and before.status != state.status
            self._store(state)
        self._reconnects = 0
        self._fate_known()
        self._answer(None)
        if missed:
            self._changed(self)

    def _store(self, state: ContainerState) -> None:
        kept = [other for other in self.state.containers if other.id != state.id]
        position = next((i for i, other in enumerate(self.state.containers) if other.id == state.id), len(kept))
        self.state.containers = [*kept[:position], state, *kept[position:]]
        if state.status == "exited":
            self._container_ended(state.id)

    def _container_ended(self, container_id: str) -> None:
        end = self._ends.pop(container_id, None)
        if end is not None and not end.done():
            end.set_result(None)

    def _disconnected(self) -> None:
        self._answer(Disconnected())
        if not self._closed and self.state.alive:
            # Mostly the process is about to end, which the pidfd tells once the pod's processes are gone too.
            asyncio.get_running_loop().call_later(RECONNECT_SECONDS, self._reconnect)

    def _reconnect(self) -> None:
        if self._closed or not self.state.alive:
            return
        self._reconnects += 1
        if self._reconnects > RECONNECTS_MAX:
            # Nothing can be done for the pod by a supervisor that nobody reaches: let it be started anew.
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            return
        try:
            self._link = Link(connect(self.folder), self._event, self._disconnected)
        except OSError:
            asyncio.get_running_loop().call_later(RECONNECT_SECONDS, self._reconnect)

    def _supervisor_died(self) -> None:
        if self._link is not None:
            link, self._link = self._link, None
            link.close()
        self.lost()

    def _drop_pidfd(self) -> None:
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _answer(self, error: Exception | None) -> None:
        if self._ready is None or self._ready.done():
            return
        if error is None:
            self._ready.set_result(None)
        else:
            self._ready.set_exception(error)

    def _session(self, session: int) -> asyncio.Future[int]:
        if session not in self._sessions:
            self._sessions[session] = asyncio.get_running_loop().create_future()
        return self._sessions[session]
