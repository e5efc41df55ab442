"""What the containers of a pod share, made once by the pod's supervisor for itself: its children inherit it.

The supervisor is the first process of a pid namespace that holds the whole pod (unless the pod uses the
host's): when it dies, however that comes about, the kernel kills every process of the pod at once
(pid_namespaces(7)). Each container has a pid namespace of its own below that one, so that no container sees
the supervisor.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from _socket import AF_INET, SOCK_CLOEXEC, SOCK_DGRAM, socket

from kubelet.runtime import cgroupfs, user_namespace
from kubelet.runtime import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

SHM_BYTES = 64 * 1024 * 1024
GROUPS_MAX = 0x7FFFFFFF
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1


def enter(plan: dict[str, Any], directory: str, *, made: int = 0) -> int:
    """Make the pod's namespaces (but for those that are made already) and its cgroup around the calling process.

    Returns a descriptor of the pod's user namespace, -1 if its users are the node's.
    """
    cgroupfs.apply(plan["cgroup"])
    users_fd = -1
    if plan["first_id"]:
        users_fd = user_namespace.make(plan["first_id"], plan["namespaces"])
        prepare_network(plan["first_id"])
    else:
        make_namespaces(plan["namespaces"] & ~made)
    if plan["namespaces"] & sc.CLONE_NEWUTS:
        sc.sethostname(plan["hostname"])
        sc.setdomainname(plan["domainname"])
    for path, value in plan["sysctls"]:
        set_sysctl(path, value)
    if plan["namespaces"] & sc.CLONE_NEWIPC:
        make_shared_memory(f"{directory}/shm")
    return users_fd


def make_namespaces(flags: int) -> None:
    """unshare(2): network, IPC and host name apart from the node's."""
    if flags:
        sc.unshare(flags)
    if flags & sc.CLONE_NEWNET:
        prepare_network()


def prepare_network(first_id: int = 0) -> None:
    """What every network namespace of a pod begins with: lo is up, ports below 1024 and ping(8) take no rights.

    So do nodes with containerd: the namespace is the pod's alone, and has no port that would be trusted for its
    number. Groups are counted as the node does, and may be no others than the pod's.
    """
    set_loopback_up()
    last = first_id + user_namespace.IDS - 1 if first_id else GROUPS_MAX
    set_sysctl("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")
    set_sysctl("/proc/sys/net/ipv4/ping_group_range", f"{first_id} {last}")


def set_loopback_up() -> None:
    """A new network namespace begins with lo down (netdevice(7))."""
    control = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC)
    request = struct.pack("16sh14x", b"lo", 0)
    flags = struct.unpack("16sh14x", fcntl.ioctl(control.fileno(), _SIOCGIFFLAGS, request))[1]
    fcntl.ioctl(control.fileno(), _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", flags | _IFF_UP))
    control.close()


def set_sysctl(path: str, value: str) -> None:
    """Set a kernel parameter of the pod's own namespaces (sysctl(8)); plan.py lets no other through."""
    cgroupfs.write(path, value)


def make_shared_memory(directory: str) -> None:
    """The pod's /dev/shm: one tmpfs that all its containers bind, since they share System V IPC too.

    It is the one mount of a pod that the node's mount table shows; removing the sandbox takes it away.
    """
    os.makedirs(directory, 0o700, exist_ok=True)
    flags = sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC
    sc.mount("shm", directory, "tmpfs", flags, f"mode=1777,size={SHM_BYTES}")


def hold_process_namespace(cgroup_dirs: list[str], users_fd: int) -> NoReturn:
    """Be process 1 of a pod whose containers see each other's processes: reap orphans, and nothing else.

    The containers can see this process. It has no capability, no file of the node's (its root is an empty
    tmpfs), no descriptor, and can't be traced.
    """
    for signo in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(signo, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    os.setsid()
    for directory in cgroup_dirs:
        cgroupfs.write(f"{directory}/tasks", "0")
    sc.prctl(sc.PR_SET_PDEATHSIG, signal.SIGKILL)
    sc.unshare(sc.CLONE_NEWNS | sc.CLONE_NEWCGROUP)
    sc.mount(None, "/", None, sc.MS_REC | sc.MS_SLAVE)
    sc.mount("pause", "/proc", "tmpfs", sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC | sc.MS_RDONLY)
    os.chdir("/proc")
    sc.pivot_root(".", ".")
    sc.umount2(".", sc.MNT_DETACH)
    if users_fd >= 0:
        user_namespace.enter(users_fd)
    sc.close_range(0)
    sc.set_process_name("pause")
    sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)
    sc.capset(0, 0, 0)
    # Children of a process that ignores SIGCHLD are reaped by the kernel (sigaction(2)).
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        signal.pause()
