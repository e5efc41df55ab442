"""`python -m kubelet`: the agent of one node. SIGTERM ends the agent; the pods run on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import uvloop

from apiclient import logs
from apiclient.kubeconfig import Config, KubeconfigError, load
from apiclient.logs import kv
from kubelet import agent, options

logger = logging.getLogger("kubelet")

CERTIFICATE_FILES = ("ca.crt", "kubelet.crt", "kubelet.key")


def main() -> int:
    """Run until told to end; mistakes are told in one line."""
    given = options.parse()
    logs.setup(given.verbosity)
    try:
        config = load(given.kubeconfig)
        _check_certificates(given.cert_dir)
        uvloop.run(_run(given, config))
    except (KubeconfigError, OSError, TimeoutError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BaseExceptionGroup as group:
        for part in _leaves(group):
            if not isinstance(part, OSError):  # a fault of ours, and not of the machine's
                logger.error(kv("node agent failed", error=repr(part)), exc_info=part)
            print(f"error: {part}", file=sys.stderr)
        return 1
    return 0


def _check_certificates(folder: Path) -> None:
    """Say which file is missing before anything has begun. Raises OSError."""
    for name in CERTIFICATE_FILES:
        if not (folder / name).is_file():
            raise OSError(f"{folder / name} is missing: `python -m apiserver node-credentials` issues it")


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for part in group.exceptions:
        if isinstance(part, BaseExceptionGroup):
            yield from _leaves(part)
        else:
            yield part


async def _run(given: options.Options, config: Config) -> None:
    task = asyncio.ensure_future(agent.run(given, config))
    for signo in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signo, task.cancel)
    logger.info(kv("node agent starts", node=given.node.name, server=config.server))
    with contextlib.suppress(asyncio.CancelledError):
        await task
    logger.info(kv("node agent ends, its pods run on", node=given.node.name))


if __name__ == "__main__":
    sys.exit(main())
