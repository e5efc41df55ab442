"""Shows what is being waited for: a line that is rewritten on a terminal, or a line a step elsewhere."""

from __future__ import annotations

import sys
import time


class Progress:
    """Steps of one command on standard error, with the time each took; nothing with `quiet`."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._began = time.monotonic()
        self._shown = ""

    def waiting(self, text: str) -> None:
        """Say what is being waited for, in place of what was said before."""
        if self._quiet or text == self._shown:
            return
        self._shown = text
        if self._terminal:
            print(f"\r\033[K… {text}", end="", file=sys.stderr, flush=True)

    def done(self, text: str) -> None:
        """Say what has been reached, with the seconds since the command began."""
        if self._quiet:
            return
        clear = "\r\033[K" if self._terminal else ""
        seconds = time.monotonic() - self._began
        print(f"{clear}✓ {text} ({seconds:.2f}s)", file=sys.stderr, flush=True)
        self._shown = ""

    def end(self) -> None:
        """Remove an unfinished line, so that what follows starts on a clean one."""
        if self._terminal and self._shown and not self._quiet:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
