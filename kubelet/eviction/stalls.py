"""The kernel's sign that memory is short: processes wait for it (pressure stall information).

A node looks at its memory every ten seconds, and it can be gone in one. The kernel is asked to tell when tasks have
waited a tenth of two seconds for memory, which it does at most once in that time, and never on a machine that has
enough.

Source: https://docs.kernel.org/accounting/psi.html#monitoring-for-pressure-thresholds
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from apiclient.logs import kv

logger = logging.getLogger(__name__)

FILE = Path("/proc/pressure/memory")
# Without CAP_SYS_RESOURCE the window must be a multiple of two seconds.
TRIGGER = b"some 200000 2000000\0"


@contextmanager
def watching(stalled: Callable[[], None], file: Path = FILE) -> Iterator[bool]:
    """Call `stalled` whenever tasks wait for memory; False where the kernel does not tell."""
    try:
        pressure = os.open(file, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        logger.info(kv("no signs of memory pressure", file=file, error=str(error)))
        yield False
        return
    poll = select.epoll()
    loop = asyncio.get_running_loop()

    def ready() -> None:
        if poll.poll(0):
            stalled()

    try:
        os.write(pressure, TRIGGER)
        # The kernel tells by POLLPRI, which event loops do not wait for; this descriptor turns it into POLLIN.
        poll.register(pressure, select.EPOLLPRI)
        loop.add_reader(poll.fileno(), ready)
    except OSError as error:
        logger.info(kv("no signs of memory pressure", file=file, error=str(error)))
        poll.close()
        os.close(pressure)
        yield False
        return
    try:
        yield True
    finally:
        loop.remove_reader(poll.fileno())
        poll.close()
        os.close(pressure)
