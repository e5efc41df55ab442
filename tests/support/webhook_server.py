"""An HTTPS server of webhooks for tests: who may be asked, what was asked, and over how many connections."""

from __future__ import annotations

import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from apimachinery.meta import Object
from tests.support.certificates import Authority

Handler = Callable[[Object], Awaitable[Any]]


class WebhookServer:
    """Webhooks by their paths. `base` is its URL, `bundle` the authority that it is known by."""

    def __init__(self, bundle: bytes) -> None:
        self.bundle = base64.b64encode(bundle).decode()
        self.port = 0
        self.handlers: dict[str, Handler] = {}
        self.asked: list[tuple[str, Object]] = []
        self.hosts: list[str] = []
        self.connections: set[int] = set()

    @property
    def base(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def reviews(self, path: str) -> list[Object]:
        """The requests that the webhook of a path was asked about."""
        return [document["request"] for asked, document in self.asked if asked == path]

    async def serve(self, request: web.Request) -> web.Response:
        """One call: what the path's handler returns, a document or a whole response."""
        document = orjson.loads(await request.read())
        self.asked.append((request.path, document))
        self.hosts.append(request.host)
        self.connections.add(id(request.transport))
        answer = await self.handlers[request.path](document)
        return answer if isinstance(answer, web.Response) else web.json_response(answer)


@asynccontextmanager
async def webhook_server(folder: Path, *names: str) -> AsyncIterator[WebhookServer]:
    """A server of this machine, whose certificate is for 127.0.0.1 and for these names."""
    authority = Authority()
    authority.issue(folder, "webhook", "webhook", address="127.0.0.1", names=names)
    server = WebhookServer((folder / "ca.crt").read_bytes())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "webhook.crt", folder / "webhook.key")
    application = web.Application()
    application.router.add_post("/{path:.*}", server.serve)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "0.0.0.0", 0, ssl_context=context)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()


def allow(review: Object, *, patch: Any = None, **response: Any) -> Object:
    """The review that answers another one with yes."""
    if patch is not None:
        encoded = base64.b64encode(orjson.dumps(patch)).decode()
        response |= {"patch": encoded, "patchType": "JSONPatch"}
    return answered(review, allowed=True, **response)


def deny(review: Object, message: str = "", code: int = 0) -> Object:
    """The review that answers another one with no."""
    status = {key: value for key, value in (("message", message), ("code", code)) if value}
    return answered(review, allowed=False, **({"status": status} if status else {}))


def answered(review: Object, **response: Any) -> Object:
    """The review that answers another one with these fields."""
    response = {"uid": review["request"]["uid"], **response}
    return {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": response}
