"""Tries to get out of a container, from inside: run there as `python3 -c SOURCE ARGUMENTS` with nothing but Python.

Prints a JSON object: for each technique the name of the errno that it met, "done" if it met none, or what it found.
The argument is a JSON object too: what the test knows of the node and of other pods, as an attacker might.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

Technique = Callable[[], object]

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.syscall.restype = ctypes.c_long
# numbers: of system calls; pids: of processes outside, by whose they are; the rest: paths, names and ports outside.
KNOWN: dict[str, Any] = json.loads(sys.argv[1])
NEW = {
    **{"mount": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "user": 0x10000000},
    **{"pid": 0x20000000, "net": 0x40000000, "time": 0x80},
}
SIGCHLD = 17


def call(name: str, *arguments: Any) -> int:
    """A system call; OSError with the kernel's errno."""
    ctypes.set_errno(0)
    given = [text.encode() + b"\0" if isinstance(text, str) else text for text in arguments]
    given = [ctypes.c_long(number) if isinstance(number, int) else number for number in given]
    result = int(LIBC.syscall(ctypes.c_long(KNOWN["numbers"][name]), *given))
    if result == -1:
        raise OSError(ctypes.get_errno(), name)
    return result


def mount(source: str, kind: str, target: str = "/mnt", flags: int = 0, data: str | int = 0) -> None:
    """mount(2)."""
    call("mount", source, target, kind, flags, data)


def open_for(path: str, flags: int) -> None:
    """Open a file as if to use it: where that is refused, nothing has to be written to see it."""
    os.close(os.open(path, flags))


def read(path: str) -> str:
    """The beginning of a file."""
    with open(path, "rb") as file:
        return file.read(1 << 20).decode(errors="replace")


def clone(flags: int) -> None:
    """clone(2) as fork(2), with namespaces."""
    if call("clone", flags | SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)
    os.wait()


def make_and_open(kind: int, major: int, minor: int) -> None:
    """mknod(2) where that may be, and open what it made."""
    path = Path("/volume/device")
    os.mknod(path, kind | 0o666, os.makedev(major, minor))
    try:
        open_for(str(path), os.O_RDWR)
    finally:
        path.unlink()


def shocker() -> None:
    """A handle of the root of the file system below a volume, guessed: its inode is number 2."""
    handle = ctypes.create_string_buffer(struct.pack("=IiII", 8, 1, 2, 0))
    folder = os.open("/etc/hosts", os.O_RDONLY)
    os.close(call("open_by_handle_at", folder, handle, os.O_RDONLY))


def connect(family: int, address: Any, kind: int = socket.SOCK_STREAM) -> None:
    """Connect, if somebody is there."""
    with socket.socket(family, kind) as made:
        made.settimeout(5)
        made.connect(address)


def found_below(*folders: str) -> str:
    """By which of these ways a file of the node's may be reached."""
    seen = [folder for folder in folders if Path(f"{folder}{KNOWN['secret']}").exists()]
    if seen:
        return f"reached by {seen}"
    raise OSError(errno.ENOENT, "secret")


def ioctl_terminal(number: int, argument: bytes) -> None:
    """An ioctl(2) on the controlling terminal."""
    fcntl.ioctl(os.open("/dev/tty", os.O_RDWR), number, argument)


def open_files() -> dict[str, str]:
    """What is open, by number, but for the folder that is being read."""
    found = {}
    for number in os.listdir("/proc/self/fd"):
        try:
            found[number] = str(Path(f"/proc/self/fd/{number}").readlink()).partition(":")[0]
        except FileNotFoundError:
            continue
    return found


def processes() -> list[str]:
    """Processes other than this one."""
    return [name for name in os.listdir("/proc") if name.isdigit() and int(name) != os.getpid()]


def status(*names: str) -> dict[str, str]:
    """Lines of /proc/self/status."""
    lines = dict(line.split(":\t", 1) for line in read("/proc/self/status").splitlines() if ":\t" in line)
    return {name: lines.get(name, "") for name in names}


