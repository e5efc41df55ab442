"""How a process becomes a container: the kernel steps from clone3(2) to execve(2), top to bottom.

The supervisor forks (see `fork`) and its child goes through `STEPS` in order. Each step is a few system
calls, with the reason and the man page beside it. What to do stands in the plan that the kubelet made from
the OCI config (plan.py); nothing is decided here. The child tells the supervisor over a socket how it went:

    {"notice": text}                    something that this host can't do, and that was done without
    {"console": 1} + descriptor         the terminal's master side
    {"failed": {reason, message}}       the last word of a child that gives up
    {"exec": 1}, then end of stream     execve succeeded: the socket is close-on-exec
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import sys
from _socket import socket

from kubelet.runtime import cgroupfs, command, credentials, idmapped, mounts, terminal, user_namespace, wire
from kubelet.runtime import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

STATUS_FD = 3
TARGET_FD = 4
FAILED_EXIT_CODE = 128


class Launch:
    """What the steps of one start share."""

    def __init__(self, plan: dict[str, Any], directory: str, status: socket) -> None:
        self.plan = plan
        self.directory = directory
        self.status = status
        self.root_fd = -1
        self.terminal_fd = -1
        self.trees: dict[int, int] = {}
        self.device_trees: list[int] = []
        self.filter = b""
        self.proc_device = -1

    def notice(self, text: str) -> None:
        """Say what could not be done as asked."""
        wire.send(self.status, {"notice": text})


def fork(cgroup_dir: str, *, new_pid_namespace: bool = False, join_pid_namespace: int = -1) -> tuple[int, int]:
    """clone3(2) into a cgroup (v2), in a pid namespace of its own or in one that a pidfd or file names.

    Returns pid and pidfd, or (0, -1) in the child. A setns(2) to a pid namespace is good for children only,
    so that the parent takes it for the moment of the fork and then goes back.
    """
    cgroup_fd = os.open(cgroup_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if cgroup_dir else -1
    home = -1
    try:
        if join_pid_namespace >= 0:
            home = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
            sc.setns(join_pid_namespace, sc.CLONE_NEWPID)
        pid, pidfd = sc.clone3(sc.CLONE_NEWPID if new_pid_namespace else 0, cgroup_fd=cgroup_fd)
    except OSError:
        _close_after_fork(cgroup_fd, home)
        raise
    if pid:
        _close_after_fork(cgroup_fd, home)
    # The child can't go back to the namespace above its own, and take_descriptors() closes what it has open.
    return pid, pidfd


def _close_after_fork(cgroup_fd: int, home: int) -> None:
    if cgroup_fd >= 0:
        os.close(cgroup_fd)
    if home >= 0:
        sc.setns(home, sc.CLONE_NEWPID)
        os.close(home)


def become_container(plan: dict[str, Any], directory: str, stdio: Sequence[int], status_fd: int) -> NoReturn:
    """Run the steps in a freshly forked child; never returns."""
    try:
        import_nothing_more()
        launch = Launch(plan, directory, take_descriptors(stdio, status_fd, plan["users_fd"]))
        run_steps(launch, STEPS_WITH_OWN_USERS if plan["first_id"] else STEPS, "CreateContainerError")
    finally:
        os._exit(FAILED_EXIT_CODE)


def join_container(plan: dict[str, Any], stdio: Sequence[int], status_fd: int, target_pidfd: int) -> NoReturn:
    """Run the steps of an exec in a freshly forked child that is in the container's pid namespace already."""
    try:
        import_nothing_more()
        launch = Launch(plan, "", take_descriptors(stdio, status_fd, target_pidfd))
        run_steps(launch, JOIN_STEPS, "ExecError")
    finally:
        os._exit(FAILED_EXIT_CODE)


