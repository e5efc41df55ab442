"""A container's root file system: overlay, kernel file systems, binds, devices, masks, then pivot_root.

All of it happens inside the container's own mount namespace, so that the host's mount table never shows
it and nothing can be left there. Until pivot_root every path inside the root is resolved by openat2(2)
as if the root were "/": a symbolic link that an image or a volume plants ("/data -> /etc") ends inside
the container, and never makes the runtime mount over, or create, a file of the host.
"""

from __future__ import annotations

import errno
import os
import stat

from kubelet.runtime import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

OVERLAY_OPTIONS_BYTES_MAX = 4000
LINKLESS = ("proc", "sysfs")
NULL_DEVICE = os.makedev(1, 3)
# What of /proc a volume may lie on: files that only inform (lxcfs shows a container its own limits by these).
PROC_FILES_TO_COVER = frozenset(
    f"/proc/{name}"
    for name in ("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo", "net/dev")
)


def isolate_mount_propagation() -> None:
    """Make every mount a slave: the host's unmounts arrive, ours never leave (mount_namespaces(7))."""
    sc.mount(None, "/", None, sc.MS_REC | sc.MS_SLAVE)


def mount_overlay(lower_dirs: Sequence[str], directory: str) -> int:
    """Mount the image's layers under a fresh upper directory, over `directory` itself; return its O_PATH fd.

    Each layer is named by an open descriptor where the plain list would not fit the page that mount(2)
    reads, or holds a character that overlayfs takes for its own. "volatile" spares the sync of the whole
    disk that every unmount of an overlay costs otherwise: a container's own layer dies with it.
    """
    for name in ("upper", "work"):
        os.mkdir(f"{directory}/{name}", 0o755)
    copy_owner_and_mode(lower_dirs[0], f"{directory}/upper")
    plain = ":".join(lower_dirs)
    layer_fds: list[int] = []
    special = any(character in path for path in (*lower_dirs, directory) for character in ",:\\")
    os.chdir(directory)
    if special or len(plain) > OVERLAY_OPTIONS_BYTES_MAX:
        layer_fds = [os.open(layer, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for layer in lower_dirs]
        plain = ":".join(f"/proc/self/fd/{fd}" for fd in layer_fds)
    options = f"lowerdir={plain},upperdir=upper,workdir=work"
    try:
        sc.mount("overlay", directory, "overlay", 0, f"{options},volatile")
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        sc.mount("overlay", directory, "overlay", 0, options)
    finally:
        os.chdir("/")
        for fd in layer_fds:
            os.close(fd)
    return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def copy_owner_and_mode(source: str, target: str) -> None:
    """The container's "/" looks like its upper directory, and has to look like the image's."""
    wanted = os.stat(source)
    if wanted.st_uid or wanted.st_gid:
        os.chown(target, wanted.st_uid, wanted.st_gid)
    if stat.S_IMODE(wanted.st_mode) != 0o755:
        os.chmod(target, stat.S_IMODE(wanted.st_mode))


def bind_root(path: str, directory: str) -> int:
    """Use a ready directory as the root (OCI root.path without layers): a bind of it over `directory`."""
    sc.mount(path, directory, None, sc.MS_BIND | sc.MS_REC)
    return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_in_root(root_fd: int, path: str, flags: int = os.O_PATH) -> int:
    """Open path inside the container's root; no link leads out of it (openat2(2), RESOLVE_IN_ROOT)."""
    return sc.openat2(root_fd, path, flags)


def open_mount_point(root_fd: int, path: str, *, directory: bool) -> int:
    """Open the place that a mount goes to, creating it and its parents inside the root if missing."""
    try:
        return open_in_root(root_fd, path)
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise
    parent_path, _, name = path.rstrip("/").rpartition("/")
    parent = open_mount_point(root_fd, parent_path or "/", directory=True)
    try:
        if directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            fd = os.open(name, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644, dir_fd=parent)
            os.close(fd)
    except FileExistsError:
        # A dangling symbolic link: what it names inside the root is created instead.
        link = os.readlink(name, dir_fd=parent)
        aim = link if link.startswith("/") else f"{parent_path}/{link}"
        if aim.count("/") > 64:
            raise OSError(errno.ELOOP, f"too many links at {path}") from None
        return open_mount_point(root_fd, aim, directory=directory)
    finally:
        os.close(parent)
    return open_in_root(root_fd, path)


def mount_filesystem(root_fd: int, entry: dict[str, Any]) -> None:
    """Mount a kernel file system (proc, sysfs, tmpfs, devpts, mqueue) at its place in the root."""
    fd = open_mount_point(root_fd, entry["destination"], directory=True)
    try:
        if entry["type"] in LINKLESS:
            refuse_link(root_fd, entry["destination"])
        sc.mount(entry["source"], f"/proc/self/fd/{fd}", entry["type"], entry["flags"], entry["data"])
    finally:
        os.close(fd)


def refuse_link(root_fd: int, path: str) -> None:
    """ELOOP if a link is on the way to path: the masks that follow could be led elsewhere (CVE-2019-19921)."""
    try:
        os.close(sc.openat2(root_fd, path, os.O_PATH, sc.RESOLVE_IN_ROOT | sc.RESOLVE_NO_SYMLINKS))
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "the destination is a symbolic link, or behind one") from None


