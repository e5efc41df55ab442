"""create, start, run, kill, delete: what a container goes through.

Source: https://github.com/opencontainers/runtime-spec/blob/main/runtime.md#lifecycle
"""

from __future__ import annotations

import os
import select
import signal
import sys
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_STREAM, SOL_SOCKET, socket

from kubelet.runtime import cgroupfs, child, launch, terminal, wire
from kubelet.runtime import syscalls as sc
from kubelet.runtime.oci_command import hooks
from kubelet.runtime.oci_command.main import complain
from kubelet.runtime.oci_command.state import Failed, NoContainer, Record, make_directory, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kubelet.runtime.oci_command.arguments import Arguments

START_SECONDS_MAX = 120.0
DEATH_SECONDS_MAX = 10.0
_NULL = os.makedev(1, 3)


def create(root: str, given: Arguments) -> int:
    """Make a container and leave it to whoever adopts its process."""
    record, console, _ = make(root, given)
    if console >= 0:
        try:
            send_console(given.value("console-socket"), console)
        except OSError as error:
            end(record)
            raise Failed(f"console socket: {error}") from error
    write_pid_file(given.value("pid-file"), record.data["pid"])
    return 0


def make(root: str, given: Arguments) -> tuple[Record, int, int]:
    """Make a container up to the wait for `start`: what is known of it, its console (or -1), and its pidfd."""
    container_id = given.container_id
    bundle_dir = os.path.abspath(given.value("bundle", "."))
    directory = make_directory(root, container_id)
    record = Record(root, container_id, {})
    try:
        plan, config = _plan(root, container_id, bundle_dir)
        if plan["tty"] and given.command == "create" and not given.value("console-socket"):
            raise Failed("cannot allocate tty if runc will detach without setting console socket")
        if given.value("console-socket") and not plan["tty"]:
            raise Failed("cannot use console socket if runc will not detach or allocate tty")
        record.data = {
            "bundle": bundle_dir,
            "rootfs": plan["root_path"],
            "created": now(),
            "annotations": config.get("annotations") or {},
            "freezer": plan["freezer"],
            "cgroup": plan["cgroup"],
            "hooks": plan["hooks"],
            "process": further_plan(plan),
            "config_process": config["process"],
        }
        return _fork(record, plan, directory, given)
    except BaseException:
        if record.data:
            cgroupfs.remove(record.data["cgroup"]["directories"])
        record.remove()
        raise


def _plan(root: str, container_id: str, bundle_dir: str) -> tuple[dict[str, Any], dict[str, Any]]:
    from pathlib import Path

    from kubelet.runtime import cgroups, seccomp
    from kubelet.runtime.oci_command import bundle

    config = bundle.read(bundle_dir)
    plan = bundle.container(
        config,
        bundle=bundle_dir,
        container_id=container_id,
        hierarchies=cgroups.present(),
        seccomp_program=seccomp.Programs(Path(root) / ".seccomp").path,
    )
    plan["join_files"] = [(bundle.namespace_flag(kind), path) for kind, path in plan["join"] if kind != "pid"]
    plan["null_fds"] = [fd for fd in range(3) if os.fstat(fd).st_rdev == _NULL]
    return plan, config


def further_plan(plan: dict[str, Any]) -> dict[str, Any]:
    """What a further process of the container has from the first."""
    return {key: plan[key] for key in ("first_id", "seccomp", "seccomp_flags", "oom_score_adj")}


def _fork(record: Record, plan: dict[str, Any], directory: str, given: Arguments) -> tuple[Record, int, int]:
    from kubelet.runtime.oci_command import first_process

    cgroupfs.apply(plan["cgroup"])
    listener = first_process.listen(directory)
    status, child_status = child.status_pair()
    status.setblocking(True)
    namespace = next((path for kind, path in plan["join"] if kind == "pid"), "")
    pid_namespace = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC) if namespace else -1
    # Whoever can be root in a container that this process enters must not get at it through /proc (CVE-2019-5736).
    sc.prctl(sc.PR_SET_DUMPABLE, 0)
    pid, pidfd = launch.fork(
        plan["cgroup"]["unified"],
        new_pid_namespace=bool(plan["make"] & sc.CLONE_NEWPID),
        join_pid_namespace=pid_namespace,
    )
    if pid == 0:
        first_process.become(
            plan, f"{directory}/rootfs", child_status.fileno(), listener.fileno(), given.number("preserve-fds")
        )
    child_status.close()
    listener.close()
    record.data.update(pid=pid, start_ticks=wire.process_start_ticks(pid))
    try:
        console = _accompany(record, status, given)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    record.save()
    if console >= 0 and plan["console_size"]:
        terminal.resize(console, plan["console_size"]["width"], plan["console_size"]["height"])
    return record, console, pidfd


def _accompany(record: Record, status: socket, given: Arguments) -> int:
    """Hear from the first process until it is ready; returns its console, or -1. Raises Failed."""
    status.settimeout(START_SECONDS_MAX)
    console = -1
    while True:
        try:
            message, fds = wire.receive(status)
        except TimeoutError:
            raise Failed(f"the container was not ready within {START_SECONDS_MAX:.0f} seconds") from None
        if message is None:
            raise Failed("the container's process was killed before it was ready (out of memory?)")
        if "notice" in message:
            complain(given, message["notice"], "warning")
        elif "console" in message:
            console = fds[0]
        elif "hooks" in message:
            state = record.told("creating", record.data["pid"])
            for kind in ("prestart", "createRuntime"):
                hooks.run(kind, record.data["hooks"][kind], state)
            wire.send(status, {"go": state}, wait=True)
        elif "failed" in message:
            raise Failed(message["failed"]["message"])
        else:
            return console


def start(root: str, given: Arguments) -> int:
    """Have the first process execute its program."""
    begin(Record.load(root, given.container_id), given)
    return 0


def begin(record: Record, given: Arguments) -> None:
    """The same. Raises Failed, with why the program could not be executed."""
    from kubelet.runtime.oci_command import first_process

    status = record.status()
    if status != "created":
        what = "container that has stopped" if status == "stopped" else f"{status} container"
        raise Failed(f"cannot start a {what}")
    try:
        connection = first_process.connect(record.directory)
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
    try:
        hooks.run("poststart", record.data["hooks"]["poststart"], record.told("running", record.data["pid"]))
    except Failed as error:
        # The specification has them told of, and nothing else done.
        complain(given, str(error), "warning")


def run(root: str, given: Arguments) -> int:
    """create and start; without --detach also wait for the end, and delete."""
    record, console, pidfd = make(root, given)
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
        if given.flag("force"):
            return 0
        raise
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
    left = cgroupfs.remove(record.data["cgroup"]["directories"])
    if left:
        raise Failed(f"cgroup {left[0]} still has processes: {cgroupfs.processes(left[0])[:5]}")
    state = record.told("stopped", 0)
    record.remove()
    try:
        hooks.run("poststop", record.data["hooks"]["poststop"], state)
    except Failed as error:
        complain(given, str(error), "warning")


def end(record: Record) -> None:
    """A start has failed: nothing is to be left of the container."""
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
