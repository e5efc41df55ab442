"""What is known of a container, in ROOT/ID:

state.json     its bundle, first process and cgroups, and what a further process needs
start          the socket at which the first process waits for `start`; gone when it was started
rootfs         where the root is mounted in the container's own mount namespace; empty seen from here
"""

from __future__ import annotations

import errno
import os
from time import gmtime, strftime, time_ns

from kubelet.runtime import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_ROOT = "/run/wherry-runtime"
VERSION = "1.0.2"
ID_CHARACTERS_MAX = 1024
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")


class Failed(Exception):
    """A command can't be carried out; the message says why."""


class NoContainer(Failed):
    """There is no container of that name."""


class Record:
    """One container. `data` is what state.json says."""

    def __init__(self, root: str, container_id: str, data: dict[str, Any]) -> None:
        self.id = container_id
        self.directory = directory(root, container_id)
        self.data = data

    @classmethod
    def load(cls, root: str, container_id: str) -> Record:
        """The container of this name. Raises NoContainer."""
        try:
            return cls(root, container_id, wire.read_json(f"{directory(root, container_id)}/state.json"))
        except FileNotFoundError:
            raise NoContainer("container does not exist") from None

    def save(self) -> None:
        """Write state.json."""
        wire.write_json(f"{self.directory}/state.json", self.data)

    @property
    def start_socket(self) -> str:
        """Where the first process waits."""
        return f"{self.directory}/start"

    def status(self) -> str:
        """creating, created, running, paused or stopped."""
        if not alive(self.data["pid"], self.data["start_ticks"]):
            return "stopped"
        if self.data["creating"]:
            return "creating"
        if os.path.exists(self.start_socket):
            return "created"
        return "paused" if is_frozen(self.data["freezer"]) else "running"

    def open_process(self) -> int:
        """A pidfd of the first process. Raises Failed when it has ended."""
        try:
            pidfd = os.pidfd_open(self.data["pid"])
        except ProcessLookupError:
            raise Failed("container not running") from None
        if not alive(self.data["pid"], self.data["start_ticks"]):
            os.close(pidfd)
            raise Failed("container not running")
        return pidfd

    def shown(self) -> dict[str, Any]:
        """The state that `state` prints and hooks are told: runtime-spec, runtime.md "State"."""
        status = self.status()
        return self.told(status, self.data["pid"] if status != "stopped" else 0)

    def told(self, status: str, pid: int) -> dict[str, Any]:
        """The same with a status that only the caller knows."""
        found = {
            "ociVersion": VERSION,
            "id": self.id,
            "pid": pid,
            "status": status,
            "bundle": self.data["bundle"],
            "rootfs": self.data["rootfs"],
            "created": self.data["created"],
            "owner": "",
        }
        if self.data["annotations"]:
            found["annotations"] = self.data["annotations"]
        return found

    def remove(self) -> None:
        """Remove the folder."""
        remove_directory(self.directory)


def directory(root: str, container_id: str) -> str:
    """The folder of a container. Raises Failed for what can't be an id."""
    # A name that begins with a dot is one of ours.
    strange = not container_id or container_id[0] == "." or len(container_id) > ID_CHARACTERS_MAX
    if strange or not _ID_CHARACTERS.issuperset(container_id):
        raise Failed(f"invalid container ID format: {container_id!r}")
    return f"{root}/{container_id}"


def make_directory(root: str, container_id: str) -> str:
    """Make the folder of a new container. Raises Failed when there is one already."""
    path = directory(root, container_id)
    os.makedirs(root, 0o700, exist_ok=True)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        raise Failed("container with given ID already exists") from None
    os.mkdir(f"{path}/rootfs", 0o700)
    return path


def remove_directory(path: str) -> None:
    """Remove a container's folder, which has no folders but empty ones."""
    for entry in os.scandir(path):
        if entry.is_dir(follow_symlinks=False):
            os.rmdir(entry.path)
        else:
            os.unlink(entry.path)
    os.rmdir(path)


def every(root: str) -> list[Record]:
    """All containers."""
    found = []
    try:
        names = sorted(name for name in os.listdir(root) if name[0] != ".")
    except FileNotFoundError:
        return []
    for name in names:
        try:
            found.append(Record.load(root, name))
        except (NoContainer, NotADirectoryError):
            continue  # just made, or just removed
    return found


def alive(pid: int, start_ticks: int) -> bool:
    """Whether the process that started then lives; one that nobody has waited for yet does not."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return False
    return int(fields[19]) == start_ticks and fields[0] not in (b"Z", b"X")


def is_frozen(freezer: str) -> bool:
    """Whether a cgroup is paused: its freezer.state (v1) or cgroup.freeze (v2)."""
    for file, value in (("freezer.state", "FROZEN"), ("cgroup.freeze", "1")):
        try:
            with open(f"{freezer}/{file}") as text:
                return text.read().strip() == value
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENODEV):
                raise
    return False


def now() -> str:
    """The time as RFC 3339 has it, with nanoseconds."""
    nanoseconds = time_ns()
    seconds = nanoseconds // 1_000_000_000
    return f"{strftime('%Y-%m-%dT%H:%M:%S', gmtime(seconds))}.{nanoseconds % 1_000_000_000:09d}Z"