def bind_mount(root_fd: int, entry: dict[str, Any], proc_device: int = -1) -> None:
    """Bind a file or directory of the host (a volume, /etc/hosts) into the root.

    The bind is made detached (open_tree(2)), given its attributes (mount_setattr(2)) and only then put in
    place (move_mount(2)): there is no moment in which a read-only volume can be written.
    """
    tree = clone_tree(entry)
    try:
        configure_tree(tree, entry)
        attach_tree(root_fd, tree, entry, proc_device)
    finally:
        os.close(tree)


def clone_tree(entry: dict[str, Any]) -> int:
    """A detached copy of what is mounted at the entry's source."""
    flags = sc.OPEN_TREE_CLONE | (sc.AT_RECURSIVE if entry["recursive"] else 0)
    return sc.open_tree(sc.AT_FDCWD, entry["source"], flags)


def configure_tree(tree: int, entry: dict[str, Any]) -> None:
    """Give a detached mount its attributes and propagation."""
    sc.mount_setattr(tree, set_=0, propagation=entry["propagation"], recursive=True)
    if entry["set"] or entry["clear"]:
        sc.mount_setattr(tree, set_=entry["set"], clear=entry["clear"], recursive=entry["recursive_attributes"])


def attach_tree(root_fd: int, tree: int, entry: dict[str, Any], proc_device: int) -> None:
    """Put a detached mount at its destination.

    Not inside of /proc (a file system of the number `proc_device`), wherever a link may lead: the masks to come
    would cover the volume instead of what they are for.
    """
    directory = stat.S_ISDIR(os.fstat(tree).st_mode)
    if entry.get("type") in LINKLESS:
        refuse_link(root_fd, entry["destination"])
    fd = open_mount_point(root_fd, entry["destination"], directory=directory)
    try:
        if entry["destination"] not in PROC_FILES_TO_COVER:
            refuse_device(fd, proc_device)
        sc.move_mount(tree, fd)
    finally:
        os.close(fd)


def refuse_device(fd: int, proc_device: int) -> None:
    """EPERM if fd is in the file system of this number, which is the container's /proc."""
    if os.fstat(fd).st_dev == proc_device:
        raise OSError(errno.EPERM, "nothing may be mounted inside of /proc")


def device_of(root_fd: int, path: str) -> int:
    """The number of the file system that path is in."""
    fd = open_in_root(root_fd, path)
    try:
        return os.fstat(fd).st_dev
    finally:
        os.close(fd)


def create_devices(root_fd: int, devices: Sequence[dict[str, Any]]) -> None:
    """Make the device nodes of the container and the usual links of /dev (mknod(2), fd -> /proc/self/fd).

    Only these nodes exist, and the devices cgroup refuses any other that a container makes itself.
    """
    os.umask(0)
    for device in devices:
        parent_path, _, name = device["path"].rpartition("/")
        parent = open_mount_point(root_fd, parent_path, directory=True)
        try:
            os.mknod(name, device["mode"], os.makedev(device["major"], device["minor"]), dir_fd=parent)
            if device["uid"] or device["gid"]:
                os.chown(name, device["uid"], device["gid"], dir_fd=parent)
        except FileExistsError:
            pass
        finally:
            os.close(parent)
    link_devices(root_fd)
    os.umask(0o022)


def link_devices(root_fd: int) -> None:
    """The usual links of /dev."""
    parent = open_in_root(root_fd, "/dev", os.O_PATH | os.O_DIRECTORY)
    for name, aim in (
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ):
        try:
            os.symlink(aim, name, dir_fd=parent)
        except FileExistsError:
            pass
    os.close(parent)


