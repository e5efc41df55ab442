"""One run of an OCI runtime's command line, as a child of the pod's supervisor.

The supervisor's pid namespace is not the one that the node's /proc shows, and neither the container's root nor
what is done to make it is to be seen in the node's mount table. Each run therefore gets a mount namespace that ends
with it (and lives on in the container that it made): /proc is that of the supervisor's namespace, and the
container's root is mounted in the container's folder.
"""

from __future__ import annotations

import json
import os
import signal

from kubelet.runtime import launch, mounts, wire
from kubelet.runtime import syscalls as sc
from kubelet.runtime.child import Child, status_pair

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from kubelet.runtime.loop import Loop

# A program that hangs is killed then: the kubelet would not wait any longer for its answer.
SECONDS_MAX = 100.0
LOG_BYTES_MAX = 1 << 20
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Run:
    """What is run, and where: `argv` begins with the program's path; to `log` it writes why it fails.

    `root` holds `lower_dirs` or `root_path` of a container that is being made; None leaves its root as it is.
    `shared` are the mounts of the config that propagate to the node, by their number.
    """

    def __init__(self, argv: Sequence[str], directory: str, *, log: str, cgroup_mounts: dict[str, Any]) -> None:
        self.argv = list(argv)
        self.directory = directory
        self.log = log
        self.cgroup_mounts = cgroup_mounts
        self.root: dict[str, Any] | None = None
        self.shared: dict[str, str] = {}
        self.oom_score_adj: int | None = None
        self.seconds_max = SECONDS_MAX


def start(
    loop: Loop,
    run: Run,
    stdio: Sequence[int],
    *,
    on_notice: Callable[[str], None],
    on_end: Callable[[str], None],
) -> Child:
    """Fork and execute; `on_end` hears "" once it has done its work, or why it has not."""
    status, child_status = status_pair()
    pid, pidfd = launch.fork("")
    if pid == 0:
        _become(run, stdio, child_status.fileno())
    child_status.close()

    def started(failure: dict[str, str] | None) -> None:
        for notice in child.notices:
            on_notice(notice)
        if failure is not None:
            _remove(run.log)
            on_end(failure["message"])

    def ended(wait_status: int) -> None:
        timer.cancel()
        failure = "" if wait_status == 0 else complaint(run, wait_status)
        _remove(run.log)
        on_end(failure)

    child = Child(loop, pid=pid, pidfd=pidfd, status=status, on_console=os.close, on_started=started, on_exit=ended)
    timer = loop.call_later(run.seconds_max, lambda: child.kill(signal.SIGKILL))
    return child


def complaint(run: Run, wait_status: int) -> str:
    """Why a command failed, from its log: one JSON object a line, of which the last error counts."""
    text = ""
    try:
        with open(run.log, "rb") as file:
            lines = file.read(LOG_BYTES_MAX).splitlines()
    except OSError:
        lines = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in ("error", "fatal", "panic"):
            text = str(entry.get("msg", ""))
    name = os.path.basename(run.argv[0])
    return text or f"{name} ended with {os.waitstatus_to_exitcode(wait_status)} and left no message"


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass  # there was nothing to say


def _become(run: Run, stdio: Sequence[int], status_fd: int) -> NoReturn:
    try:
        plan = {"oom_score_adj": run.oom_score_adj}
        state = launch.Launch(plan, run.directory, launch.take_descriptors(stdio, status_fd))
        steps = (
            ("isolate the mounts", lambda _: _isolate(run)),
            ("mount the root", lambda _: _mount_root(run)),
            ("execute", lambda _: _execute(run, state)),
        )
        first = () if run.oom_score_adj is None else (("set the OOM score", launch.set_oom_score),)
        launch.run_steps(state, (*first, *steps), "RunContainerError")
    finally:
        os._exit(launch.FAILED_EXIT_CODE)


def _isolate(run: Run) -> None:
    """A mount table that nothing leaves, and in which is only what the runtime should see."""
    sc.unshare(sc.CLONE_NEWNS)
    trees = {
        place: sc.open_tree(sc.AT_FDCWD, source, sc.OPEN_TREE_CLONE | sc.AT_RECURSIVE)
        for place, source in run.shared.items()
    }
    mounts.isolate_mount_propagation()
    # A copy of what is shared with the node is put in the container's folder: the rest is shared no more.
    for place, tree in trees.items():
        point = os.open(place, os.O_PATH | os.O_CLOEXEC)
        sc.move_mount(tree, point)
        os.close(point)
        os.close(tree)
    _choose_cgroups(run.cgroup_mounts["all"], run.cgroup_mounts["kept"])
    sc.mount("proc", "/proc", "proc", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC)


def _choose_cgroups(mount_points: Sequence[str], kept: dict[str, str]) -> None:
    """Show some of the mounted hierarchies, on file systems that go with this mount namespace.

    What the runtime makes beside them must not stay on the node's own.
    """
    trees = {
        point: sc.open_tree(sc.AT_FDCWD, point, sc.OPEN_TREE_CLONE | sc.AT_RECURSIVE) for point in set(kept.values())
    }
    for point in mount_points:
        sc.umount2(point, sc.MNT_DETACH)
    for parent in {os.path.dirname(point) for point in trees}:
        sc.mount("tmpfs", parent, "tmpfs", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC, "mode=755")
    for point, tree in trees.items():
        os.mkdir(point)
        fd = os.open(point, os.O_PATH | os.O_CLOEXEC)
        sc.move_mount(tree, fd)
        os.close(fd)
        os.close(tree)
    for controller, point in kept.items():
        # Controllers that share a hierarchy are found by their own names too.
        place = f"{os.path.dirname(point)}/{controller}"
        if not os.path.lexists(place):
            os.symlink(os.path.basename(point), place)


def _mount_root(run: Run) -> None:
    """The container's root file system, in its folder."""
    if run.root is None:
        return
    directory = f"{run.directory}/{run.root['name']}"
    if run.root["lower_dirs"]:
        os.close(mounts.mount_overlay(run.root["lower_dirs"], directory))
    else:
        os.close(mounts.bind_root(run.root["path"], directory))


def _execute(run: Run, state: launch.Launch) -> None:
    os.chdir(run.directory)
    wire.send(state.status, {"exec": 1})
    os.execve(run.argv[0], run.argv, {"PATH": PATH, "HOME": "/"})
