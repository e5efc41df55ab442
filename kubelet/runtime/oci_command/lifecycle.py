"""create, start, run, kill, delete: what a container goes through.

Source: https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#lifecycle
"""

from __future__ import annotations

import os
import select
import signal
import sys
from _socket import (
    AF_UNIX,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOCK_STREAM,
    SOL_SOCKET,
    socket,
)

from kubelet.runtime import wire
from kubelet.runtime.oci_command.complaints import complain
from kubelet.runtime.oci_command.state import Failed, NoContainer, Record, directory, remove_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kubelet.runtime.oci_command.arguments import Arguments

START_SECONDS_MAX = 120.0
DEATH_SECONDS_MAX = 10.0


def create(root: str, given: Arguments) -> int:
    """Make a container and leave it to whoever adopts its process."""
    from kubelet.runtime.oci_command import creating

    record, console, _ = creating.make(root, given)
    if console >= 0:
        try:
            send_console(given.value("console-socket"), console)
        except OSError as error:
            end(record)
            raise Failed(f"console socket: {error}") from error
    write_pid_file(given.value("pid-file"), record.data["pid"])
    return 0


def start(root: str, given: Arguments) -> int:
    """Have the first process execute its program."""
    begin(Record.load(root, given.container_id), given)
    return 0


def begin(record: Record, given: Arguments) -> None:
    """The same. Raises Failed, with why the program could not be executed."""
    status = record.status()
    if status != "created":
        what = "container that has stopped" if status == "stopped" else f"{status} container"
        raise Failed(f"cannot start a {what}")
    try:
        connection = connect(record.directory)
    except OSError as error:
        raise Failed(f"the container's process does not answer: {error.strerror}") from error
    connection.settimeout(START_SECONDS_MAX)
    failed = "the container's process was killed before it could execute its program"
    executing = False
    while True:
        try:
            message, _ = wire.receive(connection)
        except ConnectionResetError:
            message = None
        if message is None:
            break
        if "failed" in message:
            executing, failed = False, message["failed"]["message"]
        executing = executing or "exec" in message
    os.unlink(record.start_socket)
    if not executing:
        raise Failed(failed)
    run_hooks("poststart", record, record.told("running", record.data["pid"]), given)


def run_hooks(kind: str, record: Record, state: dict[str, Any], given: Arguments) -> None:
    """Hooks that come when nothing can be taken back: of what fails the specification has others told, no more."""
    if record.data["hooks"][kind]:
        from kubelet.runtime.oci_command import hooks

        try:
            hooks.run(kind, record.data["hooks"][kind], state)
        except Failed as error:
            complain(given, str(error), "warning")


def connect(place: str) -> socket:
    """Reach the process that waits. OSError when none does."""
    connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    folder = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{folder}/start")
    finally:
        os.close(folder)
    return connection


def run(root: str, given: Arguments) -> int:
    """create and start; without --detach also wait for the end, and delete."""
    from kubelet.runtime.oci_command import creating

    record, console, pidfd = creating.make(root, given)
    try:
        if console >= 0 and given.value("console-socket"):
            send_console(given.value("console-socket"), console)
            console = -1
        write_pid_file(given.value("pid-file"), record.data["pid"])
        if given.flag("detach"):
            begin(record, given)
            return 0
        from kubelet.runtime.oci_command import foreground

        foreground.pass_signals_on(pidfd)
        foreground.match_size(console)
        begin(record, given)
        code = foreground.wait(record.data["pid"], console)
    except BaseException:
        end(record)
        raise
    if not given.flag("keep"):
        remove(record, given)
    return code


def kill(root: str, given: Arguments) -> int:
    """Send the first process a signal, or all of the container's."""
    record = Record.load(root, given.container_id)
    signo = signal_number(given.rest[1] if len(given.rest) > 1 else "SIGTERM")
    if given.flag("all"):
        from kubelet.runtime import cgroupfs

        pids = [pid for pid in cgroupfs.processes(record.data["cgroup"]["processes"]) if pid > 0]
        if not pids and record.status() == "stopped":
            raise Failed("container not running")
        for pid in pids:
            try:
                os.kill(pid, signo)
            except ProcessLookupError:
                pass
        return 0
    pidfd = record.open_process()
    try:
        signal.pidfd_send_signal(pidfd, signo)
    except ProcessLookupError:
        raise Failed("container not running") from None
    return 0


def delete(root: str, given: Arguments) -> int:
    """Remove what a container that has ended leaves; with --force, or if it never started, end it before."""
    try:
        record = Record.load(root, given.container_id)
    except NoContainer:
        if not given.flag("force"):
            raise
        # What a `create` has left that was killed before it could write anything down.
        path = directory(root, given.container_id)
        if os.path.isdir(path):
            remove_directory(path)
        return 0
    status = record.status()
    if status not in ("stopped", "created") and not given.flag("force"):
        raise Failed(f"cannot delete container {record.id} that is not stopped: {status}")
    if status != "stopped":
        kill_first(record)
    remove(record, given)
    return 0


def kill_first(record: Record) -> None:
    """SIGKILL the first process and wait for its end, which is that of its pid namespace too. Raises Failed."""
    from kubelet.runtime.oci_command import resources

    try:
        pidfd = record.open_process()
    except Failed:
        return
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    resources.freeze(record, frozen=False)
    if not select.select([pidfd], [], [], DEATH_SECONDS_MAX)[0]:
        raise Failed("container init still running")


def remove(record: Record, given: Arguments) -> None:
    """Cgroups with what still runs in them, the folder; then the poststop hooks. Raises Failed."""
    from kubelet.runtime import cgroupfs

    left = cgroupfs.remove(record.data["cgroup"]["directories"])
    if left:
        raise Failed(f"cgroup {left[0]} still has processes: {cgroupfs.processes(left[0])[:5]}")
    state = record.told("stopped", 0)
    record.remove()
    run_hooks("poststop", record, state, given)


def end(record: Record) -> None:
    """A start has failed: nothing is to be left of the container."""
    from kubelet.runtime import cgroupfs

    kill_first(record)
    try:
        os.waitpid(record.data["pid"], 0)
    except ChildProcessError:
        pass  # it was waited for already
    cgroupfs.remove(record.data["cgroup"]["directories"])
    record.remove()


def send_console(path: str, master: int) -> None:
    """Give the terminal's master side to whoever listens at the engine's socket (SCM_RIGHTS, unix(7))."""
    connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    folder = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{os.path.basename(path)}")
        connection.sendmsg([b"/dev/ptmx"], [(SOL_SOCKET, SCM_RIGHTS, master.to_bytes(4, sys.byteorder))])
    finally:
        os.close(folder)
        connection.close()
        os.close(master)


def write_pid_file(path: str, pid: int) -> None:
    """The first process's number, for the engine."""
    if path:
        wire.write_file_atomically(path, str(pid).encode())


def signal_number(text: str) -> int:
    """A signal by number or name, with or without SIG. Raises Failed."""
    if text.isdigit() and 0 < int(text) < signal.NSIG:
        return int(text)
    name = text.upper()
    found = getattr(signal, name if name.startswith("SIG") else f"SIG{name}", None)
    if not isinstance(found, signal.Signals):
        raise Failed(f"unknown signal {text!r}")
    return int(found)


COMMANDS: dict[str, Callable[[str, Arguments], int]] = {
    "create": create,
    "start": start,
    "run": run,
    "kill": kill,
    "delete": delete,
}
