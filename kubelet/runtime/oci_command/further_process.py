"""exec: a process that joins a container, by the steps that it has in a pod (launch.py, JOIN_STEPS).

Source: runc-exec(8)
"""

from __future__ import annotations

import json
import os
import signal

from kubelet.runtime import child, launch, wire
from kubelet.runtime import syscalls as sc
from kubelet.runtime.oci_command import foreground
from kubelet.runtime.oci_command.complaints import complain
from kubelet.runtime.oci_command.lifecycle import send_console, write_pid_file
from kubelet.runtime.oci_command.state import Failed, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, NoReturn

    from kubelet.runtime.launch import Launch
    from kubelet.runtime.oci_command.arguments import Arguments

START_SECONDS_MAX = 120.0
_NULL = os.makedev(1, 3)


def run(root: str, given: Arguments) -> int:
    """Run a process in a container, and wait for its end unless it is detached."""
    record = Record.load(root, given.container_id)
    status = record.status()
    if status == "stopped":
        raise Failed("cannot exec in a stopped container")
    if status == "paused" and not given.flag("ignore-paused"):
        raise Failed("cannot exec in a paused container (use --ignore-paused to override)")
    if given.number("preserve-fds"):
        raise Failed("exec: --preserve-fds is not supported")
    plan = _plan(record, given)
    pid, pidfd, console = _fork(record, plan, given)
    try:
        if console >= 0 and given.value("console-socket"):
            send_console(given.value("console-socket"), console)
            console = -1
        write_pid_file(given.value("pid-file"), pid)
    except OSError:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        raise
    if given.flag("detach"):
        return 0
    return foreground.wait(pid, console)


def process(first: Mapping[str, Any], given: Arguments) -> dict[str, Any]:
    """OCI `process`: from --process, or the first one's with what the options say otherwise. Raises Failed."""
    if given.value("process"):
        with open(given.value("process"), "rb") as file:
            try:
                wanted: dict[str, Any] = json.load(file)
            except ValueError as error:
                raise Failed(f"{given.value('process')}: {error}") from error
        return wanted
    wanted = {**first, "args": given.rest[1:], "terminal": given.flag("tty")}
    if given.value("cwd"):
        wanted["cwd"] = given.value("cwd")
    wanted["env"] = [*(first.get("env") or ()), *given.values("env")]
    if given.flag("no-new-privs"):
        wanted["noNewPrivileges"] = True
    user = dict(first.get("user") or {})
    if given.value("user"):
        uid, _, gid = given.value("user").partition(":")
        if not uid.isdigit() or (gid and not gid.isdigit()):
            raise Failed(f"parsing {given.value('user')!r}: users and groups are given by number")
        user.update(uid=int(uid), **({"gid": int(gid)} if gid else {}))
    if given.values("additional-gids"):
        user["additionalGids"] = [*(user.get("additionalGids") or ()), *map(int, given.values("additional-gids"))]
    wanted["user"] = user
    if given.values("cap"):
        sets = dict(first.get("capabilities") or {})
        for name in ("bounding", "effective", "permitted"):
            sets[name] = [*(sets.get(name) or ()), *given.values("cap")]
        wanted["capabilities"] = sets
    return wanted


def _plan(record: Record, given: Arguments) -> dict[str, Any]:
    from kubelet.runtime import plan
    from kubelet.runtime.api import RuntimeFailure

    wanted = process(record.data["config_process"], given)
    tty = bool(wanted.get("terminal")) or given.flag("tty")
    if given.flag("detach") and tty and not given.value("console-socket"):
        raise Failed("cannot allocate tty if runc will detach without setting console socket")
    try:
        planned = plan.process(wanted, tty=tty)
    except RuntimeFailure as refused:
        raise Failed(refused.message) from refused
    found = {**record.data["process"], **planned, "cgroup": record.data["cgroup"]}
    if wanted.get("oomScoreAdj") is None:
        found["oom_score_adj"] = record.data["process"]["oom_score_adj"]
    found["null_fds"] = [fd for fd in range(3) if os.fstat(fd).st_rdev == _NULL]
    return found


def _fork(record: Record, plan: dict[str, Any], given: Arguments) -> tuple[int, int, int]:
    """The process's number, its pidfd, and its console or -1. Raises Failed."""
    target = record.open_process()
    sc.prctl(sc.PR_SET_DUMPABLE, 0)  # see creating.py
    status, child_status = child.status_pair()
    status.setblocking(True)
    pid, pidfd = launch.fork(plan["cgroup"]["unified"], join_pid_namespace=target)
    if pid == 0:
        _become(plan, child_status.fileno(), target)
    child_status.close()
    if not given.flag("detach"):
        foreground.pass_signals_on(pidfd)
    status.settimeout(START_SECONDS_MAX)
    console = -1
    while True:
        try:
            message, fds = wire.receive(status)
        except TimeoutError:
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            raise Failed("the process did not start in time") from None
        if message is None:
            return pid, pidfd, console
        if "notice" in message:
            complain(given, message["notice"], "warning")
        elif "console" in message:
            console = fds[0]
            if not given.flag("detach"):
                foreground.match_size(console)
        elif "failed" in message:
            os.waitpid(pid, 0)
            raise Failed(f"exec failed: {message['failed']['message']}")


def _become(plan: dict[str, Any], status_fd: int, target: int) -> NoReturn:
    try:
        descriptors = launch.take_descriptors((0, 1, 2), status_fd, target)
        launch.run_steps(launch.Launch(plan, "", descriptors), STEPS, "ExecError")
    finally:
        os._exit(launch.FAILED_EXIT_CODE)


def enter_namespaces(_launch: Launch) -> None:
    """The network, IPC and host name of the container: here there is no supervisor that would have them already."""
    sc.setns(launch.TARGET_FD, sc.CLONE_NEWNET | sc.CLONE_NEWIPC | sc.CLONE_NEWUTS)


_INSTEAD: dict[str, tuple[tuple[str, Any], ...]] = {
    "enter the container": (
        ("enter the namespaces", enter_namespaces),
        ("enter the container", launch.enter_container),
    ),
    # Detached, it outlives the command.
    "tie to the supervisor": (),
}
STEPS = tuple(instead for name, step in launch.JOIN_STEPS for instead in _INSTEAD.get(name, ((name, step),)))
