"""The node's own logs: the files below /var/log, as pages with links and as they are.

No symbolic link is followed: whoever can write there, as a pod with a hostPath, must not choose what of the node is
read by whoever may read logs.
"""

from __future__ import annotations

import html
import os
import stat
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from apimachinery.errors import ApiError

FOLDER = Path("/var/log")
PIECE_BYTES = 256 * 1024


async def show(request: web.Request) -> web.StreamResponse:
    """Answer with a folder or a file. Raises ApiError 404."""
    path = request.match_info["path"]
    descriptor = opened(FOLDER, path)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            if path and not path.endswith("/"):
                raise web.HTTPMovedPermanently(f"/logs/{quote(path)}/")
            return web.Response(text=_page(descriptor), content_type="text/html")
        if not stat.S_ISREG(kind):
            raise _missing(path)
        return await _send(request, descriptor)
    finally:
        os.close(descriptor)


def opened(folder: Path, path: str) -> int:
    """A descriptor of what is at a path below a folder. Raises ApiError 404."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    for step in filter(None, path.split("/")):
        if step in (".", ".."):
            os.close(descriptor)
            raise _missing(path)
        try:
            # Without waiting for whoever writes to a pipe that lies there.
            below = os.open(step, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=descriptor)
        except OSError as error:
            raise _missing(path) from error
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def _missing(path: str) -> ApiError:
    return ApiError(404, "NotFound", f"404 page not found: {path}")


def _page(descriptor: int) -> str:
    with os.scandir(descriptor) as entries:
        names = sorted(entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "") for entry in entries)
    links = "".join(f'<a href="{quote(name)}">{html.escape(name)}</a>\n' for name in names)
    return f"<pre>\n{links}</pre>\n"


async def _send(request: web.Request, descriptor: int) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    await response.prepare(request)
    # What is written meanwhile is not waited for.
    left = os.fstat(descriptor).st_size
    while left > 0 and (piece := os.read(descriptor, min(PIECE_BYTES, left))):
        left -= len(piece)
        await response.write(piece)
    await response.write_eof()
    return response
