"""Lifecycle hooks: what makes them fail, and in which words."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from kubelet.containers.hooks import HookFailure, run_hook
from kubelet.pods.pod_events import PodEvents
from tests.support.clock import ManualClock
from tests.support.fake_node import FakeRecorder
from tests.support.pods import UID, container, pod


class Shell:
    """A runtime whose every command ends with one code."""

    def __init__(self, code: int) -> None:
        self.code = code

    async def exec(self, pod_uid: str, container_id: str, argv: Sequence[str], **how: Any) -> Any:
        return self

    async def wait(self) -> int:
        return self.code


class Hooks:
    """Runs hooks of one container, and keeps what is told."""

    def __init__(self, runtime: Any = None) -> None:
        self.recorder = FakeRecorder()
        self.clock = ManualClock()
        self._runtime = runtime

    async def run(self, hook: dict[str, Any]) -> None:
        await run_hook(
            self._runtime,
            pod(),
            container(),
            "id",
            hook,
            host="127.0.0.1",
            events=PodEvents(self.recorder),  # type: ignore[arg-type]
            clock=self.clock,
            timeout_seconds=5.0,
        )


async def test_a_command_must_succeed() -> None:
    await Hooks(Shell(0)).run({"exec": {"command": ["warm", "up"]}})
    with pytest.raises(HookFailure) as failed:
        await Hooks(Shell(3)).run({"exec": {"command": ["warm", "up"]}})
    assert str(failed.value) == (
        f'Exec lifecycle hook ([warm up]) for Container "web" in Pod "web_default({UID})" failed - error: '
        "command 'warm up' exited with 3: "
    )


@pytest.mark.parametrize("seconds", [0, 7])
async def test_a_sleep_lasts_as_long_as_it_says(seconds: int) -> None:
    hooks = Hooks()
    task = asyncio.ensure_future(hooks.run({"sleep": {"seconds": seconds}}))
    if seconds:
        await hooks.clock.advance(seconds - 1)
        assert not task.done()
    await hooks.clock.advance(1)
    await task


async def test_a_connection_is_no_hook_though_it_can_be_written_down() -> None:
    with pytest.raises(HookFailure, match="invalid handler: tcpSocket"):
        await Hooks().run({"tcpSocket": {"port": 80}})


async def test_any_answer_to_a_request_will_do_but_none_will_not() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await Hooks().run({"httpGet": {"port": port, "path": "/begin"}})
    with pytest.raises(HookFailure, match=r"^HTTP lifecycle hook \(/begin\) for Container .* connection refused$"):
        await Hooks().run({"httpGet": {"port": port, "path": "/begin"}})


async def test_a_server_without_tls_is_asked_without_and_not_told_credentials() -> None:
    asked = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(4096))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    hooks = Hooks()
    headers = [{"name": "Authorization", "value": "Bearer secret"}, {"name": "X-Own", "value": "1"}]
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await hooks.run({"httpGet": {"port": port, "scheme": "HTTPS", "httpHeaders": headers}})
    assert b"X-Own: 1" in asked[1] and b"secret" not in asked[1]
    message = f"request to HTTPS lifecycle hook 127.0.0.1:{port} got HTTP response, retry with HTTP succeeded"
    assert hooks.recorder.events == [("LifecycleHTTPFallback", message)]
