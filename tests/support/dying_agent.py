"""A node agent that counts the steps it takes for its first pod, or kills itself at one of them.

    python -m tests.support.dying_agent record FILE FLAGS…      write down each step, in order
    python -m tests.support.dying_agent STEP FILE FLAGS…        SIGKILL when STEP is come to

A step is the beginning or the end of a function of the node agent: between any two of them something may have been
made or taken away. The first and the second time count as different steps, as `MODULE.FUNCTION begins 1`.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

from kubelet import __main__ as agent
from kubelet.pods.pod_worker import PodWorker

TIMES_MAX = 2
_PACKAGE = str(Path(agent.__file__).parent)
_EVENTS = {"call": "begins", "return": "ends"}


def watch(wanted: str, record_fd: int) -> None:
    """Follow every function of the node agent from the moment that it takes on a pod."""
    times: Counter[str] = Counter()
    begun = False

    def profile(frame: FrameType, event: str, _argument: object) -> None:
        nonlocal begun
        code = frame.f_code
        if event not in _EVENTS or not code.co_filename.startswith(_PACKAGE):
            return
        if not begun:
            begun = code is PodWorker.__init__.__code__
            return
        module = code.co_filename.removeprefix(_PACKAGE).removesuffix(".py").strip("/").replace("/", ".")
        name = f"{module}.{code.co_qualname} {_EVENTS[event]}"
        times[name] += 1
        if times[name] > TIMES_MAX:
            return
        step = f"{name} {times[name]}"
        if step == wanted:
            os.kill(os.getpid(), signal.SIGKILL)
        if record_fd >= 0:
            os.write(record_fd, f"{step}\n".encode())

    threading.setprofile(profile)
    sys.setprofile(profile)


def main() -> None:
    """Be a node agent, watched."""
    wanted, record = sys.argv[1:3]
    recorder = wanted == "record"
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    watch(wanted, os.open(record, flags, 0o600) if recorder else -1)
    sys.argv[1:3] = []
    agent.main()


if __name__ == "__main__":
    main()
