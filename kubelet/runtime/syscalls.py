"""The kernel calls that Python's os module lacks, through ctypes.

Each function is one system call, raises OSError with the kernel's errno, and names its man page. Nothing
here decides anything. Numbers above 424 are the same on every architecture.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from signal import SIGCHLD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PIDFD = 0x00001000
CLONE_INTO_CGROUP = 0x200000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_NOATIME = 1024
MS_NODIRATIME = 2048
MS_BIND = 4096
MS_REC = 16384
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_STRICTATIME = 1 << 24
MNT_DETACH = 2

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_IDMAP = 0x100000
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_IN_ROOT = 0x10

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_CAPBSET_READ = 23
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4

CLOSE_RANGE_CLOEXEC = 4
SECCOMP_SET_MODE_FILTER = 1
BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8

_NUMBERS = {
    "x86_64": {"seccomp": 317, "bpf": 321, "keyctl": 250},
    "aarch64": {"seccomp": 277, "bpf": 280, "keyctl": 219},
}.get(os.uname().machine, {})

_libc = ctypes.CDLL(None, use_errno=True)
_int, _ulong, _size, _str, _ptr = (
    ctypes.c_int,
    ctypes.c_ulong,
    ctypes.c_size_t,
    ctypes.c_char_p,
    ctypes.c_void_p,
)


def _function(name: str, *argtypes: Any) -> Any:
    function = _libc[name]
    function.argtypes = argtypes
    function.restype = ctypes.c_long if name == "syscall" else _int
    return function


_mount = _function("mount", _str, _str, _str, _ulong, _str)
_umount2 = _function("umount2", _str, _int)
_unshare = _function("unshare", _int)
_setns = _function("setns", _int, _int)
_pivot_root = _function("pivot_root", _str, _str)
_prctl = _function("prctl", _int, _ulong, _ulong, _ulong, _ulong)
_capget = _function("capget", _str, _ptr)
_capset = _function("capset", _str, _str)
_sethostname = _function("sethostname", _str, _size)
_setdomainname = _function("setdomainname", _str, _size)
_open_tree = _function("syscall", _ulong, _int, _str, _int)
_move_mount = _function("syscall", _ulong, _int, _str, _int, _str, _int)
_fsopen = _function("syscall", _ulong, _str, _int)
_fsconfig = _function("syscall", _ulong, _int, _int, _str, _str, _int)
_fsmount = _function("syscall", _ulong, _int, _int, _int)
_close_range = _function("syscall", _ulong, ctypes.c_uint, ctypes.c_uint, _int)
_openat2 = _function("syscall", _ulong, _int, _str, _str, _size)
_mount_setattr = _function("syscall", _ulong, _int, _str, _int, _str, _size)
_seccomp = _function("syscall", _ulong, _int, _int, _ptr)
_keyctl = _function("syscall", _ulong, _ulong, _ptr)
_bpf = _function("syscall", _ulong, _int, _str, _size)
_clone3 = _function("syscall", _ulong, _str, _size)


def _raise(what: str) -> None:
    number = ctypes.get_errno()
    raise OSError(number, f"{what}: {os.strerror(number)}")


def _number(name: str) -> int:
    number = _NUMBERS.get(name)
    if number is None:
        raise OSError(errno.ENOSYS, f"{name}(2) is not known on {os.uname().machine}")
    return number


def mount(source: str | None, target: str, fstype: str | None, flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    if _mount(
        None if source is None else os.fsencode(source),
        os.fsencode(target),
        None if fstype is None else fstype.encode(),
        flags,
        os.fsencode(data) if data else None,
    ):
        _raise(f"mount {fstype or source} on {target}")


def umount2(target: str, flags: int) -> None:
    """umount2(2)."""
    if _umount2(os.fsencode(target), flags):
        _raise(f"umount {target}")


def unshare(flags: int) -> None:
    """unshare(2)."""
    if _unshare(flags):
        _raise(f"unshare {flags:#x}")


def clone3(flags: int, *, cgroup_fd: int = -1) -> tuple[int, int]:
    """clone3(2) as fork(2) does it, with namespaces and a cgroup for the child from its first moment.

    Returns the child's process id and a pidfd of it (close-on-exec), and (0, -1) in the child. Only for
    processes of one thread: Python's own hooks around fork are not run. CLONE_INTO_CGROUP spares the
    kernel-wide lock that moving a process between cgroups takes, some 13 ms when nobody took it lately.
    """
    pidfd = _int(-1)
    flags |= CLONE_PIDFD | (CLONE_INTO_CGROUP if cgroup_fd >= 0 else 0)
    cgroup = max(cgroup_fd, 0)
    arguments = struct.pack("=11Q", flags, ctypes.addressof(pidfd), 0, 0, SIGCHLD, 0, 0, 0, 0, 0, cgroup)
    pid = int(_clone3(435, arguments, len(arguments)))
    if pid < 0:
        _raise(f"clone3 {flags:#x}")
    return pid, pidfd.value if pid else -1


def setns(fd: int, flags: int) -> None:
    """setns(2); fd may be a namespace file or (Linux 5.8) a pidfd with several flags."""
    if _setns(fd, flags):
        _raise(f"setns {flags:#x}")


def pivot_root(new_root: str, put_old: str) -> None:
    """pivot_root(2)."""
    if _pivot_root(os.fsencode(new_root), os.fsencode(put_old)):
        _raise("pivot_root")


def prctl(option: int, arg2: int = 0, arg3: int = 0) -> None:
    """prctl(2)."""
    if _prctl(option, arg2, arg3, 0, 0) < 0:
        _raise(f"prctl {option}")


def set_process_name(name: str) -> None:
    """PR_SET_NAME of prctl(2): what `ps -o comm` shows, at most 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode()[:15])
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def capability_exists(capability: int) -> bool:
    """PR_CAPBSET_READ of prctl(2): EINVAL for a capability that this kernel does not know."""
    return int(_prctl(PR_CAPBSET_READ, capability, 0, 0, 0)) >= 0


