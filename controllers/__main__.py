"""`python -m controllers`: run the control loops until told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import uvloop

from apiclient import logs
from apiclient.kubeconfig import KubeconfigError, load
from apiclient.serving import flags as serving
from controllers import flags, manager


def main() -> int:
    """Read the flags and run; returns the exit status."""
    args = flags.parse()
    logs.setup(args.v)
    try:
        names = flags.chosen_controllers(args.controllers, cluster_cidr=args.cluster_cidr)
        config = load(args.kubeconfig)
        options = flags.options(args, ca_pem=config.ca_pem)
        place, election = serving.place(args), flags.leader_election(args)
    except (KubeconfigError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    uvloop.run(_until_stopped(manager.run(config, options, names, election, place)))
    return 0


async def _until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Run until SIGTERM or SIGINT; then end in order, so that another manager may lead at once."""
    task = asyncio.create_task(work)
    for signo in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signo, task.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await task


if __name__ == "__main__":
    sys.exit(main())