OPENED = open_files()
buffer = ctypes.create_string_buffer(256)
vector = struct.pack("=QQ", ctypes.addressof(buffer), 256)
MOUNTS: dict[str, Technique] = {
    "proc": lambda: mount("proc", "proc"),
    "sysfs": lambda: mount("sysfs", "sysfs"),
    "cgroup": lambda: mount("cgroup", "cgroup", data="memory"),
    "cgroup rdma, as in the release_agent exploit": lambda: mount("cgroup", "cgroup", data="rdma"),
    "cgroup2": lambda: mount("none", "cgroup2"),
    "tmpfs": lambda: mount("none", "tmpfs"),
    "binfmt_misc": lambda: mount("none", "binfmt_misc"),
    "debugfs": lambda: mount("none", "debugfs"),
    "devtmpfs": lambda: mount("none", "devtmpfs"),
    "a disk": lambda: mount("/dev/vda", "ext4"),
    "a bind": lambda: mount("/etc", "none", flags=4096),
    "a writable /proc/sys": lambda: mount("none", "none", "/proc/sys", 32 | 4096),
    "a writable /sys": lambda: mount("none", "none", "/sys", 32),
    "shared propagation": lambda: mount("none", "none", "/", 1 << 20),
    "uncovering /proc/keys": lambda: call("umount2", "/proc/keys", 2),
    "uncovering /sys/firmware": lambda: call("umount2", "/sys/firmware", 2),
    "another root": lambda: call("pivot_root", "/", "/mnt"),
    "fsopen": lambda: call("fsopen", "proc", 0),
    "fsmount": lambda: call("fsmount", 0, 0, 0),
    "open_tree": lambda: call("open_tree", -100, "/", 1),
    "move_mount": lambda: call("move_mount", -100, "/proc", -100, "/mnt", 0),
    "mount_setattr": lambda: call("mount_setattr", -100, "/sys", 0, struct.pack("=4Q", 0, 1, 0, 0), 32),
}
WRITES: dict[str, Technique] = {
    path: (lambda path=path: open_for(path, os.O_WRONLY))
    for path in (
        *("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hotplug"),
        *("/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/randomize_va_space", "/proc/sys/fs/suid_dumpable"),
        *("/proc/sys/net/ipv4/ip_forward", "/proc/sys/kernel/ns_last_pid", "/proc/sys/user/max_user_namespaces"),
        *("/proc/sysrq-trigger", "/proc/irq/default_smp_affinity", "/proc/bus/pci/devices"),
        *("/sys/kernel/uevent_helper", "/sys/kernel/mm/transparent_hugepage/enabled", "/sys/power/state"),
        *("/sys/kernel/profiling", "/sys/module/kernel/parameters/consoleblank"),
        *("/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/memory/cgroup.procs", "/sys/fs/cgroup/pids/pids.max"),
        *("/sys/fs/cgroup/devices/devices.allow", "/sys/fs/cgroup/memory/notify_on_release"),
        *("/sys/fs/cgroup/memory/release_agent", "/sys/fs/cgroup/unified/cgroup.procs", "/sys/fs/cgroup/pids.max"),
    )
}
DEVICES: dict[str, Technique] = {
    "a disk": lambda: make_and_open(0o060000, 254, 0),
    "a SCSI disk": lambda: make_and_open(0o060000, 8, 0),
    "a loop device": lambda: make_and_open(0o060000, 7, 0),
    "/dev/mem": lambda: make_and_open(0o020000, 1, 1),
    "/dev/kmsg": lambda: make_and_open(0o020000, 1, 11),
    "/dev/port": lambda: make_and_open(0o020000, 1, 4),
    "the node's console": lambda: make_and_open(0o020000, 5, 1),
    "a virtual terminal": lambda: make_and_open(0o020000, 4, 1),
    "/dev/fuse": lambda: make_and_open(0o020000, 10, 229),
    "/dev/net/tun": lambda: make_and_open(0o020000, 10, 200),
    "/dev/kvm": lambda: make_and_open(0o020000, 10, 232),
}
OPENS: dict[str, Technique] = {
    path: (lambda path=path: open_for(path, os.O_RDWR))
    for path in (
        "/dev/mem",
        "/dev/kmsg",
        "/dev/vda",
        "/dev/sda",
        "/dev/console",
        "/dev/tty1",
        "/dev/tty",
        "/dev/fuse",
    )
}
NAMESPACES: dict[str, Technique] = {
    **{f"unshare {name}": (lambda flag=flag: call("unshare", flag)) for name, flag in NEW.items()},
    **{f"clone {name}": (lambda flag=flag: clone(flag)) for name, flag in NEW.items() if name != "time"},
    "clone3": lambda: call("clone3", ctypes.create_string_buffer(struct.pack("=11Q", NEW["user"], *[0] * 10)), 88),
    **{
        f"setns {name}": (lambda name=name: call("setns", os.open(f"/proc/1/ns/{name}", os.O_RDONLY), 0))
        for name in ("mnt", "pid", "net", "user", "uts", "ipc", "cgroup")
    },
}
KERNEL: dict[str, Technique] = {
    "bpf": lambda: call("bpf", 0, ctypes.create_string_buffer(72), 72),
    "perf_event_open": lambda: call("perf_event_open", ctypes.create_string_buffer(120), 0, -1, -1, 0),
    "userfaultfd": lambda: call("userfaultfd", 1),
    "io_uring_setup": lambda: call("io_uring_setup", 8, ctypes.create_string_buffer(120)),
    "open_by_handle_at, as Shocker did": shocker,
    "kexec_load": lambda: call("kexec_load", 0, 0, 0, 0),
    "kexec_file_load": lambda: call("kexec_file_load", 0, 0, 0, 0, 0),
    "init_module": lambda: call("init_module", buffer, 16, ""),
    "finit_module": lambda: call("finit_module", 0, "", 0),
    "delete_module": lambda: call("delete_module", "ext4", 0),
    "swapon": lambda: call("swapon", "/tmp/x", 0),
    "acct": lambda: call("acct", "/tmp/x"),
    "reboot": lambda: call("reboot", 0xFEE1DEAD, 672274793, 0, 0),
    "settimeofday": lambda: call("settimeofday", 0, 0),
    "clock_settime": lambda: call("clock_settime", 0, struct.pack("=qq", 0, -1)),
    "adjtimex": lambda: call("adjtimex", ctypes.create_string_buffer(struct.pack("=I", 1) + bytes(252))),
    "syslog": lambda: call("syslog", 3, buffer, 16),
    "fanotify_init": lambda: call("fanotify_init", 0, 0),
    "quotactl": lambda: call("quotactl", 0x800002 << 8, "/dev/vda", 0, buffer),
    "sethostname": lambda: call("sethostname", "x", 1),
    "setdomainname": lambda: call("setdomainname", "x", 1),
    "kcmp": lambda: call("kcmp", 1, os.getpid(), 0, 0, 0),
    "vhangup": lambda: call("vhangup"),
    "personality without random addresses": lambda: call("personality", 0x0040000),
    "AF_ALG": lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET),
    "AF_VSOCK": lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM),
    "iopl": lambda: call("iopl", 3),
}
KEYS: dict[str, Technique] = {
    "keyctl": lambda: call("keyctl", 0, -3, 0),
    "add_key": lambda: call("add_key", "user", "x", b"y\0", 1, -4),
    "request_key": lambda: call("request_key", "user", "x", 0, 0),
}
STRANGERS: dict[str, Technique] = {
    f"{what} {whose}": (lambda attempt=attempt, pid=pid: attempt(pid))
    for whose, pid in KNOWN["pids"].items()
    for what, attempt in {
        "ptrace": lambda pid: call("ptrace", 16, pid, 0, 0),
        "process_vm_readv": lambda pid: call("process_vm_readv", pid, vector, 1, vector, 1, 0),
        "process_vm_writev": lambda pid: call("process_vm_writev", pid, vector, 1, vector, 1, 0),
        "pidfd_open": lambda pid: call("pidfd_open", pid, 0),
        "kill": lambda pid: os.kill(pid, 0),
        "environ of": lambda pid: read(f"/proc/{pid}/environ"),
        "root of": lambda pid: os.listdir(f"/proc/{pid}/root/"),
        "memory of": lambda pid: read(f"/proc/{pid}/mem"),
    }.items()
}
PLACES: dict[str, Technique] = {
    "a secret of the node": lambda: found_below("", "/proc/1/root", "/proc/self/root", "/proc/self/cwd/../../../.."),
    "through open files": lambda: found_below(*(f"/proc/self/fd/{n}" for n in range(16))),
    "through the working directory": lambda: found_below(*("../" * n for n in range(1, 12))),
    "another pod's token": lambda: read(KNOWN["token"]),
    "another pod's volume": lambda: os.listdir(KNOWN["volume"]),
    "the node agent's key": lambda: read(KNOWN["key"]),
    "a supervisor's socket": lambda: connect(socket.AF_UNIX, KNOWN["control"], socket.SOCK_SEQPACKET),
    "an abstract socket of the node": lambda: connect(socket.AF_UNIX, "\0" + KNOWN["abstract"]),
    "a port of the node's loopback": lambda: connect(socket.AF_INET, ("127.0.0.1", KNOWN["port"])),
    "TIOCSTI": lambda: ioctl_terminal(0x5412, b"x"),
    "TIOCLINUX": lambda: ioctl_terminal(0x541C, b"\x03"),
}
FACTS: dict[str, Technique] = {
    "kcore": lambda: read("/proc/kcore"),
    "keys": lambda: read("/proc/keys"),
    "timer_list": lambda: read("/proc/timer_list"),
    "firmware": lambda: os.listdir("/sys/firmware"),
    "powercap": lambda: os.listdir("/sys/devices/virtual/powercap"),
    "processes": processes,
    "open files": lambda: OPENED,
    "mounts": lambda: read("/proc/self/mountinfo"),
    "interfaces": lambda: sorted(os.listdir("/sys/class/net")),
    "status": lambda: status("NoNewPrivs", "Seccomp", "CapEff", "CapBnd", "CapInh", "CapAmb"),
    "cgroup": lambda: sorted({line.split(":", 2)[2] for line in read("/proc/self/cgroup").splitlines()}),
}


def attempt(technique: Technique) -> object:
    """How a technique ended."""
    try:
        found = technique()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done" if found is None or isinstance(found, int) else found


GROUPS = {
    **{"mounts": MOUNTS, "writes": WRITES, "devices": DEVICES, "opens": OPENS, "namespaces": NAMESPACES},
    **{"kernel": KERNEL, "keys": KEYS, "strangers": STRANGERS, "places": PLACES, "facts": FACTS},
}
print(json.dumps({group: {name: attempt(one) for name, one in tries.items()} for group, tries in GROUPS.items()}))
