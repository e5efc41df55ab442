"""Messages between the kubelet, the zygote and the supervisors: JSON over SOCK_SEQPACKET, with descriptors.

One packet is one message. A body too long for a packet travels as a memfd, which is then the last of the
descriptors and is said by a one-byte packet. Both ends are root on this machine: nothing else can open
the sockets (their directories are mode 0700).
"""

from __future__ import annotations

import errno
import json
import os
import struct
from _socket import MSG_CMSG_CLOEXEC, MSG_DONTWAIT, SCM_RIGHTS, SOL_SOCKET, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PACKET_BYTES_MAX = 64 * 1024
DESCRIPTORS_MAX = 16
_IN_MEMFD = b"\x00"


def send(sock: socket, message: dict[str, Any], fds: Sequence[int] = (), *, wait: bool = False) -> None:
    """Send one message; BlockingIOError when the other side does not read and wait is False."""
    body = json.dumps(message, separators=(",", ":")).encode()
    memfd = -1
    if len(body) > PACKET_BYTES_MAX:
        memfd = os.memfd_create("message")
        with open(memfd, "wb", closefd=False) as file:
            file.write(body)
        fds, body = [*fds, memfd], _IN_MEMFD
    rights = [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
    try:
        sock.sendmsg([body], rights, 0 if wait else MSG_DONTWAIT)
    finally:
        if memfd >= 0:
            os.close(memfd)


def receive(sock: socket) -> tuple[dict[str, Any] | None, list[int]]:
    """Receive one message and its descriptors (close-on-exec); None at the end of the stream."""
    body, control, _, _ = sock.recvmsg(PACKET_BYTES_MAX + 1, 32 + 4 * DESCRIPTORS_MAX, MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, data in control:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            fds += struct.unpack(f"{len(data) // 4}i", data[: len(data) // 4 * 4])
    if not body:
        return None, fds
    if body == _IN_MEMFD and fds:
        with open(fds.pop(), "rb") as file:
            file.seek(0)
            body = file.read()
    message: dict[str, Any] = json.loads(body)
    return message, fds


def write_file_atomically(path: str, data: bytes) -> None:
    """Put data at path so that a reader sees the old file or the new one, never half of either.

    Without fsync on purpose: what these files say does not outlive a reboot anyway.
    """
    temporary = f"{path}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) != len(data):
            raise OSError(errno.ENOSPC, f"{temporary} could not be written whole")
    finally:
        os.close(fd)
    os.rename(temporary, path)


def write_json(path: str, value: Any) -> None:
    """write_file_atomically of value as JSON."""
    write_file_atomically(path, json.dumps(value, separators=(",", ":")).encode())


def read_json(path: str) -> Any:
    """The JSON value in the file at path."""
    with open(path, "rb") as file:
        return json.loads(file.read())


def process_start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot (proc(5), stat field 22); 0 if there is none.

    A pid alone may have been given to another process since it was written down.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError:
        return 0
    return int(stat[stat.rindex(b")") + 2 :].split()[19])
