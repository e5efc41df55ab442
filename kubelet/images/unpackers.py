"""The processes that unpack layers: one for each, confined to its folder, and all forked from one small template.
(They also copy what a Dockerfile's COPY and ADD name: the same confinement, and the same reason to have it.)

    puller, importer ──job: stream + folder──▶ template ──fork──▶ child: chroot(folder/fs), unpack, report

The template is forked before its owner has threads, and has loaded all that is needed: a child costs a millisecond
and not the start of another Python. When the owner goes away, in whichever way, the template kills the children and
takes their half-filled folders away.

    FOLDER/fs/      the layer          FOLDER/split      see tar_split.py
    FOLDER/kept/    likewise           the FOLDER itself is locked (flock(2)), by all three
"""

from __future__ import annotations

import os
import resource
import select
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import orjson

from kubelet.images.decompress import CompressionError, Stream
from kubelet.images.tar_split import Writer
from kubelet.images.unpack import LayerError, Unpacked, unpack
from kubelet.runtime import syscalls, wire

RESULT_BYTES_MAX = 1 << 16
# Address space, not memory: what a decompressor gone wild may reserve.
ADDRESS_SPACE_BYTES_MAX = 2 << 30


class Job:
    """Something that one of the processes is doing."""

    def __init__(self, result_fd: int) -> None:
        self._result_fd = result_fd

    def wait(self) -> Unpacked:
        """Wait for the end of the stream and of the work. Raises LayerError."""
        return Unpacked(**self.result())

    def result(self) -> dict[str, Any]:
        """Wait for the end of the work. Raises LayerError."""
        with open(self._result_fd, "rb") as file:
            data = file.read(RESULT_BYTES_MAX)
        if not data:
            raise LayerError("the process that unpacks the layer has died")
        result: dict[str, Any] = orjson.loads(data)
        if "error" in result:
            raise LayerError(result["error"])
        return result


class Unpackers:
    """The template, to be made while the process has one thread."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        sys.stdout.flush()
        sys.stderr.flush()
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _never_return(lambda: _Template(theirs).serve())
        theirs.close()
        self._socket = ours

    def start(self, source_fd: int, folder: str, folder_fd: int, *, offset: int = 0, length: int = -1) -> Job:
        """Unpack what `source_fd` reads (a pipe; or `length` bytes of a file, from `offset`) into a locked folder."""
        message = {"do": "unpack", "folder": folder, "offset": offset, "length": length}
        return self._start(message, source_fd, folder_fd)

    def start_copy(self, what: dict[str, Any], folder: str, folder_fd: int) -> Job:
        """Carry out what building/copying.py describes, in a locked folder."""
        with open(os.devnull, "rb") as nothing:
            return self._start({"do": "copy", "folder": folder, "what": what}, nothing.fileno(), folder_fd)

    def _start(self, message: dict[str, Any], source_fd: int, folder_fd: int) -> Job:
        result_read, result_write = os.pipe()
        try:
            wire.send(self._socket, message, [source_fd, folder_fd, result_write], wait=True)
        except BaseException:
            os.close(result_read)
            raise
        finally:
            os.close(result_write)
        return Job(result_read)

    def close(self) -> None:
        """End the template, and what it has running."""
        self._socket.close()
        os.waitpid(self._pid, 0)

    def __enter__(self) -> Unpackers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Template:
    """Forks a child a job, until its owner goes away."""

    def __init__(self, owner: socket.socket) -> None:
        self._owner = owner
        self._children: dict[int, tuple[int, int]] = {}
        # Of those that have ended, too: an owner that is killed takes none away any more.
        self._folders: list[str] = []

    def serve(self) -> None:
        for signo in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signo, signal.SIG_IGN)  # its owner's end is what ends it
        poll = select.poll()
        poll.register(self._owner, select.POLLIN)
        while True:
            for descriptor, _ in poll.poll():
                if descriptor != self._owner.fileno():
                    poll.unregister(descriptor)
                    self._reap(descriptor)
                    continue
                message, fds = wire.receive(self._owner)
                if message is None:
                    self._clean_up()
                    return
                poll.register(self._fork(message, fds), select.POLLIN)

    def _fork(self, message: dict[str, Any], fds: list[int]) -> int:
        pid = os.fork()
        if pid == 0:
            self._owner.close()
            _never_return(lambda: _work(message, *fds))
        source_fd, folder_fd, result_fd = fds
        os.close(source_fd)
        os.close(result_fd)
        pidfd = os.pidfd_open(pid)
        self._children[pidfd] = (pid, folder_fd)
        self._folders.append(message["folder"])
        return pidfd

    def _reap(self, pidfd: int) -> None:
        pid, folder_fd = self._children.pop(pidfd)
        os.waitpid(pid, 0)
        os.close(folder_fd)
        os.close(pidfd)

    def _clean_up(self) -> None:
        for pidfd, (pid, _) in list(self._children.items()):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.waitpid(pid, 0)
        for folder in self._folders:
            shutil.rmtree(folder, ignore_errors=True)  # what stays is swept: nobody holds its lock any more


def _never_return(life: Callable[[], None]) -> NoReturn:
    """Live as another process, and never return into the code of the one that forked it."""
    try:
        life()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - see above
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(1)


def _work(message: dict[str, Any], source_fd: int, folder_fd: int, result_fd: int) -> None:
    """Be a child: enter the folder, unpack, report."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _limit_address_space()
        os.umask(0)
        if message["do"] == "copy":
            from kubelet.images.building import copying  # few images are built

            result: dict[str, Any] = copying.carry_out(message["what"], message["folder"])
        else:
            result = asdict(_unpack(message, source_fd, folder_fd))
    except (LayerError, CompressionError, ValueError) as error:
        result = {"error": str(error)}
    except OSError as error:
        where = f" ({os.fsdecode(error.filename)})" if isinstance(error.filename, (str, bytes)) else ""
        result = {"error": f"{(error.strerror or str(error)).lower()}{where}"}
    except MemoryError:
        result = {"error": "the layer takes too much memory to unpack"}
    except RecursionError:
        result = {"error": "the layer's folders are nested too deeply"}
    text = orjson.dumps({key: _printable(value) for key, value in result.items()})
    os.write(result_fd, text[:RESULT_BYTES_MAX])


def _unpack(message: dict[str, Any], source_fd: int, folder_fd: int) -> Unpacked:
    os.fchdir(folder_fd)
    Path("fs").mkdir(mode=0o755)
    Path("kept").mkdir(mode=0o700)
    kept_fd = os.open("kept", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # Finds out how the layer is compressed and loads what reads that: inside, nothing could be imported.
    stream = Stream(_reader(source_fd, message["offset"], message["length"]))
    with open("split", "xb", buffering=1 << 16) as split_file:
        os.chroot("fs")
        os.chdir("/")
        return unpack(stream, Writer(split_file), kept_fd)


def _reader(source_fd: int, offset: int, length: int) -> Callable[[int], bytes]:
    if length < 0:
        return lambda size: os.read(source_fd, size)
    position, end = offset, offset + length

    def read(size: int) -> bytes:
        nonlocal position
        data = os.pread(source_fd, min(size, end - position), position)
        position += len(data)
        return data

    return read


def _limit_address_space() -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    wanted = ADDRESS_SPACE_BYTES_MAX if hard == resource.RLIM_INFINITY else min(hard, ADDRESS_SPACE_BYTES_MAX)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


def _printable(value: Any) -> Any:
    """Names in a layer may be any bytes, which JSON can't carry."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
