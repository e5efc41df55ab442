"""Puts the server together, runs it until it is told to stop, and takes it apart in order.

Up: the store, what every cluster has in it, the handlers over it, and then the port.
Down (SIGTERM): not ready any more, watches end, running requests finish, the store closes.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import uvloop

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import COMPONENTSTATUSES, CONFIGMAPS, EVENTS
from apiserver import admission, bootstrap, logs, resourcemetrics
from apiserver.access import Access, access
from apiserver.admission import configuration
from apiserver.admission.served import Served
from apiserver.aggregation import figures as aggregation_figures
from apiserver.aggregation import trust
from apiserver.aggregation.aggregator import Aggregator
from apiserver.aggregation.index import ApiServices
from apiserver.aggregation.local import LocalServices
from apiserver.aggregation.trust import Trust
from apiserver.authentication import TokenFileError
from apiserver.catalog import Catalog
from apiserver.components import component_statuses
from apiserver.connection import Trusted
from apiserver.customresources.keeper import Keeper
from apiserver.customresources.serving import Serving
from apiserver.discovery import Discovery
from apiserver.flowcontrol import FlowControl, dumps, figures
from apiserver.flowcontrol.setup import flow_control
from apiserver.following import follow
from apiserver.health import Health
from apiserver.logs import kv
from apiserver.metrics import Metrics
from apiserver.options import Options, first_service_address
from apiserver.paths import Paths
from apiserver.pipeline import Pipeline
from apiserver.proxying import Proxying
from apiserver.renewal import renew_forever
from apiserver.resourcemetrics import ResourceMetrics
from apiserver.rest.call import storage_key
from apiserver.rest.cluster import StoredCluster
from apiserver.rest.own_writes import OwnWrites
from apiserver.server import Server, TlsError, node_context, tls_context, trusted
from apiserver.storage.expiry import expire_forever
from apiserver.storage.log import StorageError
from apiserver.storage.store import Store
from apiserver.webhook_client import WebhookClient

if TYPE_CHECKING:
    from apiserver.openapi import OpenAPI

log = logging.getLogger(__name__)

# The part of its time that a request may wait for its seats, as in Kubernetes.
WAIT_SHARE_MAX = 0.25
# How long an event is kept after it was last seen, as in Kubernetes.
EVENT_SECONDS = 3600.0
# A request makes hundreds of containers that are gone with it, hardly any of them in cycles: looking for those rarely
# saves a tenth of all work.
GC_THRESHOLDS = (20_000, 20, 50)
# How soon the thread that commits gets on while requests keep this one busy. It gives way at every statement, and by
# default would wait 5 ms each time: a busy server would take 9 ms for a commit instead of one.
SWITCH_SECONDS = 0.0005


def run(options: Options, listener: socket.socket) -> int:
    """Serve until SIGTERM or SIGINT; what prevents a start is one line and status 1."""
    logs.setup(options.verbosity)
    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(options, listener))
    except (StorageError, TokenFileError, TlsError, ApiError, admission.ConfigurationError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


async def _run(options: Options, listener: socket.socket) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signo in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signo, stop.set)
    keys = options.data_dir / "pki"
    served_with, calling = _serving_files(options), (keys / "kubelet-client.crt", keys / "kubelet-client.key")
    authority, proxies = keys / "ca.crt", options.front_proxy
    tls, node_tls = tls_context(*served_with, authority, proxies.authority), node_context(*calling, authority)
    store = Store(options.data_dir / "cluster.db", now=time.time)
    await store.open()
    # What has been loaded stays: the collector of cycles need not go through it again and again.
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.enable()
    try:
        renew = partial(renew_forever, options, [(tls, *served_with), (node_tls, *calling)], time.time)
        port = Port(listener, tls, trusted(authority, proxies), renew)
        await serve(options, store, port, node_tls, trust.required(authority, proxies), stop=stop, now=time.time)
    finally:
        await store.close()


class Port(NamedTuple):
    """Where the server listens, with which TLS (None: none), what certificates of clients are good for, and what
    renews the server's own for as long as it runs.
    """

    listener: socket.socket
    tls: ssl.SSLContext | None
    trusted: Trusted
    renew: Callable[[], Coroutine[Any, Any, None]] | None = None


async def serve(
    options: Options,
    store: Store,
    port: Port,
    node_tls: ssl.SSLContext,
    known_by: Mapping[str, str],
    *,
    stop: asyncio.Event,
    now: Callable[[], float],
) -> None:
    """Serve what is in an open store until told to stop; all but the process, its signals and its keys is here.

    `known_by` is what extension servers read (`trust`).
    """
    await bootstrap.create_initial_objects(store, _place(options), known_by, now=now)
    health = Health()
    # Probes and balancers know the store by this name: `/readyz?exclude=etcd`.
    health.add("etcd", lambda: store.failure)
    health.add("shutdown", lambda: "process is shutting down" if stop.is_set() else None, ["readyz"])
    nodes = Proxying(StoredCluster(store), node_tls)
    webhooks = WebhookClient(StoredCluster(store))
    catalog = Catalog()
    catalog.define(resourcemetrics.GROUP, resourcemetrics.endpoints())
    used = ResourceMetrics(StoredCluster(store), node_tls, now)
    serving, own = Serving(store, catalog, webhooks), OwnWrites(store, now)
    keeper = Keeper(store, serving, own, now)
    services = ApiServices(store)
    local = LocalServices(store, services, serving, own, now)
    aggregator = Aggregator(store, services, own, options.front_proxy, now)
    metrics = Metrics(catalog.resource)
    who = access(options, store, now=now)
    flows, upkeep = flow_control(
        store,
        seats=options.max_requests_inflight + options.max_mutating_requests_inflight,
        wait_seconds_max=options.request_timeout_seconds * WAIT_SHARE_MAX,
        now=now,
    )
    paths = _paths(options, store, catalog, services, health, metrics, who, flows, now)
    plugins = _plugins(options, store, catalog, who, webhooks, now)
    pipeline = _pipeline(options, store, catalog, nodes, aggregator, paths, who, flows, plugins, used, now)
    server = Server(
        pipeline.handle, metrics, trusted=port.trusted, request_timeout_seconds=options.request_timeout_seconds
    )
    await server.start(port.listener, port.tls)
    log.info(kv("listening", address=options.bind_address, port=options.secure_port, revision=store.revision))
    async with asyncio.TaskGroup() as tasks:
        background = [
            tasks.create_task(store.compact_forever(options.compaction_interval_seconds)),
            tasks.create_task(flows.adjust_forever()),
            tasks.create_task(upkeep.run(now)),
            tasks.create_task(keeper.run()),
            tasks.create_task(local.run()),
            tasks.create_task(aggregator.run()),
            tasks.create_task(follow(store, CONFIGMAPS, Trust(own, known_by, now).changed, trust.SELECTION)),
            tasks.create_task(expire_forever(store, storage_key(EVENTS), EVENT_SECONDS)),
            *(tasks.create_task(loop()) for loop in who.loops),
            *([tasks.create_task(port.renew())] if port.renew is not None else ()),
        ]
        await stop.wait()
        log.info(kv("stopping"))
        await asyncio.sleep(options.shutdown_delay_seconds)
        server.refuse()
        store.end_watches()
        await nodes.close()
        await used.close()
        await aggregator.close()
        await server.finish()
        await webhooks.close()  # those that still run may have needed them
        for task in background:
            task.cancel()


def _paths(
    options: Options,
    store: Store,
    catalog: Catalog,
    services: ApiServices,
    health: Health,
    metrics: Metrics,
    who: Access,
    flows: FlowControl,
    now: Callable[[], float],
) -> Paths:
    def page() -> bytes:
        objects = [(resource, len(store.objects(storage_key(resource)))) for resource in catalog.stored()]
        more = (*figures.lines(flows), *aggregation_figures.lines(services))
        return metrics.text(objects, store.watcher_count(), more)

    def openapi() -> OpenAPI:
        from apiserver.openapi import OpenAPI

        return OpenAPI(catalog, services)

    return Paths(
        discovery=Discovery(catalog, services, server_address=options.server_url.removeprefix("https://")),
        openapi=openapi,
        health=health,
        metrics=page,
        openid=who.openid,
        flows=lambda name, details: dumps.page(name, flows, now(), details=details),
    )


def _plugins(
    options: Options,
    store: Store,
    catalog: Catalog,
    who: Access,
    webhooks: WebhookClient,
    now: Callable[[], float],
) -> admission.Chain:
    file = options.admission_control_config_file
    settings = admission.Settings(
        default_not_ready_toleration_seconds=options.default_not_ready_toleration_seconds,
        default_unreachable_toleration_seconds=options.default_unreachable_toleration_seconds,
        service_cluster_ip_range=options.service_cluster_ip_range,
        configuration=admission.Configuration() if file is None else configuration.read(file),
        enabled=options.enable_admission_plugins,
        disabled=options.disable_admission_plugins,
    )
    return admission.plugins(settings, who.authorizer, StoredCluster(store), Served(catalog), webhooks, now=now)


def _pipeline(
    options: Options,
    store: Store,
    catalog: Catalog,
    nodes: Proxying,
    aggregator: Aggregator,
    paths: Paths,
    who: Access,
    flows: FlowControl,
    plugins: admission.Chain,
    used: ResourceMetrics,
    now: Callable[[], float],
) -> Pipeline:
    cluster = StoredCluster(store)

    async def statuses(namespace: str, name: str) -> list[Object]:
        return component_statuses(cluster, store.failure, now())

    return Pipeline(
        store,
        catalog,
        authenticator=who.authenticator,
        authorize=who.authorizer.authorize,
        paths=paths.serve,
        nodes=nodes.serve,
        aggregator=aggregator,
        plugins=plugins,
        questions=who.questions,
        flows=flows,
        found_out={COMPONENTSTATUSES.key: statuses, **used.found_out()},
        watch_seconds_min=options.min_request_timeout_seconds,
        now=now,
    )


def _place(options: Options) -> bootstrap.Place:
    service_address = first_service_address(options.service_cluster_ip_range)
    return bootstrap.Place(options.advertise_address, options.secure_port, service_address)


def _serving_files(options: Options) -> tuple[Path, Path]:
    if options.tls_cert_file is not None and options.tls_private_key_file is not None:
        return options.tls_cert_file, options.tls_private_key_file
    return options.data_dir / "pki" / "apiserver.crt", options.data_dir / "pki" / "apiserver.key"