def run_steps(launch: Launch, steps: Sequence[tuple[str, Any]], reason: str) -> None:
    """Go through the steps, of which the last does not return; what fails is reported with the step's name."""
    doing = "start"
    try:
        for name, step in steps:
            doing = name
            step(launch)
    except command.NotRunnable as error:
        failed = {"reason": "RunContainerError", "message": f"unable to start container process: {error}"}
    except MemoryError:
        failed = {"reason": reason, "message": f"{doing}: out of memory"}
    except Exception as error:  # noqa: BLE001 - whatever it is, it has to reach the supervisor
        failed = {"reason": reason, "message": f"{doing}: {describe(error)}"}
    wire.send(launch.status, {"failed": failed})


def describe(error: Exception) -> str:
    """An exception in words for a pod's status."""
    if isinstance(error, OSError) and error.strerror:
        named = isinstance(error.filename, (str, bytes))
        return f"{os.fsdecode(error.filename)}: {error.strerror}" if named else error.strerror
    return f"{type(error).__name__}: {error}"


def import_nothing_more() -> None:
    """What Python loaded from here on it would find in the container, and run with the rights of the node."""
    sys.path.clear()
    sys.meta_path.clear()
    sys.path_hooks.clear()


def take_descriptors(stdio: Sequence[int], status_fd: int, target_fd: int = -1) -> socket:
    """Keep standard input, output and error, the status socket and `target_fd`; close everything else at once.

    What isn't open can't leak into the container, nor be used by it while it shares the pid namespace with
    a child that is not there yet (CVE-2016-9962, CVE-2024-21626).
    """
    for signo in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
        signal.signal(signo, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    for target, fd in enumerate(stdio):
        os.dup2(fd, target, inheritable=True)
    if target_fd >= 0:
        # By way of a number that is above all others, since either may be in the other's place.
        target_fd = fcntl.fcntl(target_fd, fcntl.F_DUPFD_CLOEXEC, TARGET_FD + 1)
    os.dup2(status_fd, STATUS_FD, inheritable=False)
    if target_fd >= 0:
        os.dup2(target_fd, TARGET_FD, inheritable=False)
    sc.close_range(STATUS_FD + 1 if target_fd < 0 else TARGET_FD + 1)
    return socket(fileno=STATUS_FD)


# The steps, in the order of STEPS at the end.


def start_session(launch: Launch) -> None:
    """No terminal, process group or session keyring of the node's (setsid(2), session-keyring(7))."""
    os.setsid()
    sc.join_new_session_keyring()


def give_pipes(launch: Launch) -> None:
    """The standard streams are the user's: else /dev/stdout (/proc/self/fd/1) could not be opened by it."""
    first_id = launch.plan["first_id"]
    uid, gid = first_id + launch.plan["uid"], first_id + launch.plan["gid"]
    for fd in range(3):
        status = os.fstat(fd)
        if stat.S_ISFIFO(status.st_mode) and status.st_uid != uid:
            os.fchown(fd, uid, gid)


def read_seccomp(launch: Launch) -> None:
    """The compiled filter is a file of the node's, which is out of reach later."""
    if launch.plan["seccomp"]:
        with open(launch.plan["seccomp"], "rb") as file:
            launch.filter = file.read()


def set_oom_score(launch: Launch) -> None:
    """Whom the kernel kills first when memory runs out (proc_pid_oom_score_adj(5)).

    Lowering it below where it is takes CAP_SYS_RESOURCE, which some hosts keep even from root.
    """
    wanted = launch.plan["oom_score_adj"]
    if str(wanted) == cgroupfs.read("/proc/self/oom_score_adj").strip():
        return
    try:
        cgroupfs.write("/proc/self/oom_score_adj", str(wanted))
    except PermissionError:
        launch.notice(f"oom_score_adj {wanted} was not set: CAP_SYS_RESOURCE is missing on this node")


def join_cgroups(launch: Launch) -> None:
    """Be counted and limited from here on (cgroups(7)); what follows is on the container's account.

    Writing "0" to `tasks` moves this single thread and needs no kernel-wide lock; the same through
    `cgroup.procs` waits up to 13 ms for it. On cgroup v2 clone3 has put us in already.
    """
    for directory in launch.plan["cgroup"]["join"]:
        cgroupfs.write(f"{directory}/tasks", "0")


def isolate_mounts(launch: Launch) -> None:
    """A mount table of our own (mount_namespaces(7)), cgroups that begin at ours (cgroup_namespaces(7)).

    Volumes that propagate to the node (Bidirectional) are picked up before the rest is cut loose.
    """
    # With users of its own the pod's cgroup namespace is made later, by its root; an OCI config may want none.
    without = launch.plan["first_id"] or launch.plan.get("node_cgroups")
    sc.unshare(sc.CLONE_NEWNS if without else sc.CLONE_NEWNS | sc.CLONE_NEWCGROUP)
    for index, entry in enumerate(launch.plan["mounts"]):
        if entry["kind"] == "bind" and entry["propagation"] == sc.MS_SHARED:
            launch.trees[index] = mounts.clone_tree(entry)
    mounts.isolate_mount_propagation()


def enter_container(launch: Launch) -> None:
    """The mounts (and with them the root) and the cgroups of the container's first process (setns(2)), and its users.

    Its network, IPC and host name are the pod's, and so the supervisor's.
    """
    if launch.plan["first_id"]:
        user_namespace.enter(TARGET_FD, sc.CLONE_NEWUSER | sc.CLONE_NEWNS | sc.CLONE_NEWCGROUP)
    else:
        sc.setns(TARGET_FD, sc.CLONE_NEWNS | sc.CLONE_NEWCGROUP)
    os.close(TARGET_FD)
    launch.root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def make_root(launch: Launch) -> None:
    """The image's layers, read-only, under a writable one (overlayfs, Documentation/filesystems/overlayfs.rst)."""
    plan = launch.plan
    if plan["lower_dirs"]:
        launch.root_fd = mounts.mount_overlay(plan["lower_dirs"], launch.directory)
    else:
        launch.root_fd = mounts.bind_root(plan["root_path"], launch.directory)


def make_mapped_root(launch: Launch) -> None:
    """The same, shown to the pod's users as theirs (idmapped mounts, mount_setattr(2))."""
    plan = launch.plan
    if plan["lower_dirs"]:
        launch.root_fd = idmapped.mount_overlay(plan["lower_dirs"], launch.directory, TARGET_FD)
    else:
        launch.root_fd = idmapped.bind_root(plan["root_path"], launch.directory, TARGET_FD)


def prepare_mounts(launch: Launch) -> None:
    """What takes the node's rights to be mounted, attached to nothing yet: volumes, /proc and its kin, devices."""
    for index, entry in enumerate(launch.plan["mounts"]):
        with Naming(entry):
            if entry["kind"] == "bind":
                launch.trees[index] = idmapped.prepare_tree(launch.trees.get(index, -1), entry, TARGET_FD)
            elif entry["kind"] == "filesystem" and entry["type"] in idmapped.KERNELS_OWN:
                launch.trees[index] = idmapped.prepare_filesystem(entry)
    for device in launch.plan["devices"]:
        launch.device_trees.append(sc.open_tree(sc.AT_FDCWD, device["path"], sc.OPEN_TREE_CLONE))


def enter_users(launch: Launch) -> None:
    """Become root among the pod's users, with mounts and cgroups that are theirs (user_namespaces(7))."""
    os.fchdir(launch.root_fd)
    os.close(launch.root_fd)
    user_namespace.enter(TARGET_FD)
    os.close(TARGET_FD)
    sc.unshare(sc.CLONE_NEWNS | sc.CLONE_NEWCGROUP)
    launch.root_fd = idmapped.own_root()


def attach_mounts(launch: Launch) -> None:
    """What was prepared and what the pod's own root may mount, in the config's order."""
    for index, entry in enumerate(launch.plan["mounts"]):
        with Naming(entry):
            if entry["kind"] == "cgroup":
                mounts.mount_cgroups(launch.root_fd, entry, entry["hierarchies"])
            elif index not in launch.trees:
                mounts.mount_filesystem(launch.root_fd, entry)
            else:
                mounts.attach_tree(launch.root_fd, launch.trees[index], entry, launch.proc_device)
                os.close(launch.trees[index])
                if entry.get("type") == "proc":
                    launch.proc_device = mounts.device_of(launch.root_fd, entry["destination"])


def attach_devices(launch: Launch) -> None:
    """The node's own devices, bound: none that is made in a user namespace could be used (mknod(2))."""
    idmapped.attach_devices(launch.root_fd, launch.plan["devices"], launch.device_trees)


def make_mounts(launch: Launch) -> None:
    """/proc, /dev, /sys, volumes, in the config's order: later ones may lie on earlier ones (mount(2))."""
    for index, entry in enumerate(launch.plan["mounts"]):
        with Naming(entry):
            if index in launch.trees:
                mounts.configure_tree(launch.trees[index], entry)
                mounts.attach_tree(launch.root_fd, launch.trees[index], entry, launch.proc_device)
                os.close(launch.trees[index])
            elif entry["kind"] == "bind":
                mounts.bind_mount(launch.root_fd, entry, launch.proc_device)
            elif entry["kind"] == "cgroup":
                mounts.mount_cgroups(launch.root_fd, entry, entry["hierarchies"])
            else:
                mounts.mount_filesystem(launch.root_fd, entry)
                if entry["type"] == "proc":
                    launch.proc_device = mounts.device_of(launch.root_fd, entry["destination"])


class Naming:
    """Have what fails name the mount that it is about."""

    def __init__(self, entry: dict[str, Any]) -> None:
        self._entry = entry

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            where = f"{self._entry.get('source', '')} at {self._entry['destination']}"
            raise OSError(error.errno, f"{where}: {error.strerror}") from None


def make_devices(launch: Launch) -> None:
    """/dev/null and its kin (mknod(2)); no device of the node's beyond what the config names."""
    mounts.create_devices(launch.root_fd, launch.plan["devices"])


def open_terminal(launch: Launch) -> None:
    """A terminal in the container's own devpts (pty(7)); the supervisor gets the master side."""
    if not launch.plan["tty"]:
        return
    master, slave = terminal.open_in_container(launch.root_fd)
    if launch.directory:
        mounts.bind_console(launch.root_fd, slave, launch.proc_device)
    wire.send(launch.status, {"console": 1}, [master])
    os.close(master)
    launch.terminal_fd = slave


def hide_host(launch: Launch) -> None:
    """Cover what tells about or tunes the node in /proc and /sys (proc(5), sysfs(5))."""
    mounts.mask_paths(launch.root_fd, launch.plan["masked_paths"])
    mounts.make_paths_readonly(launch.root_fd, launch.plan["readonly_paths"])


def make_working_directory(launch: Launch) -> None:
    """The working directory is made when the image has none, as Docker does."""
    os.close(mounts.open_mount_point(launch.root_fd, launch.plan["cwd"], directory=True))


def change_root(launch: Launch) -> None:
    """The node's file system is gone from here on (pivot_root(2))."""
    mounts.pivot_root(launch.root_fd, readonly=launch.plan["readonly_root"])
    os.close(launch.root_fd)


def set_standard_streams(launch: Launch) -> None:
    """Nothing of the node's stays open: /dev/null is opened anew inside.

    The node's own could be chmod'ed through the descriptor. The container may have put something else there, such as
    a link to what only the rights that this process still has can open, or a pipe on which it would wait for ever.
    """
    if launch.terminal_fd >= 0:
        terminal.take(launch.terminal_fd, launch.plan["uid"])
        return
    if launch.plan["null_fds"]:
        null = os.open("/dev/null", os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW)
        mounts.refuse_other_than_null(null)
        os.set_blocking(null, True)
        for fd in launch.plan["null_fds"]:
            os.dup2(null, fd, inheritable=True)
        os.close(null)


def set_resource_limits(launch: Launch) -> None:
    """setrlimit(2), before the right to raise a limit is given up."""
    credentials.set_resource_limits(launch.plan["rlimits"], launch.notice)


def enter_working_directory(launch: Launch) -> None:
    """chdir(2), and a look whether that led out of the root (CVE-2024-21626)."""
    os.chdir(launch.plan["cwd"])
    if not os.getcwd().startswith("/"):
        raise OSError(errno.EACCES, f"working directory {launch.plan['cwd']} is outside the container")


def switch_user(launch: Launch) -> None:
    """User, groups and the bounding set of capabilities; capabilities themselves stay until the end."""
    credentials.switch_user(launch.plan)
    if launch.plan["umask"] is not None:
        os.umask(launch.plan["umask"])


def die_with_supervisor(launch: Launch) -> None:
    """SIGKILL when the supervisor dies (PR_SET_PDEATHSIG, prctl(2)); a change of user would clear it.

    The pod's outer pid namespace does the same for all processes; this is for pods with the host's.
    """
    sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)


