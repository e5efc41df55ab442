"""What a part serves itself: who gets to see it, whether it is well, and figures of its queues and requests."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from apiclient.clock import SystemClock
from apiclient.controller import run_workers
from apiclient.kubeconfig import Config
from apiclient.rest import Client
from apiclient.serving import flags
from apiclient.serving.figures import Figures
from apiclient.serving.health import Answer, Health
from apiclient.serving.reviews import Reviews
from apiclient.serving.server import ComponentServer, Pages, Place
from apiclient.workqueue import WorkQueue
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import PODS, TOKENREVIEWS, Resource
from tests.support.certificates import Authority, client_context
from tests.support.clock import ManualClock
from tests.support.exposition import Page
from tests.support.raw_server import Peer, raw_server


class Reviewer:
    """An API server that knows one token, whose owner may see /metrics."""

    async def create(self, resource: Resource, review: Object) -> Object:
        spec = review["spec"]
        if resource is TOKENREVIEWS:
            known = {"authenticated": spec["token"] == "good", "user": {"username": "prometheus"}}
            return {**review, "status": known}
        allowed = spec["nonResourceAttributes"] == {"verb": "get", "path": "/metrics"}
        return {**review, "status": {"allowed": spec["user"] == "prometheus" and allowed}}


@asynccontextmanager
async def serving(folder: Path, health: Health | None = None) -> AsyncIterator[str]:
    """A server, by its address."""
    authority, clock = Authority(), SystemClock()
    authority.issue(folder, "server", "server", address="127.0.0.1")
    authority.issue(folder, "admin", "admin", "system:masters")
    authority.issue(folder, "guest", "guest")
    place = Place("127.0.0.1", 0, folder / "server.crt", folder / "server.key", folder / "ca.crt")
    pages = Pages(health or Health({}), Figures(clock), lambda: {"kind": "Configuration"})
    server = ComponentServer(place, pages, Reviews(Reviewer(), clock), clock)  # type: ignore[arg-type]
    task = asyncio.create_task(server.run())
    async with asyncio.timeout(30):
        await server.listening()
        try:
            yield f"https://127.0.0.1:{server.port}"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def ask(folder: Path, url: str, *, who: str = "", token: str = "", method: str = "GET") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    context = client_context(folder, folder, who)
    async with aiohttp.ClientSession() as session, session.request(method, url, ssl=context, headers=headers) as got:
        return got.status, await got.text()


async def test_anybody_may_ask_whether_a_part_is_well_and_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as url:
        for path in ("/healthz", "/livez", "/readyz"):
            assert await ask(tmp_path, url + path) == (200, "ok")
        for path in ("/metrics", "/metrics/slis", "/configz", "/healthz/ping", "/nothing"):
            assert (await ask(tmp_path, url + path))[0] == 401


async def test_figures_are_for_those_whose_certificate_or_token_gives_the_right(tmp_path: Path) -> None:
    async with serving(tmp_path) as url:
        status, page = await ask(tmp_path, f"{url}/metrics", who="admin")
        assert status == 200 and Page(page).types["process_cpu_seconds_total"] == "counter"
        assert (await ask(tmp_path, f"{url}/metrics", token="good"))[0] == 200
        assert (await ask(tmp_path, f"{url}/metrics", token="bad"))[0] == 401
        status, refused = await ask(tmp_path, f"{url}/metrics", who="guest")
        assert status == 403 and 'User \\"guest\\" cannot get path \\"/metrics\\"' in refused
        assert (await ask(tmp_path, f"{url}/configz", token="good"))[0] == 403
        assert await ask(tmp_path, f"{url}/configz", who="admin") == (200, '{"kind":"Configuration"}')


async def test_what_is_not_there_or_not_asked_by_get_is_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as url:
        for path in ("/nothing", "/healthz/nothing", "/healthzx", "/healthz/ping/more"):
            assert (await ask(tmp_path, url + path, who="admin"))[0] == 404
        assert (await ask(tmp_path, f"{url}/metrics", who="admin", method="POST"))[0] == 405
        assert await ask(tmp_path, f"{url}/healthz", method="HEAD") == (200, "")


async def test_a_request_that_is_none_does_not_end_the_server(tmp_path: Path) -> None:
    async with serving(tmp_path) as url:
        host, port = "127.0.0.1", int(url.rpartition(":")[2])
        for nonsense in (b"\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"x" * 50_000):
            context = client_context(tmp_path, tmp_path)
            reader, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.write(nonsense)
            assert (await reader.read()).startswith((b"HTTP/1.1 400", b""))
            writer.close()
        assert await ask(tmp_path, f"{url}/healthz") == (200, "ok")


def test_a_check_that_fails_is_named_and_its_reason_told_to_who_asks_for_it() -> None:
    health = Health({"leaderElection": lambda: "not renewed"})
    told = "[+]ping ok\n[-]leaderElection failed: reason withheld\nhealthz check failed\n"
    assert health.answer("/healthz", {}) == Answer(500, told)
    assert health.answer("/healthz/leaderElection", {}) == Answer(500, "internal server error: not renewed\n")
    assert health.answer("/healthz", {"exclude": ["leaderElection"]}) == Answer(200, "ok")
    verbose = "[+]ping ok\n[+]leaderElection excluded: ok\nreadyz check passed\n"
    assert health.answer("/readyz", {"exclude": ["leaderElection"], "verbose": [""]}) == Answer(200, verbose)
    slis = Page(health.figures())
    failing = (("name", "leaderElection"), ("type", "livez"))
    assert slis.samples["kubernetes_healthcheck", failing] == 0


async def test_queues_tell_how_much_waits_and_how_long_it_takes() -> None:
    clock = ManualClock()
    queue, figures = WorkQueue(clock), Figures(clock)
    figures.follow_queue("deployment", queue)
    failing = True

    async def reconcile(key: str) -> None:
        await clock.sleep(2)
        if key == "b" and failing:
            raise ApiError(503, "ServiceUnavailable", "away")

    for key in ("a", "b", "b"):
        queue.add(key)
    task = asyncio.create_task(run_workers(queue, reconcile, name="deployment", workers=1))
    await clock.advance(1)
    now = Page(figures.page()).samples
    name = (("name", "deployment"),)
    assert now["workqueue_adds_total", name] == 2 and now["workqueue_depth", name] == 1
    assert now["workqueue_unfinished_work_seconds", name] == 1
    assert now["workqueue_longest_running_processor_seconds", name] == 1
    await clock.advance(3.001)
    failing = False
    await clock.advance(5)
    now = Page(figures.page()).samples
    assert now["workqueue_depth", name] == 0 and now["workqueue_unfinished_work_seconds", name] == 0
    assert now["workqueue_retries_total", name] == 1 and now["workqueue_adds_total", name] == 3
    assert now["workqueue_work_duration_seconds_count", name] == 3
    assert now["workqueue_work_duration_seconds_sum", name] == pytest.approx(6)
    assert now["workqueue_queue_duration_seconds_sum", name] == pytest.approx(2)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_requests_are_counted_by_what_the_server_answered() -> None:
    async def answer(peer: Peer) -> None:
        for status in ("200 OK", "404 Not Found"):
            await peer.request()
            await peer.answer(status=status)
        await peer.request()
        peer.reset()

    async with (
        raw_server(answer) as server,
        asyncio.timeout(20),
        await Client.connect(Config(server=server.url)) as client,
    ):
        figures = Figures(SystemClock())
        figures.follow_client(client)
        await client.get(PODS, "web", "default")
        for _ in range(2):
            with pytest.raises(ApiError):
                await client.delete(PODS, "web", "default")
        host = server.url.removeprefix("http://")
        counted = Page(figures.page()).samples
        for code, method in (("200", "GET"), ("404", "DELETE"), ("<error>", "DELETE")):
            labels = (("code", code), ("host", host), ("method", method))
            assert counted["rest_client_requests_total", labels] == 1


def test_a_port_needs_a_certificate_and_no_port_is_no_server() -> None:
    parser = argparse.ArgumentParser()
    flags.add_flags(parser)
    assert flags.place(parser.parse_args([])) is None
    with pytest.raises(ValueError, match="--tls-cert-file"):
        flags.place(parser.parse_args(["--secure-port=10257"]))
    told = parser.parse_args(["--secure-port=10257", "--tls-cert-file=a", "--tls-private-key-file=b"])
    assert flags.place(told) == Place("127.0.0.1", 10257, Path("a"), Path("b"))