def capget() -> tuple[int, int, int]:
    """capget(2), version 3: the effective, permitted and inheritable sets as bit masks."""
    buffer = ctypes.create_string_buffer(24)
    if _capget(struct.pack("=Ii", 0x20080522, 0), ctypes.addressof(buffer)):
        _raise("capget")
    low_and_high = struct.unpack("=6I", buffer.raw)
    effective, permitted, inheritable = (low_and_high[i] | low_and_high[i + 3] << 32 for i in range(3))
    return effective, permitted, inheritable


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """capset(2), version 3: 64-bit sets as two 32-bit halves."""
    header = struct.pack("=Ii", 0x20080522, 0)
    low = (effective & 0xFFFFFFFF, permitted & 0xFFFFFFFF, inheritable & 0xFFFFFFFF)
    high = (effective >> 32, permitted >> 32, inheritable >> 32)
    if _capset(header, struct.pack("=6I", *low, *high)):
        _raise("capset")


def sethostname(name: str) -> None:
    """sethostname(2)."""
    data = name.encode()
    if _sethostname(data, len(data)):
        _raise("sethostname")


def setdomainname(name: str) -> None:
    """setdomainname(2)."""
    data = name.encode()
    if _setdomainname(data, len(data)):
        _raise("setdomainname")


def open_tree(directory_fd: int, path: str, flags: int) -> int:
    """open_tree(2): with OPEN_TREE_CLONE a detached bind mount that is in nobody's mount table."""
    fd = int(_open_tree(428, directory_fd, os.fsencode(path), flags | OPEN_TREE_CLOEXEC))
    if fd < 0:
        _raise(f"open_tree {path}")
    return fd


def move_mount(mount_fd: int, target_fd: int) -> None:
    """move_mount(2): attach a detached mount on what target_fd (O_PATH) names."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    if _move_mount(429, mount_fd, b"", target_fd, b"", flags):
        _raise("move_mount")


def fsopen(fstype: str) -> int:
    """fsopen(2): a file system context to be set up with fsconfig."""
    fd = int(_fsopen(430, fstype.encode(), 1))
    if fd < 0:
        _raise(f"fsopen {fstype}")
    return fd


def fsconfig_set_string(fd: int, key: str, value: str) -> None:
    """fsconfig(2), FSCONFIG_SET_STRING."""
    if _fsconfig(431, fd, 1, key.encode(), os.fsencode(value), 0):
        _raise(f"fsconfig {key}={value}")


def fsconfig_create(fd: int) -> None:
    """fsconfig(2), FSCONFIG_CMD_CREATE."""
    if _fsconfig(431, fd, 6, None, None, 0):
        _raise("fsconfig create")


def fsmount(fd: int, attributes: int = 0) -> int:
    """fsmount(2): the file system as a detached mount."""
    mount_fd = int(_fsmount(432, fd, 1, attributes))
    if mount_fd < 0:
        _raise("fsmount")
    return mount_fd


def mount_setattr(
    fd: int, *, set_: int, clear: int = 0, propagation: int = 0, userns_fd: int = 0, recursive: bool = False
) -> None:
    """mount_setattr(2) on the mount that fd names."""
    attributes = struct.pack("=QQQQ", set_, clear, propagation, userns_fd)
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    if _mount_setattr(442, fd, b"", flags, attributes, len(attributes)):
        _raise("mount_setattr")


def openat2(directory_fd: int, path: str, flags: int, resolve: int = RESOLVE_IN_ROOT) -> int:
    """openat2(2): open below directory_fd as if that were the root, symbolic links and ".." included."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, resolve)
    fd = int(_openat2(437, directory_fd, os.fsencode(path), how, len(how)))
    if fd < 0:
        _raise(f"openat2 {path}")
    return fd


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    """close_range(2)."""
    if _close_range(436, first, last, flags):
        _raise("close_range")


def seccomp_set_filter(program: bytes, flags: int) -> None:
    """seccomp(2), SECCOMP_SET_MODE_FILTER; program is an array of struct sock_filter."""
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = ctypes.create_string_buffer(struct.pack("@HP", len(program) // 8, ctypes.addressof(buffer)))
    if _seccomp(_number("seccomp"), SECCOMP_SET_MODE_FILTER, flags, ctypes.addressof(fprog)):
        _raise("seccomp")


def join_new_session_keyring() -> None:
    """KEYCTL_JOIN_SESSION_KEYRING of keyctl(2), anonymous; a kernel without keyrings has none to leave."""
    if _keyctl(_number("keyctl"), 1, None) < 0 and ctypes.get_errno() != errno.ENOSYS:
        _raise("keyctl")


def bpf(command: int, attributes: bytes) -> int:
    """bpf(2); pointers in attributes must outlive the call."""
    result = int(_bpf(_number("bpf"), command, attributes, len(attributes)))
    if result < 0:
        _raise(f"bpf {command}")
    return result
