"""What a pod's worker has going on beside itself: pulls, hooks, grace periods; one at a time under each name."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from apiclient.clock import Clock
from apiclient.logs import kv
from apimachinery.errors import ApiError
from kubelet.containers.container_stopper import StillRunning
from kubelet.runtime import RuntimeFailure

logger = logging.getLogger(__name__)

RETRY_SECONDS = 0.5
# After a fault of our own, which is not going to pass.
FAULT_RETRY_SECONDS = 30.0

Operation = Coroutine[Any, Any, None]


class Operations:
    """Named tasks of `group`; `on_end` is called whenever one has ended, well or not.

    One that failed counts as going on for a moment longer, so that what starts it again does not do so at once.
    """

    def __init__(self, group: asyncio.TaskGroup, clock: Clock, on_end: Callable[[], None], *, pod: str) -> None:
        self._group = group
        self._clock = clock
        self._on_end = on_end
        self._pod = pod
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._tasks)

    @property
    def names(self) -> frozenset[str]:
        """What is going on."""
        return frozenset(self._tasks)

    def begin(self, name: str, operation: Operation) -> None:
        """Begin something, unless something of this name is going on already."""
        if name in self._tasks:
            operation.close()
        else:
            self._tasks[name] = self._group.create_task(self._run(name, operation))

    def cancel(self, names: Iterable[str]) -> None:
        """Call some of it off; each is gone from `names` once it has ended."""
        for name in names:
            self._tasks[name].cancel()

    async def _run(self, name: str, operation: Operation) -> None:
        try:
            await operation
        except (RuntimeFailure, StillRunning, ApiError, OSError) as error:
            logger.warning(kv("operation failed", pod=self._pod, operation=name, error=str(error)))
            await self._clock.sleep(RETRY_SECONDS)
        except Exception as error:  # a fault that shows with one pod must not end the others
            text = kv("operation failed", pod=self._pod, operation=name, error=repr(error))
            logger.error(text, exc_info=error)
            await self._clock.sleep(FAULT_RETRY_SECONDS)
        finally:
            del self._tasks[name]
            self._on_end()
