"""The two answers that every part of the server gives: JSON that is ready, and an error as a `Status` object."""

from __future__ import annotations

import orjson
from aiohttp import web

from apimachinery.errors import ApiError

JSON = "application/json"


def json_response(body: bytes, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """An answer of encoded JSON."""
    return web.Response(body=body, status=status, headers={"Content-Type": JSON, **(headers or {})})


def error_response(error: ApiError) -> web.Response:
    """The `Status` object of an error, with the headers that go with its code."""
    headers = {}
    if error.retry_after_seconds is not None:
        headers["Retry-After"] = str(error.retry_after_seconds)
    return json_response(orjson.dumps(error.status()), error.code, headers)
