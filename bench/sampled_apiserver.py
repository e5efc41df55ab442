"""An API server that notes what it does whenever another millisecond of processor time has been used.

    python -m bench.sampled_apiserver FILE --data-dir D …

SIGUSR1 begins, and the next one ends and writes JSON to FILE: how often each call stack of the main thread was met,
the outermost call first, and how much processor time the main thread and all others have used.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

from apiserver.__main__ import main

INTERVAL_SECONDS = 0.001
PACKAGES = ("apiserver/", "apimachinery/", "aiohttp/", "asyncio/")


class Sampler:
    """Counts call stacks by processor time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stacks: Counter[tuple[str, ...]] = Counter()
        self._own = self._all = 0.0
        self._running = False

    def toggle(self, _signo: int, _frame: FrameType | None) -> None:
        """Begin, or end and write."""
        self._running = not self._running
        signal.setitimer(signal.ITIMER_PROF, INTERVAL_SECONDS if self._running else 0.0, INTERVAL_SECONDS)
        own, everything = time.thread_time(), time.process_time()
        if self._running:
            self._stacks.clear()
            self._own, self._all = own, everything
            return
        found = {
            "main_seconds": own - self._own,
            "others_seconds": everything - self._all - (own - self._own),
            "stacks": [[list(stack), count] for stack, count in self._stacks.items()],
        }
        temporary = self._file.with_suffix(".new")
        temporary.write_text(json.dumps(found))
        temporary.replace(self._file)

    def sample(self, _signo: int, frame: FrameType | None) -> None:
        """Note where the main thread is."""
        stack: list[str] = []
        while frame is not None:
            name = frame.f_code.co_filename
            for package in PACKAGES:
                _, found, rest = name.rpartition(f"/{package}")
                if found:
                    stack.append(f"{package}{rest}:{frame.f_code.co_name}")
                    break
            frame = frame.f_back
        self._stacks[tuple(reversed(stack))] += 1


if __name__ == "__main__":
    sampler = Sampler(Path(sys.argv[1]))
    signal.signal(signal.SIGPROF, sampler.sample)
    signal.signal(signal.SIGUSR1, sampler.toggle)
    sys.exit(main(sys.argv[2:]))
