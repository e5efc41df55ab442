"""A container's first process: launch.py's steps with those that an OCI config may ask for besides.

`create` forks it; it goes through the steps up to the point where nothing but loading its filter and executing is
left, tells `create`, and waits at a socket for `start`, to which it then tells how that went.

    to create   {"notice"}, {"console"}, {"hooks"} (waits for {"go"}), {"ready"} or {"failed"}
    to start    {"failed"}, or {"exec"} and the end
"""

from __future__ import annotations

import fcntl
import os
import signal
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket

from kubelet.runtime import command, launch, sandbox, wire
from kubelet.runtime import syscalls as sc
from kubelet.runtime.oci_command import hooks

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn


FIRST_PRESERVED = 3
# Descriptors that are kept are moved up here, out of the way of those that the program is to find.
HIGH = 100


class FirstProcess(launch.Launch):
    """What the steps share; `told` is the state that hooks in the container get."""

    def __init__(
        self, plan: dict[str, Any], directory: str, status: socket, listener: socket, preserved: Sequence[int]
    ) -> None:
        super().__init__(plan, directory, status)
        self.listener = listener
        self.preserved = preserved
        self.told: dict[str, Any] = {}


def become(plan: dict[str, Any], directory: str, status_fd: int, listener_fd: int, preserved: int) -> NoReturn:
    """Run the steps in a freshly forked child; never returns. `preserved` descriptors from 3 on go to the program."""
    try:
        for signo in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
            signal.signal(signo, signal.SIG_DFL)
        sc.set_process_name(NAME)
        kept = [_moved_up(fd) for fd in (status_fd, listener_fd)]
        passed_on = [_moved_up(fd) for fd in range(FIRST_PRESERVED, FIRST_PRESERVED + preserved)]
        last = max(*kept, *passed_on, HIGH)
        sc.close_range(FIRST_PRESERVED, HIGH - 1)
        sc.close_range(last + 1)
        status, listener = (socket(fileno=fd) for fd in kept)
        first = FirstProcess(plan, directory, status, listener, passed_on)
        launch.run_steps(first, STEPS, "CreateContainerError")
    finally:
        os._exit(launch.FAILED_EXIT_CODE)


NAME = "wherry:[init]"


def _moved_up(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, HIGH)


def listen(directory: str) -> socket:
    """The socket at which the process waits; its path is given through a descriptor, as sun_path is short."""
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{folder}/start")
        listener.listen(1)
    finally:
        os.close(folder)
    return listener


# The steps that launch.py does not have.


def enter_namespaces(first: FirstProcess) -> None:
    """Those that are there already (setns(2)), then new ones (unshare(2)); that of processes came with the fork."""
    for flag, path in first.plan["join_files"]:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        sc.setns(fd, flag)
        os.close(fd)
    wanted = first.plan["make"] & ~sc.CLONE_NEWPID
    if wanted:
        sc.unshare(wanted)
    if wanted & sc.CLONE_NEWNET:
        sandbox.set_loopback_up()
    if first.plan["hostname"]:
        sc.sethostname(first.plan["hostname"])
    if first.plan["domainname"]:
        sc.setdomainname(first.plan["domainname"])


def set_sysctls(first: FirstProcess) -> None:
    """Kernel parameters of the container's namespaces (sysctl(8)), while the node's /proc is there to write to."""
    for path, value in first.plan["sysctls"]:
        sandbox.set_sysctl(path, value)


def run_creation_hooks(first: FirstProcess) -> None:
    """prestart and createRuntime where `create` is, createContainer here, all before the root changes."""
    wire.send(first.status, {"hooks": 1})
    answer, _ = wire.receive(first.status)
    if answer is None:
        raise OSError(0, "the command that creates the container is gone")
    first.told = answer["go"]
    hooks.run("createContainer", first.plan["hooks"]["createContainer"], first.told)


def propagate(first: FirstProcess) -> None:
    """What the root's mount is to later ones (mount_namespaces(7)): linux.rootfsPropagation."""
    if first.plan["propagation"]:
        sc.mount(None, "/", None, first.plan["propagation"])


def wait_for_start(first: FirstProcess) -> None:
    """Tell `create` that all is ready, if there is something to execute, and wait for `start`.

    Capabilities are still held: the filter may need one to be loaded, and could refuse the waiting itself.
    """
    environment = command.environment(first.plan["env"], first.plan["uid"])
    command.find_executable(first.plan["argv"][0], environment.get("PATH", ""))
    wire.send(first.status, {"ready": 1})
    first.status.close()
    fd, _ = first.listener._accept()  # type: ignore[attr-defined]
    first.listener.close()
    first.status = socket(fileno=_moved_up(fd))
    os.close(fd)


def run_start_hooks(first: FirstProcess) -> None:
    """startContainer hooks: in the container and as its user, before its program."""
    hooks.run("startContainer", first.plan["hooks"]["startContainer"], {**first.told, "status": "created"})


def pass_descriptors_on(first: FirstProcess) -> None:
    """Those that the engine wants the program to find, from 3 on."""
    for number, fd in enumerate(first.preserved):
        os.dup2(fd, FIRST_PRESERVED + number, inheritable=True)


_INSTEAD: dict[str, tuple[tuple[str, Any], ...]] = {
    "isolate the mounts": (
        ("enter the namespaces", enter_namespaces),
        ("set the kernel parameters", set_sysctls),
        ("isolate the mounts", launch.isolate_mounts),
    ),
    "change the root": (
        ("run the hooks", run_creation_hooks),
        ("change the root", launch.change_root),
        ("propagate mounts", propagate),
    ),
    # Whoever called `create` outlives it, and decides what becomes of the container.
    "tie to the supervisor": (("wait for the start", wait_for_start),),
    "execute": (
        ("run the hooks", run_start_hooks),
        ("pass descriptors on", pass_descriptors_on),
        ("execute", launch.execute),
    ),
}
STEPS = tuple(instead for name, step in launch.STEPS for instead in _INSTEAD.get(name, ((name, step),)))
