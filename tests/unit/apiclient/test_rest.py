"""The REST client: what one connection pool can carry at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from aiohttp import web

from apiclient.kubeconfig import Config
from apiclient.rest import BUSY_REQUESTS, REQUESTS_MAX, Client
from apimachinery.errors import ApiError, already_exists, bad_request
from apimachinery.resources import NODES, PODS
from tests.support.raw_server import Peer, raw_server


async def test_watches_never_keep_requests_from_being_sent() -> None:
    watching = asyncio.Semaphore(0)

    async def answer(request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return web.json_response({"kind": "Node"})
        response = web.StreamResponse()
        await response.prepare(request)
        watching.release()
        await asyncio.Event().wait()
        return response

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        port = runner.addresses[0][1]
        client = await stack.enter_async_context(await Client.connect(Config(server=f"http://127.0.0.1:{port}")))
        watches = [client.watch(PODS, resource_version="1") for _ in range(REQUESTS_MAX + 1)]
        tasks = [asyncio.ensure_future(anext(watch)) for watch in watches]
        async with asyncio.timeout(20):
            for _ in watches:
                await watching.acquire()
            assert await client.get(NODES, "node-1") == {"kind": "Node"}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_who_can_wait_is_told_when_little_is_under_way() -> None:
    asked, answering = asyncio.Semaphore(0), asyncio.Event()

    async def answer(peer: Peer) -> None:
        await peer.request()
        asked.release()
        await answering.wait()
        await peer.answer()
        await peer.gone()

    async with (
        raw_server(answer) as server,
        asyncio.timeout(20),
        await Client.connect(Config(server=server.url)) as client,
    ):
        await client.calm()
        requests = [asyncio.ensure_future(client.request("GET", "/x")) for _ in range(BUSY_REQUESTS)]
        for _ in requests:
            await asked.acquire()
        waiting = asyncio.ensure_future(client.calm())
        await asyncio.sleep(0)
        assert not waiting.done()
        answering.set()
        await waiting
        await asyncio.gather(*requests)


async def test_who_leads_no_longer_reads_but_does_not_write() -> None:
    methods: list[str] = []

    async def answer(peer: Peer) -> None:
        while True:
            methods.append((await peer.request()).method)
            await peer.answer()

    leads = True
    async with (
        raw_server(answer) as server,
        asyncio.timeout(20),
        await Client.connect(Config(server=server.url)) as client,
    ):
        client.write_while(lambda: leads)
        await client.delete(NODES, "node-1")
        leads = False
        await client.get(NODES, "node-1")
        with pytest.raises(ApiError, match="leads no longer"):
            await client.delete(NODES, "node-1")
    assert methods == ["DELETE", "GET"]


async def test_who_stops_leading_while_it_connects_writes_nothing() -> None:
    async def answer(peer: Peer) -> None:
        await peer.gone()

    answers = iter((True, False))
    async with (
        raw_server(answer) as server,
        asyncio.timeout(20),
        await Client.connect(Config(server=server.url)) as client,
    ):
        client.write_while(lambda: next(answers))
        with pytest.raises(ApiError, match="leads no longer"):
            await client.delete(NODES, "node-1")


async def test_a_server_that_takes_one_object_at_a_time_is_not_asked_for_more_again() -> None:
    kinds: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        sent = await request.json()
        kinds.append(sent["kind"])
        if sent["kind"] == "List":
            refusal = bad_request('List in version "v1" cannot be handled as a Pod').status()
            return web.json_response(refusal, status=400)
        if sent["metadata"]["name"] == "taken":
            return web.json_response(already_exists("pods", "taken").status(), status=409)
        return web.json_response(sent, status=201)

    app = web.Application()
    app.router.add_post("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    pods = [{"kind": "Pod", "metadata": {"name": name}} for name in ("a", "taken", "b")]
    async with AsyncExitStack() as stack:
        stack.push_async_callback(runner.cleanup)
        port = runner.addresses[0][1]
        client = await stack.enter_async_context(await Client.connect(Config(server=f"http://127.0.0.1:{port}")))
        for _ in range(2):
            first, taken, last = await client.create_each(PODS, pods, "default")
            assert (first, last) == (pods[0], pods[2])
            assert isinstance(taken, ApiError) and taken.code == 409
    assert kinds == ["List", *["Pod"] * 6]
