"""Stands in for the servers of all three metrics APIs: it answers with what a test says that there is."""

from __future__ import annotations

import asyncio
import base64
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from typing import Any

from aiohttp import web

from apiclient.rest import Client
from apimachinery.meta import Object
from apimachinery.resources import APISERVICES, ENDPOINTSLICES, NAMESPACES, SERVICES
from apimachinery.time import rfc3339
from tests.support.certificates import Authority

NAMESPACE, SERVICE = "metrics", "all"
VERSIONS = {"metrics.k8s.io": "v1beta1", "custom.metrics.k8s.io": "v1beta2", "external.metrics.k8s.io": "v1beta1"}
START_SECONDS_MAX = 60


@dataclass
class MetricsServer:
    """What is used: CPU by namespace and pod, and all other values by the path below the version."""

    bundle: str
    port: int = 0
    cpu: dict[str, dict[str, str]] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    async def serve(self, request: web.Request) -> web.Response:
        """One request."""
        match request.path.strip("/").split("/"):
            case ["apis", group, version]:
                told = {"groupVersion": f"{group}/{version}", "resources": []}
                return web.json_response({"kind": "APIResourceList", "apiVersion": "v1", **told})
            case ["apis", "metrics.k8s.io", _, "namespaces", namespace, "pods"]:
                used = self.cpu.get(namespace, {})
                return self._list([self._pod(namespace, pod, cpu) for pod, cpu in used.items()])
            case ["apis", _, _, *rest]:
                value = self.values.get("/".join(rest))
                return self._list([{"value": value, "timestamp": rfc3339(time())}] if value else [])
        return web.Response(status=404)

    def _pod(self, namespace: str, pod: str, cpu: str) -> Object:
        containers = [{"name": "app", "usage": {"cpu": cpu, "memory": "16Mi"}}]
        figures = {"timestamp": rfc3339(time()), "window": "15s", "containers": containers}
        return {"metadata": {"name": pod, "namespace": namespace}, **figures}

    def _list(self, items: list[Any]) -> web.Response:
        return web.json_response({"kind": "List", "apiVersion": "v1", "metadata": {}, "items": items})

    async def register(self, client: Client, address: str) -> None:
        """Hand the metrics APIs over to this server."""
        await client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        ports = [{"name": "https", "port": 443, "protocol": "TCP"}]
        await client.create(SERVICES, {"metadata": {"name": SERVICE}, "spec": {"ports": ports}}, NAMESPACE)
        slice_ = {
            "metadata": {"name": "all-1", "labels": {"kubernetes.io/service-name": SERVICE}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [address]}],
            "ports": [{"name": "https", "port": self.port}],
        }
        await client.create(ENDPOINTSLICES, slice_, NAMESPACE)
        for group, version in VERSIONS.items():
            spec = {"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100}
            spec |= {"service": {"namespace": NAMESPACE, "name": SERVICE}, "caBundle": self.bundle}
            await client.create(APISERVICES, {"metadata": {"name": f"{version}.{group}"}, "spec": spec})


@contextmanager
def metrics_server(folder: Path, address: str) -> Iterator[MetricsServer]:
    """A server that answers from a thread of its own, so that tests may wait for commands."""
    Authority().issue(folder, "metrics", "metrics", names=(f"{SERVICE}.{NAMESPACE}.svc",))
    server = MetricsServer(base64.b64encode((folder / "ca.crt").read_bytes()).decode())
    begun, end = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def run() -> None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(folder / "metrics.crt", folder / "metrics.key")
        application = web.Application()
        application.router.add_route("GET", "/{path:.*}", server.serve)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, address, 0, ssl_context=context).start()
        server.port = runner.addresses[0][1]
        begun.set()
        await end.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), name="metrics-server")
    thread.start()
    try:
        assert begun.wait(START_SECONDS_MAX)
        yield server
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join(START_SECONDS_MAX)
        loop.close()
