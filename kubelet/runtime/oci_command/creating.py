"""create: a container up to the wait for `start`.

Apart from lifecycle.py, since the other commands do not need what this one loads.
"""

from __future__ import annotations

import os
import signal
from _socket import socket
from pathlib import Path

from kubelet.runtime import cgroupfs, cgroups, child, launch, seccomp, terminal, wire
from kubelet.runtime import syscalls as sc
from kubelet.runtime.oci_command import bundle, first_process, hooks
from kubelet.runtime.oci_command.complaints import complain
from kubelet.runtime.oci_command.state import Failed, Record, make_directory, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from kubelet.runtime.oci_command.arguments import Arguments

START_SECONDS_MAX = 120.0
_NULL = os.makedev(1, 3)


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
            "creating": True,
            "pid": 0,
            "start_ticks": 0,
        }
        return _fork(record, plan, directory, given)
    except BaseException:
        if record.data:
            cgroupfs.remove(record.data["cgroup"]["directories"])
        record.remove()
        raise


def _plan(root: str, container_id: str, bundle_dir: str) -> tuple[dict[str, Any], dict[str, Any]]:
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
    # Written down before it is made, so that `delete --force` finds all of it when this command is killed on the way.
    record.save()
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
    record.save()
    try:
        console = _accompany(record, status, given)
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    record.data["creating"] = False
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
