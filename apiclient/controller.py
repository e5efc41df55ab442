"""The one loop that all controllers share: take a key, reconcile it, forget it or try it again later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from apiclient.logs import kv
from apiclient.workqueue import WorkQueue
from apimachinery.errors import ApiError, is_conflict

logger = logging.getLogger(__name__)

Reconcile = Callable[[str], Awaitable[None]]


async def run_workers(queue: WorkQueue, reconcile: Reconcile, *, name: str, workers: int = 4) -> None:
    """Work on the queue until cancelled; no failure of one key ever ends a worker."""
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(_work(queue, reconcile, name))
    finally:
        queue.shut_down()


async def _work(queue: WorkQueue, reconcile: Reconcile, name: str) -> None:
    while True:
        key = await queue.get()
        try:
            await reconcile(key)
        except Exception as error:  # noqa: BLE001 - a worker outlives whatever one key does
            _tell(name, key, error, queue.num_requeues(key))
            queue.add_rate_limited(key)
        else:
            queue.forget(key)
        finally:
            queue.done(key)


def _tell(name: str, key: str, error: Exception, failures: int) -> None:
    """Conflicts and a server that is away are daily business: told only when they last."""
    if isinstance(error, ApiError):
        passing = is_conflict(error) or error.code in (409, 429, 503, 504)
        if not passing or failures >= 8:
            logger.warning(kv("reconcile failed", controller=name, key=key, error=error.message, failures=failures))
    else:
        logger.error(kv("reconcile failed", controller=name, key=key, error=repr(error)), exc_info=error)