def load_seccomp(launch: Launch) -> None:
    """The system calls that exploits of the kernel need and programs don't are refused (seccomp(2)).

    Without no_new_privs that takes CAP_SYS_ADMIN, which the next step may drop.
    """
    if launch.plan["no_new_privileges"]:
        sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    if launch.filter:
        sc.seccomp_set_filter(launch.filter, launch.plan["seccomp_flags"])


def drop_capabilities(launch: Launch) -> None:
    """Keep only the capabilities that the config names (capabilities(7))."""
    credentials.set_capabilities(launch.plan["capabilities"])


def execute(launch: Launch) -> None:
    """execve(2); every descriptor but the three standard ones is close-on-exec by now."""
    plan = launch.plan
    environment = command.environment(plan["env"], plan["uid"])
    path = command.find_executable(plan["argv"][0], environment.get("PATH", ""))
    wire.send(launch.status, {"exec": 1})
    try:
        os.execve(path, plan["argv"], environment)
    except OSError as error:
        raise command.NotRunnable(f'exec: "{plan["argv"][0]}": {command.reason_of(error)}') from None


STEPS = (
    ("start a session", start_session),
    ("give the pipes to the user", give_pipes),
    ("read the seccomp filter", read_seccomp),
    ("set the OOM score", set_oom_score),
    ("join the cgroups", join_cgroups),
    ("isolate the mounts", isolate_mounts),
    ("mount the root", make_root),
    ("mount", make_mounts),
    ("make the devices", make_devices),
    ("open the terminal", open_terminal),
    ("hide the host", hide_host),
    ("make the working directory", make_working_directory),
    ("change the root", change_root),
    ("set the standard streams", set_standard_streams),
    ("set the resource limits", set_resource_limits),
    ("enter the working directory", enter_working_directory),
    ("switch the user", switch_user),
    ("tie to the supervisor", die_with_supervisor),
    ("load the seccomp filter", load_seccomp),
    ("drop capabilities", drop_capabilities),
    ("execute", execute),
)
_OWN_USERS: dict[str, tuple[tuple[str, Any], ...]] = {
    "mount the root": (
        ("mount the root", make_mapped_root),
        ("prepare to mount", prepare_mounts),
        ("enter the pod's users", enter_users),
    ),
    "mount": (("mount", attach_mounts),),
    "make the devices": (("make the devices", attach_devices),),
}
STEPS_WITH_OWN_USERS = tuple(instead for name, step in STEPS for instead in _OWN_USERS.get(name, ((name, step),)))
JOIN_STEPS = (
    ("start a session", start_session),
    ("give the pipes to the user", give_pipes),
    ("read the seccomp filter", read_seccomp),
    ("set the OOM score", set_oom_score),
    ("join the cgroups", join_cgroups),
    ("enter the container", enter_container),
    ("open the terminal", open_terminal),
    ("set the standard streams", set_standard_streams),
    ("set the resource limits", set_resource_limits),
    ("enter the working directory", enter_working_directory),
    ("switch the user", switch_user),
    ("tie to the supervisor", die_with_supervisor),
    ("load the seccomp filter", load_seccomp),
    ("drop capabilities", drop_capabilities),
    ("execute", execute),
)
