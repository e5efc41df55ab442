"""Tokens of pods: asked for once, renewed in time, and kept as long as they hold when the API server is away."""

from __future__ import annotations

import asyncio
import random
import stat
from pathlib import Path
from typing import Any

import pytest

from apimachinery.errors import ApiError, service_unavailable
from apimachinery.meta import Object
from kubelet.tokens import Token, TokenManager
from kubelet.volumes import VolumeManager
from kubelet.volumes.service_account_token import only_user
from tests.support.clock import ManualClock


def pod(name: str = "web", **spec: Any) -> Object:
    metadata = {"name": name, "namespace": "default", "uid": f"u-{name}"}
    return {"metadata": metadata, "spec": {"serviceAccountName": "robot", **spec}}


class Server:
    """Gives tokens that are numbered; `lives` overrules what is asked for."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        self.lives: int | None = None
        self.away = False

    async def create(self, resource: Any, obj: Object, namespace: str, *, name: str, subresource: str) -> Object:
        if self.away:
            raise service_unavailable("away")
        self.asked.append((resource.plural, namespace, name, subresource, obj["spec"]))
        spec = {**obj["spec"], "expirationSeconds": self.lives or obj["spec"]["expirationSeconds"]}
        return {"spec": spec, "status": {"token": f"token-{len(self.asked)}"}}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def tokens(server: Any, clock: ManualClock) -> TokenManager:
    return TokenManager(server, clock, random.Random(1))


async def test_a_token_is_asked_for_its_pod(tokens: TokenManager, server: Server) -> None:
    assert (await tokens.get(pod(), "", 3607)).text == "token-1"
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u-web"}
    spec = {"audiences": [], "expirationSeconds": 3607, "boundObjectRef": bound}
    assert server.asked == [("serviceaccounts", "default", "robot", "token", spec)]
    await tokens.get(pod(), "vault", 3607)
    assert server.asked[1][-1]["audiences"] == ["vault"]


async def test_a_token_is_held_until_it_is_due(tokens: TokenManager, clock: ManualClock) -> None:
    first = await tokens.get(pod(), "", 1000)
    assert 750 <= first.renew_in_seconds <= 800
    await clock.advance(first.renew_in_seconds - 1)
    held = await tokens.get(pod(), "", 1000)
    assert held.text == first.text and held.renew_in_seconds == pytest.approx(1)
    await clock.advance(1)
    assert (await tokens.get(pod(), "", 1000)).text == "token-2"


async def test_the_server_decides_how_long_a_token_lives(tokens: TokenManager, server: Server) -> None:
    server.lives = 600
    assert (await tokens.get(pod(), "", 3607)).renew_in_seconds <= 480


async def test_no_token_is_held_for_longer_than_a_day(tokens: TokenManager) -> None:
    assert (await tokens.get(pod(), "", 10**7)).renew_in_seconds <= 86400


async def test_a_token_that_cannot_be_renewed_is_used_to_its_end(
    tokens: TokenManager, server: Server, clock: ManualClock
) -> None:
    await tokens.get(pod(), "", 1000)
    server.away = True
    await clock.advance(900)
    assert await tokens.get(pod(), "", 1000) == Token("token-1", 60.0)
    await clock.advance(101)
    with pytest.raises(ApiError):
        await tokens.get(pod(), "", 1000)


async def test_pods_share_no_token(tokens: TokenManager) -> None:
    assert (await tokens.get(pod("a"), "", 1000)).text != (await tokens.get(pod("b"), "", 1000)).text


async def test_a_pod_that_is_gone_is_forgotten(tokens: TokenManager) -> None:
    await tokens.get(pod(), "", 1000)
    tokens.forget("u-web")
    assert (await tokens.get(pod(), "", 1000)).text == "token-2"


@pytest.mark.parametrize(
    ("spec", "user"),
    [
        ({"containers": [{}]}, None),
        ({"containers": [{}], "securityContext": {"runAsUser": 7}}, 7),
        ({"containers": [{"securityContext": {"runAsUser": 8}}], "securityContext": {"runAsUser": 7}}, 8),
        ({"containers": [{}, {"securityContext": {"runAsUser": 8}}], "securityContext": {"runAsUser": 7}}, None),
        ({"containers": [{"securityContext": {"runAsUser": 8}}], "initContainers": [{}]}, None),
    ],
)
def test_a_token_is_for_one_user_if_all_containers_run_as_one(spec: Object, user: int | None) -> None:
    assert only_user({"spec": spec}) == user


class Given:
    """Tokens that a test gives."""

    def __init__(self) -> None:
        self.token = Token("first", 1000.0)
        self.gone: list[str] = []

    async def get(self, pod: Object, audience: str, seconds: int) -> Token:
        return self.token

    def forget(self, pod_uid: str) -> None:
        self.gone.append(pod_uid)


class NoObjects:
    def add_listener(self, listener: Any) -> None:
        pass


def shows_token(**spec: Any) -> Object:
    source = {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}}
    volume = {"name": "api", "projected": {"sources": [source], "defaultMode": 0o644}}
    return pod(volumes=[volume], containers=[{"name": "c"}], **spec)


@pytest.fixture
def no_mounts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is mounted in other tests, which need root."""
    monkeypatch.setattr("kubelet.volumes.mounts.mount_tmpfs", lambda *_, **__: None)


@pytest.mark.usefixtures("no_mounts")
@pytest.mark.parametrize(
    ("spec", "mode"), [({}, 0o644), ({"securityContext": {"runAsUser": 0}}, 0o600), ({"securityContext": {}}, 0o644)]
)
async def test_a_token_becomes_a_file_for_those_who_are_to_read_it(tmp_path: Path, spec: Object, mode: int) -> None:
    given = Given()
    manager = VolumeManager(tmp_path, NoObjects(), given)  # type: ignore[arg-type]
    paths = await manager.set_up(shows_token(**spec))
    assert (paths["api"] / "token").read_text() == "first"
    assert stat.S_IMODE((paths["api"] / "token").stat().st_mode) == mode
    given.token = Token("second", 1000.0)
    await manager.set_up(shows_token(**spec))
    assert (paths["api"] / "token").read_text() == "second"
    await manager.tear_down("u-web")
    assert given.gone == ["u-web"]


@pytest.mark.usefixtures("no_mounts")
async def test_a_token_is_renewed_while_its_pod_runs(tmp_path: Path, clock: ManualClock) -> None:
    given = Given()
    manager = VolumeManager(tmp_path, NoObjects(), given, clock=clock)  # type: ignore[arg-type]
    running = asyncio.create_task(manager.run())
    path = (await manager.set_up(shows_token()))["api"] / "token"
    given.token = Token("second", 1000.0)
    await clock.advance(999)
    assert path.read_text() == "first"
    await clock.advance(1)
    await clock.run_until(lambda: path.read_text() == "second")
    await manager.tear_down("u-web")
    running.cancel()


async def test_after_a_step_of_the_clock_tokens_are_asked_for_anew(tokens: TokenManager, server: Server) -> None:
    assert (await tokens.get(pod(), "", 3607)).text == "token-1"
    tokens.forget_all()
    assert (await tokens.get(pod(), "", 3607)).text == "token-2"
