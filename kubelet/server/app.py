"""The node agent's HTTPS server.

    GET  /healthz
    GET  /pods, /runningpods/                           the pods of this node: of the API, and of the runtime
    GET  /configz                                       how this agent is run
    GET  /containerLogs/NAMESPACE/POD/CONTAINER         query: see log_query.py
    GET  /exec/NAMESPACE/POD[/UID]/CONTAINER            WebSocket; query: command, input, output, error, tty
    GET  /attach/NAMESPACE/POD[/UID]/CONTAINER          WebSocket; query: input, output, error, tty
    GET  /portForward/NAMESPACE/POD[/UID]               WebSocket; query: port
    POST /run/NAMESPACE/POD[/UID]/CONTAINER             query: cmd
    GET  /logs/…                                        the node's own logs
    GET  /metrics, /metrics/cadvisor, /metrics/probes, /metrics/resource, /stats/summary

Who may ask what stands in access.py. What is refused is answered in plain text, which the API server passes on in its
own form.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from apiclient.clock import Clock
from apiclient.logs import kv
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from kubelet import instruments, paths
from kubelet.containers import handlers
from kubelet.network import Dialer
from kubelet.node.node_settings import NodeSettings
from kubelet.runtime import ContainerState, ExecHandle, ExecIO, Runtime, RuntimeFailure
from kubelet.server import log_query, node_logs, pods, port_forward, remote_command
from kubelet.server.access import Access
from kubelet.server.inotify import Inotify
from kubelet.server.log_choice import choose_attempt
from kubelet.server.log_reader import LogReader
from kubelet.server.pods import Pods
from kubelet.server.stats import PATHS, Place

if TYPE_CHECKING:
    from kubelet.server.stats.pages import Pages

logger = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
POD_PATH, POD_UID_PATH = "{namespace}/{pod}", "{namespace}/{pod}/{uid}"
CONTAINER_PATH, CONTAINER_UID_PATH = f"{POD_PATH}/{{container}}", f"{POD_UID_PATH}/{{container}}"
SHUTDOWN_SECONDS = 1.0
RUN_SECONDS_MAX = 120.0
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT")
LONG_RUNNING = ("exec", "attach", "portForward")
# A program that uses a terminal must be told which; this is the one that every system knows.
TERMINAL_ENV = {"TERM": "xterm"}


class KubeletServer:
    """Serves until cancelled. `pod_changed` is to be called whenever the runtime says that a pod has changed."""

    def __init__(
        self,
        node: NodeSettings,
        *,
        cert_dir: Path,
        root_dir: Path,
        image_dir: Path,
        cgroup_root: str,
        pods: Pods,
        runtime: Runtime,
        clock: Clock,
        client: Client | None = None,
        configuration: Object | None = None,
    ) -> None:
        """`client` asks the API server who may do what; without one only masters get in."""
        self._address, self._port = node.address, node.port
        self._access = Access(node.name, client, clock)
        self._configuration = configuration or {}
        self._place = Place(node.name, root_dir, image_dir, cgroup_root)
        self._pages: Pages | None = None
        self._cert_dir = cert_dir
        self._root = root_dir
        self._pods = pods
        self._runtime = runtime
        self._clock = clock
        self._inotify = Inotify()
        self._dialer = Dialer()
        self._readers: defaultdict[str, set[asyncio.Event]] = defaultdict(set)
        self._listening = asyncio.Event()
        self.bound_port = 0

    async def run(self) -> None:
        """Listen and serve. Raises OSError when the certificates can't be read or the port is taken."""
        runner = web.AppRunner(
            self._application(), access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_SECONDS
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._address, self._port, ssl_context=self._tls(), reuse_address=True)
            await site.start()
            self.bound_port = runner.addresses[0][1]
            self._listening.set()
            logger.info(kv("serving", address=self._address, port=self.bound_port))
            await asyncio.get_running_loop().create_future()
        finally:
            await runner.cleanup()
            if self._pages is not None:
                await self._pages.close()
            self._dialer.close()

    async def listening(self) -> None:
        """Wait until the server can be reached."""
        await self._listening.wait()

    def pod_changed(self, pod_uid: str) -> None:
        """A container of this pod has started or ended: those who follow its logs must look."""
        for reader in self._readers.get(pod_uid, ()):
            reader.set()

    def _application(self) -> web.Application:
        app = web.Application(middlewares=[self._guarded])
        app.router.add_get("/healthz", _healthz)
        app.router.add_get("/pods", self._list_pods)
        app.router.add_get("/runningpods/", self._list_running_pods)
        app.router.add_get("/configz", self._show_configuration)
        app.router.add_get("/logs/{path:.*}", node_logs.show)
        app.router.add_get(f"/containerLogs/{CONTAINER_PATH}", self._logs)
        for path in (CONTAINER_PATH, CONTAINER_UID_PATH):
            app.router.add_get(f"/exec/{path}", self._exec)
            app.router.add_get(f"/attach/{path}", self._attach)
            app.router.add_post(f"/run/{path}", self._run_command)
        for path in (POD_PATH, POD_UID_PATH):
            app.router.add_get(f"/portForward/{path}", self._port_forward)
        for path in PATHS:
            app.router.add_get(path, self._show_figures)
        return app

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._cert_dir / "kubelet.crt", self._cert_dir / "kubelet.key")
        context.load_verify_locations(self._cert_dir / "ca.crt")
        # Whoever shows no certificate is told so with 401, not with a broken connection.
        context.verify_mode = ssl.CERT_OPTIONAL
        return context

    async def _list_pods(self, request: web.Request) -> web.Response:
        return _json(pods.listed(self._pods.list()))

    async def _list_running_pods(self, request: web.Request) -> web.Response:
        return _json(pods.listed([pods.running(one) for one in await self._runtime.sandboxes() if one.alive]))

    async def _show_configuration(self, request: web.Request) -> web.Response:
        return _json({"kubeletconfig": self._configuration})

    async def _show_figures(self, request: web.Request) -> web.Response:
        if self._pages is None:
            from kubelet.server.stats.pages import Pages

            self._pages = Pages(self._place, self._pods, self._runtime, self._clock)
        return await self._pages.answer(_route(request), request)

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        options = log_query.parse(request.query, self._clock.now())
        pod, container = self._named(request)
        runs = self._runs(pod, container)
        kept = _kept(paths.pod_logs_dir(self._root, pod) / container)
        attempt = choose_attempt(pod, container, runs, kept, previous=options.previous)
        with closing(LogReader(paths.container_log(self._root, pod, container, attempt), options)) as reader:
            if not options.follow:
                return await _send(request, reader.read())

            def has_ended() -> bool:
                runs = self._runs(pod, container)
                return all(run.attempt != attempt or run.status == "exited" for run in runs)

            with self._listening_to(pod["metadata"]["uid"]) as changed:
                return await _send(request, reader.follow(self._inotify, has_ended, changed))

    @contextmanager
    def _listening_to(self, pod_uid: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever a pod has changed."""
        changed = asyncio.Event()
        self._readers[pod_uid].add(changed)
        try:
            yield changed
        finally:
            self._readers[pod_uid].discard(changed)
            if not self._readers[pod_uid]:
                del self._readers[pod_uid]

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        streams = remote_command.parse_streams(request)
        command = request.query.getall("command", [])
        if not command:
            raise ApiError(400, "BadRequest", "you must specify the command to run")
        pod, container = self._named(request)
        run = self._running(pod, container)

        async def start(io: ExecIO) -> ExecHandle:
            env = TERMINAL_ENV if streams.tty else None
            return await self._runtime.exec(pod["metadata"]["uid"], run.id, command, io=io, env=env, tty=streams.tty)

        return await remote_command.serve(request, streams, start, tells_exit_code=True)

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        streams = remote_command.parse_streams(request)
        pod, container = self._named(request)
        run = self._running(pod, container)

        async def start(io: ExecIO) -> ExecHandle:
            return await self._runtime.attach(pod["metadata"]["uid"], run.id, io)

        return await remote_command.serve(request, streams, start, tells_exit_code=False)

    async def _run_command(self, request: web.Request) -> web.Response:
        pod, container = self._named(request)
        run, argv = self._running(pod, container), request.query.get("cmd", "").split(" ")
        try:
            answer = await handlers.run_command(
                self._runtime, pod["metadata"]["uid"], run.id, argv, timeout_seconds=RUN_SECONDS_MAX
            )
        except (RuntimeFailure, handlers.NoAnswer) as error:
            raise ApiError(500, "InternalError", str(error)) from error
        if answer.code:
            text = f"command '{' '.join(argv)}' exited with {answer.code}: {answer.text}"
            raise ApiError(500, "InternalError", text)
        return web.Response(text=answer.text)

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        ports = port_forward.parse_ports(request)
        words = request.match_info
        pod = pods.find_pod(self._pods, words["namespace"], words["pod"], words.get("uid", ""))
        uid = pod["metadata"]["uid"]
        sandbox = self._runtime.sandbox(uid)
        if sandbox is None or not sandbox.alive:
            raise ApiError(500, "InternalError", f'sandbox not found: pod "{words["pod"]}" does not run')
        connect = partial(self._dialer.connect, sandbox.netns_path)
        return await port_forward.serve(request, ports, f"{words['pod']}, uid {uid}", connect)

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may, put what went wrong into words, and count."""
        began = self._clock.monotonic()
        try:
            return await self._admitted(request, handler)
        except ApiError as error:
            return web.Response(status=error.code, text=error.message)
        except web.HTTPException as error:
            return web.Response(status=error.status, text=error.reason, headers=error.headers)
        except OSError as error:
            logger.warning(kv("request failed", path=request.path, error=str(error)))
            return web.Response(status=500, text=str(error))
        finally:
            labels = _counted_as(request)
            instruments.HTTP_REQUESTS.add(*labels)
            instruments.HTTP_SECONDS.add(self._clock.monotonic() - began, *labels)

    async def _admitted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        transport = request.transport
        certificate = transport.get_extra_info("peercert") if transport is not None else None
        authorization = request.headers.get("Authorization", "")
        # What is decided on is what will answer, not how the path was written.
        await self._access.admit(certificate, authorization, request.method, _route(request))
        return await handler(request)

    def _named(self, request: web.Request) -> tuple[Object, str]:
        words = request.match_info
        pod = pods.find(self._pods, words["namespace"], words["pod"], words["container"], words.get("uid", ""))
        return pod, words["container"]

    def _runs(self, pod: Object, container: str) -> list[ContainerState]:
        sandbox = self._runtime.sandbox(pod["metadata"]["uid"])
        return [state for state in sandbox.containers if state.name == container] if sandbox else []

    def _running(self, pod: Object, container: str) -> ContainerState:
        for run in self._runs(pod, container):
            if run.status == "running":
                return run
        raise ApiError(500, "InternalError", f'container not found ("{container}")')


async def _send(request: web.Request, pieces: AsyncGenerator[bytes, None]) -> web.StreamResponse:
    """Answer with what comes, as it comes; what breaks off in the middle must not look like the end."""
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    try:
        async with aclosing(pieces):
            async for piece in pieces:
                await response.write(piece)
        await response.write_eof()
    except ConnectionError:
        pass  # the client went, which ends a log that is followed
    except OSError as error:
        logger.warning(kv("answer broken off", path=request.path, error=str(error)))
        if request.transport is not None:
            request.transport.abort()
    return response


async def _healthz(request: web.Request) -> web.Response:
    return web.Response(text="ok")


def _json(document: Object) -> web.Response:
    return web.Response(body=orjson.dumps(document), content_type="application/json")


def _route(request: web.Request) -> str:
    """The path as its handler was added, "" if nobody answers it."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else ""


def _counted_as(request: web.Request) -> tuple[str, str, str, str]:
    """(method, path, server, whether it goes on), of which there are only so many."""
    steps = _route(request).strip("/").split("/")
    path = "/".join(steps[:2]) if steps[0] == "metrics" else steps[0] or "other"
    method = request.method if request.method in METHODS else "other"
    return method, path, "readwrite", "true" if path in LONG_RUNNING else "false"


def _kept(folder: Path) -> list[int]:
    """The attempts whose logs are still there."""
    try:
        return [int(path.stem) for path in folder.iterdir() if path.suffix == ".log" and path.stem.isdigit()]
    except FileNotFoundError:
        return []
