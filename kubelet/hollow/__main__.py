"""`python -m kubelet.hollow`: many nodes that run nothing, until SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import signal
import sys

import uvloop

from apiclient import logs
from apiclient.clock import SystemClock
from apiclient.kubeconfig import Config, KubeconfigError, load
from apiclient.logs import kv
from apiclient.rest import Client
from kubelet.hollow import options
from kubelet.hollow.agent import HollowAgents

logger = logging.getLogger("kubelet.hollow")


def main() -> int:
    """Run until told to end; mistakes are told in one line."""
    given = options.parse()
    logs.setup(given.verbosity)
    try:
        uvloop.run(_run(given, load(given.kubeconfig)))
    except (KubeconfigError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(given: options.Options, config: Config) -> None:
    async with (
        await Client.connect(config, user_agent="hollow-nodes") as client,
        await Client.connect(config, user_agent="hollow-nodes") as lease_client,
    ):
        agents = HollowAgents(
            client, given.settings, clock=SystemClock(), rng=random.Random(given.seed), lease_client=lease_client
        )
        task = asyncio.ensure_future(agents.run())
        for signo in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(signo, task.cancel)
        logger.info(kv("hollow nodes start", count=given.settings.count, server=config.server))
        with contextlib.suppress(asyncio.CancelledError):
            await task
        logger.info(kv("hollow nodes end"))


if __name__ == "__main__":
    sys.exit(main())
