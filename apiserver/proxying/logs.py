"""`pods/NAME/log`: GET /containerLogs/NAMESPACE/POD/CONTAINER of the node's agent, passed on as it comes."""

from __future__ import annotations

import aiohttp
from aiohttp import web

from apimachinery.meta import Object
from apiserver.pod_streams import log_location
from apiserver.proxying.agents import Agents


async def serve(http: web.BaseRequest, agents: Agents, pod: Object) -> web.StreamResponse:
    """Answer with a container's log. Raises ApiError, or ConnectionError if it breaks off."""
    location = log_location(pod, http.query)
    if location is None:
        return web.Response(content_type="text/plain")  # nothing has been logged yet
    async with agents.get(location, endless=("follow", "true") in location.params) as answer:
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(http)
        try:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        except (aiohttp.ClientError, TimeoutError) as error:
            # The status line is sent: all that can be told is that this is not all, by ending the connection.
            raise ConnectionAbortedError("the node's agent went away") from error
        await response.write_eof()
        return response
