"""`python -m apiserver`: runs the API server. `python -m apiserver node-credentials`: issues what nodes need.

At a first start the keys are made by a forked child while this process goes on importing what it runs on: on two
cores that hides all of the time, and what key making needs of memory ends with the child.
"""

from __future__ import annotations

import fcntl
import gc
import os
import resource
import socket
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from apiserver import options as flags
from apiserver import pki


class StartError(Exception):
    """The server can't start; the message is one clear line."""


def main(arguments: Sequence[str]) -> int:
    """Run the command; mistakes and what is in the way become one line and a status that is not 0."""
    try:
        if arguments[:1] == ["node-credentials"]:
            from apiserver import node_credentials

            return node_credentials.main(arguments[1:])
        return _serve(flags.parse(arguments))
    except (StartError, pki.PkiError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _serve(options: flags.Options) -> int:
    os.umask(0o077)  # the database holds secrets too
    _open_as_many_files_as_allowed()
    gc.disable()  # until all is imported: what is made then stays, and looking for what does not takes long
    held = _hold(options.data_dir)
    listener = _bind(options.bind_address, options.secure_port)
    child = _make_credentials(options)
    run = _import_run()
    if child is not None:
        _await_child(child)
    try:
        status: int = run.run(options, listener)
        return status
    finally:
        os.close(held)


def _open_as_many_files_as_allowed() -> None:
    """Each connection is one: what shells give a process at first is used up by the watches of a small cluster."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _hold(folder: Path) -> int:
    """Make sure that this is the one server of the folder, before anything in it is touched."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise StartError(f"{folder} is in use by another API server") from None
    except OSError as error:
        raise StartError(f"{folder} can't be used: {error.strerror}") from error
    return descriptor


def _bind(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        raise StartError(f"can't listen on {address} port {port}: {error.strerror}") from error
    return listener


def _make_credentials(options: flags.Options) -> int | None:
    """Start making what is missing; returns the child's process id, None if nothing is missing."""
    wanted = pki.wanted(options)
    if pki.complete(options.data_dir, wanted, time.time()):
        return None
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        pki.make(options.data_dir, wanted, time.time())
        status = 0
    except pki.PkiError as error:
        print(f"error: {error}", file=sys.stderr)
    except BaseException:  # noqa: BLE001 - the child ends here and must not go on as a second server
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _import_run() -> ModuleType:
    """Most of a start's time: the web server and the database library are imported here."""
    # While it is imported, aiohttp loads all authorities that this machine trusts, for fifty milliseconds. This
    # server trusts its own authority and no other.
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        from apiserver import run
    finally:
        os.environ.pop("SSL_CERT_FILE")
        if before is not None:
            os.environ["SSL_CERT_FILE"] = before
    return run


def _await_child(child: int) -> None:
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise StartError(f"making keys and certificates was ended by signal {os.WTERMSIG(status)}")
    if status != 0:
        raise SystemExit(1)  # the child has said why


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
