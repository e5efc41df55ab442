"""The node's own logs are shown as they are, and nothing else of the node through them."""

from __future__ import annotations

import os
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from apimachinery.errors import ApiError
from kubelet.server import node_logs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    logs = tmp_path / "log"
    (logs / "apt").mkdir(parents=True)
    (logs / "syslog").write_text("one\ntwo\n")
    (logs / "apt" / "<history>").write_text("x" * 1_000_000)
    (tmp_path / "secret").write_text("secret")
    (logs / "away").symlink_to(tmp_path / "secret")
    (logs / "up").symlink_to(tmp_path)
    os.mkfifo(logs / "pipe")
    monkeypatch.setattr(node_logs, "FOLDER", logs)
    return logs


@pytest.mark.parametrize(
    "path", ["none", "away", "up/secret", "../secret", "apt/../../secret", "apt/./x", "syslog/x"]
)
def test_no_link_and_no_step_back_leads_out(folder: Path, path: str) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with pytest.raises(ApiError) as refused:
        node_logs.opened(folder, path)
    assert refused.value.code == 404
    assert set(os.listdir("/proc/self/fd")) <= before


async def test_folders_are_pages_with_links_and_files_are_shown(folder: Path) -> None:
    @web.middleware
    async def plain(request: web.Request, handler: object) -> web.StreamResponse:
        try:
            return await handler(request)  # type: ignore[operator, no-any-return]
        except ApiError as error:
            return web.Response(status=error.code, text=error.message)

    app = web.Application(middlewares=[plain])
    app.router.add_get("/logs/{path:.*}", node_logs.show)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{runner.addresses[0][1]}") as session:

            async def shown(path: str) -> tuple[int, str]:
                async with session.get(path) as answer:
                    return answer.status, await answer.text()

            code, page = await shown("/logs/")
            assert code == 200 and '<a href="apt/">apt/</a>' in page and '<a href="syslog">syslog</a>' in page
            assert '<a href="%3Chistory%3E">&lt;history&gt;</a>' in (await shown("/logs/apt"))[1]
            assert await shown("/logs/syslog") == (200, "one\ntwo\n")
            assert len((await shown("/logs/apt/%3Chistory%3E"))[1]) == 1_000_000
            assert (await shown("/logs/away"))[0] == (await shown("/logs/pipe"))[0] == 404
    finally:
        await runner.cleanup()
