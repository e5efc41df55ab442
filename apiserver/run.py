"""Puts the server together, runs it until it is told to stop, and takes it apart in order.

Up: store, then the handlers over it, then the port; ready once the objects that every cluster has are there.
Down (SIGTERM): not ready, watches end, running requests finish, the store closes.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import uvloop
from aiohttp import web

from apimachinery import resources
from apimachinery.errors import path_not_found, service_unavailable
from apimachinery.meta import Object
from apiserver import logs, request_info
from apiserver.authentication import Authenticator, TokenFileError, read_token_file
from apiserver.authorization import Authorizer
from apiserver.discovery import Discovery
from apiserver.health import Health
from apiserver.logs import kv
from apiserver.node_authorization import NodeAuthorizer
from apiserver.openapi import OpenAPI
from apiserver.options import Options
from apiserver.paths import Paths
from apiserver.request_info import User
from apiserver.server import Handler, Server, tls_context
from apiserver.storage.log import StorageError
from apiserver.storage.store import Store
from apiserver.storage.watch import Selection

log = logging.getLogger(__name__)


def run(options: Options, listener: socket.socket) -> int:
    """Serve until SIGTERM or SIGINT; what prevents a start is one line and status 1."""
    logs.setup(options.verbosity)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(options, listener))
    except (StorageError, TokenFileError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: Options, listener: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signo in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signo, stop.set)
    folder = options.data_dir
    authenticator = Authenticator(_tokens(options), now=time.time)
    tls = tls_context(*_serving_files(options), folder / "pki" / "ca.crt")
    store = Store(folder / "cluster.db", now=time.time)
    await store.open()
    health = Health()
    health.add("shutdown", lambda: "process is shutting down" if stop.is_set() else None, ["readyz"])
    authorizer = Authorizer(_node_authorizer(store))
    paths = Paths(
        discovery=Discovery(resources.BUILTIN, server_address=options.server_url.removeprefix("https://")),
        openapi=OpenAPI(resources.BUILTIN),
        health=health,
    )
    handler = _only_public(authenticator, authorizer, paths)
    server = Server(handler, request_timeout_seconds=options.request_timeout_seconds)
    await server.start(listener, tls)
    log.info(kv("listening", address=options.bind_address, port=options.secure_port, revision=store.revision))
    compaction = asyncio.create_task(store.compact_forever())
    await stop.wait()
    log.info(kv("stopping"))
    await asyncio.sleep(options.shutdown_delay_seconds)
    store.end_watches(service_unavailable("the server is shutting down"))
    await server.stop()
    compaction.cancel()
    await store.close()


def _only_public(authenticator: Authenticator, authorizer: Authorizer, paths: Paths) -> Handler:
    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        user = authenticator.authenticate(request)
        info = request_info.parse(request.method, request.rel_url.raw_path, request.query)
        authorizer.authorize(user, info)
        if info.resource:
            raise path_not_found()
        return await paths.serve(request, info)

    return handle


def _node_authorizer(store: Store) -> NodeAuthorizer:
    """Decides by the pods of the store, as they are at that moment."""
    pods = "core/pods"

    def find_pod(namespace: str, name: str) -> Object | None:
        entry = store.get(pods, namespace, name)
        return None if entry is None else entry.obj

    def pods_of(namespace: str, node: str) -> Iterator[Object]:
        for entry in store.select(pods, Selection(namespace=namespace)):
            if (entry.obj.get("spec") or {}).get("nodeName") == node:
                yield entry.obj

    return NodeAuthorizer(find_pod, pods_of)


def _tokens(options: Options) -> dict[str, User]:
    return read_token_file(options.token_auth_file or options.data_dir / "tokens.csv")


def _serving_files(options: Options) -> tuple[Path, Path]:
    if options.tls_cert_file is not None and options.tls_private_key_file is not None:
        return options.tls_cert_file, options.tls_private_key_file
    return options.data_dir / "pki" / "apiserver.crt", options.data_dir / "pki" / "apiserver.key"
