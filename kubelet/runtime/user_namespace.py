"""A pod's own users: a user namespace that owns the pod's other namespaces (user_namespaces(7)).

The ids 0 to 65535 in it are ids of the node's that nobody else has. What is root inside is nobody outside: its
capabilities hold towards the pod's own namespaces alone, and a file that it comes upon by an escape is a stranger's.
The supervisor stays a user of the node's; its children enter when they have done what takes the node's rights.
"""

from __future__ import annotations

import os
import signal

from kubelet.runtime import cgroupfs
from kubelet.runtime import syscalls as sc
from kubelet.runtime.child import host_pid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

IDS = 65536


def make(first_id: int, namespaces: int) -> int:
    """Make a user namespace and, owned by it, `namespaces`; enter these, and return a descriptor of the first.

    unshare(2) would take the calling process out of the node's users for good. So a child is cloned into all of
    them, whose ids are set from here (which takes rights over the node's ids), and is ended when they are held.
    """
    pid, pidfd = sc.clone3(sc.CLONE_NEWUSER | namespaces)
    if pid == 0:
        _wait_for_end()
    try:
        seen = host_pid(pidfd)
        for kind in ("uid", "gid"):
            cgroupfs.write(f"/proc/{seen}/{kind}_map", f"0 {first_id} {IDS}")
        descriptor = os.open(f"/proc/{seen}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        sc.setns(pidfd, namespaces)
    finally:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(pidfd)
    return descriptor


def _wait_for_end() -> NoReturn:
    while True:
        signal.pause()


def enter(descriptor: int, flags: int = sc.CLONE_NEWUSER) -> None:
    """Become root among a pod's users (setns(2), credentials(7)): from here on nothing takes the node's rights.

    `descriptor` is that of the namespace, or a pidfd of a process in it and in the others that `flags` name. The
    session keyring is made anew, since the former one is a user's of the node.
    """
    sc.setns(descriptor, flags)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    sc.join_new_session_keyring()