def mask_paths(root_fd: int, paths: Sequence[str]) -> None:
    """Cover what /proc and /sys tell about the host (/proc/kcore, /proc/keys): null, or an empty tmpfs.

    What is at /dev/null is looked at, by the descriptor that will be mounted: a volume on /dev may hold a link to a
    file of /proc in its place, which would so stay writable under another name (CVE-2025-31133).
    """
    null_fd = -1
    for path in paths:
        try:
            fd = open_in_root(root_fd, path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            raise
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            sc.mount("tmpfs", f"/proc/self/fd/{fd}", "tmpfs", sc.MS_RDONLY, "nr_blocks=1,nr_inodes=1")
        else:
            if null_fd < 0:
                null_fd = open_in_root(root_fd, "/dev/null")
                refuse_other_than_null(null_fd)
            sc.mount(f"/proc/self/fd/{null_fd}", f"/proc/self/fd/{fd}", None, sc.MS_BIND)
        os.close(fd)
    if null_fd >= 0:
        os.close(null_fd)


def refuse_other_than_null(fd: int) -> None:
    """EPERM unless fd is the null device, through whatever name it was opened."""
    status = os.fstat(fd)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != NULL_DEVICE:
        raise OSError(errno.EPERM, "the container's /dev/null is not the null device")


def make_paths_readonly(root_fd: int, paths: Sequence[str]) -> None:
    """Bind paths such as /proc/sys on themselves, read-only: a container must not tune the kernel."""
    for path in paths:
        try:
            fd = open_in_root(root_fd, path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR):
                continue
            raise
        tree = sc.open_tree(fd, "", sc.OPEN_TREE_CLONE | sc.AT_RECURSIVE | sc.AT_EMPTY_PATH)
        sc.mount_setattr(tree, set_=sc.MOUNT_ATTR_RDONLY, recursive=True)
        sc.move_mount(tree, fd)
        os.close(tree)
        os.close(fd)


def mount_cgroups(root_fd: int, entry: dict[str, Any], hierarchies: Sequence[dict[str, str]]) -> None:
    """Show the container its own cgroups, read-only, as the root of each hierarchy (cgroup_namespaces(7)).

    A single unified hierarchy is mounted right there; several go below a tmpfs, a directory each.
    """
    destination = entry["destination"]
    flags = entry["flags"] | sc.MS_NOSUID | sc.MS_NODEV | sc.MS_NOEXEC
    if len(hierarchies) == 1 and hierarchies[0]["type"] == "cgroup2":
        mount_filesystem(root_fd, {**hierarchies[0], "destination": destination, "flags": flags})
        return
    top = {"source": "tmpfs", "type": "tmpfs", "destination": destination, "data": "mode=755"}
    mount_filesystem(root_fd, {**top, "flags": flags & ~sc.MS_RDONLY})
    for hierarchy in hierarchies:
        place = f"{destination}/{hierarchy['name']}"
        mount_filesystem(root_fd, {**hierarchy, "destination": place, "flags": flags})
    if flags & sc.MS_RDONLY:
        fd = open_in_root(root_fd, destination)
        sc.mount_setattr(fd, set_=sc.MOUNT_ATTR_RDONLY)
        os.close(fd)


def bind_console(root_fd: int, slave: int, proc_device: int) -> None:
    """Bind the terminal's slave side on /dev/console, where programs look for it (OCI process.terminal).

    By its descriptor: its name may have been given to a link into /proc meanwhile (CVE-2025-52565).
    """
    fd = open_mount_point(root_fd, "/dev/console", directory=False)
    refuse_device(fd, proc_device)
    sc.mount(f"/proc/self/fd/{slave}", f"/proc/self/fd/{fd}", None, sc.MS_BIND)
    os.close(fd)


def pivot_root(root_fd: int, *, readonly: bool) -> None:
    """Make the new root "/" and let go of the old one whole (pivot_root(2), the "." "." way).

    chroot(2) alone can be left again, and would keep every mount of the host reachable.
    """
    if readonly:
        sc.mount_setattr(root_fd, set_=sc.MOUNT_ATTR_RDONLY)
    os.fchdir(root_fd)
    sc.pivot_root(".", ".")
    sc.umount2(".", sc.MNT_DETACH)
    os.chdir("/")
