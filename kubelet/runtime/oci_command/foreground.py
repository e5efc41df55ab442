"""run and exec as a shell's child: signals go on to the process, its exit code is ours, and so is its terminal."""

from __future__ import annotations

import os
import select
import signal

from kubelet.runtime import terminal
from kubelet.runtime.child import exit_code_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

READ_BYTES = 64 * 1024
_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


def pass_signals_on(pidfd: int) -> None:
    """From here on what we are told is told to the process; to be called before it can make anybody tell us."""

    def pass_on(signo: int, _frame: object) -> None:
        try:
            signal.pidfd_send_signal(pidfd, signo)
        except ProcessLookupError:
            pass

    for signo in _PASSED_ON:
        signal.signal(signo, pass_on)


def match_size(master: int) -> None:
    """Give a container's terminal the size of ours, if we have one; before its program can ask for it."""
    if master >= 0 and os.isatty(0):
        size = os.get_terminal_size(0)
        terminal.resize(master, size.columns, size.lines)


def wait(pid: int, master: int) -> int:
    """Wait for a child's end, and be between its terminal (unless `master` is -1) and ours; its exit code."""
    if master >= 0:
        _be_between(master)
    _, status = os.waitpid(pid, 0)
    return exit_code_of(status)[0]


def _be_between(master: int) -> None:
    """Copy until nobody has the terminal open any more; our own, if we have one, gives every key at once."""
    import termios
    import tty

    saved: list[Any] | None = None
    if os.isatty(0):
        saved = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSANOW)  # what was typed before counts too

        signal.signal(signal.SIGWINCH, lambda _signo, _frame: match_size(master))
        match_size(master)
    try:
        _copy(master)
    finally:
        if saved is not None:
            termios.tcsetattr(0, termios.TCSADRAIN, saved)
        os.close(master)


def _copy(master: int) -> None:
    sources = {0: master, master: 1}
    while master in sources:
        for fd in select.select(list(sources), [], [])[0]:
            try:
                data = os.read(fd, READ_BYTES)
            except OSError:
                data = b""  # EIO: the last user of the terminal is gone (pty(7))
            if not data:
                del sources[fd]
                continue
            view = memoryview(data)
            while view:
                view = view[os.write(sources[fd], view) :]
