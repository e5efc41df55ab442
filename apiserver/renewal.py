"""Renews certificates while the server runs: one that lives longer than a certificate must not end with it."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from apiserver import pki
from apiserver.logs import kv
from apiserver.options import Options

CHECK_SECONDS = 86400.0

log = logging.getLogger(__name__)


async def renew_forever(
    options: Options, chains: list[tuple[ssl.SSLContext, Path, Path]], now: Callable[[], float]
) -> None:
    """Once a day, make anew what expires soon and show it on new connections; what is open goes on as it is.

    `chains` are the contexts in use, each with the files of its certificate and key.
    """
    while True:
        await asyncio.sleep(CHECK_SECONDS)
        try:
            await renew(options, chains, now())
        except (pki.PkiError, OSError) as error:
            # The old certificates hold for months: there are many days left to see this and to try again.
            log.error(kv("certificates can't be renewed", error=error))


async def renew(options: Options, chains: list[tuple[ssl.SSLContext, Path, Path]], now: float) -> None:
    """Make what is missing or expires soon, and load all. Raises PkiError and OSError."""
    wanted = pki.wanted(options)
    if not pki.complete(options.data_dir, wanted, now):
        await asyncio.to_thread(pki.make, options.data_dir, wanted, now)
        log.info(kv("certificates renewed"))
    for context, certificate, key in chains:
        context.load_cert_chain(certificate, key)
