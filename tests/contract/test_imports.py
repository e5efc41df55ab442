"""What a process has imported before it is asked for anything: what only some ask for is loaded when they do.

A start is mostly imports, so this is what keeps starts short and idle processes small.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.apiserver import REPOSITORY, running

# What is large, and what is made with it.
LARGE = {"cryptography", "jsonschema", "jsonschema_rs", "kubernetes_validate", "numpy", "re2", "yaml", "zstandard"}
# Parts of the API server that most clusters never ask for, or not at once.
OF_THE_API_SERVER = {
    "apimachinery.cel",
    "apimachinery.protobuf",
    "apimachinery.structural",
    "apiserver.aggregation.asking",
    "apiserver.aggregation.forwarding",
    "apiserver.aggregation.upkeep",
    "apiserver.certificates",
    "apiserver.customresources.definition",
    "apiserver.customresources.endpoints",
    "apiserver.customresources.schema",
    "apiserver.openapi",
    "apiserver.openapi_v2",
    "apiserver.proxying.serve",
    "apiserver.rest.yaml_body",
    "apiserver.spdy",
}
# Of the rules of some eighty resources a server needs those of the objects that it makes itself.
RULES_MAX = 40


def imported(times: str) -> set[str]:
    """The modules in what `-X importtime` tells."""
    return {line.rpartition("|")[2].strip() for line in times.splitlines() if line.startswith("import time:")}


def of(modules: Iterable[str], loaded: set[str]) -> list[str]:
    """Which of these modules have been imported, or modules of theirs."""
    return sorted(one for one in loaded if any(one == name or one.startswith(f"{name}.") for name in modules))


def imports_of(*arguments: str) -> set[str]:
    """What a Python with these arguments imports until it ends."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return imported(done.stderr)


async def restarted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What a server has imported that found its keys and has told that it is ready."""
    with running(folder) as server:
        await server.wait_ready()
        server.kill()
        monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")
        log = folder / f"{server.data_dir.name}.log"
        before = log.stat().st_size
        server.start()
        await server.wait_ready()
        server.kill()
        return imported(log.read_text()[before:])


async def test_an_api_server_loads_what_some_ask_for_when_they_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = await restarted(tmp_path, monkeypatch)
    assert {"apiserver.pipeline", "apiserver.storage.store"} <= loaded
    assert of(LARGE | OF_THE_API_SERVER, loaded) == []
    assert len(of(["apiserver.registry"], loaded)) <= RULES_MAX


async def test_what_an_api_server_is_asked_for_late_is_there(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        await server.wait_ready()
        async with await server.client() as client:
            status, _, body = await client.request("GET", "/openapi/v3")
            assert status == 200 and b"apis/apps/v1" in body
            status, _, body = await client.request("GET", "/openapi/v2")
            assert status == 200 and b"io.k8s.api.core.v1.Pod" in body


@pytest.mark.parametrize("part", ["scheduler", "controllers", "kubelet"])
def test_a_part_loads_nothing_large_but_what_it_works_with(part: str) -> None:
    loaded = imports_of("-c", f"import {part}.__main__")
    works_with = {"scheduler": {"numpy"}}.get(part, set())
    assert f"{part}.__main__" in loaded
    assert of((LARGE | {"sqlalchemy"}) - works_with, loaded) == []
    if part != "kubelet":  # which serves logs
        assert of(["aiohttp"], loaded) == []


def test_kctl_tells_its_commands_without_an_event_loop_and_gets_objects_without_yaml() -> None:
    assert of(LARGE | {"aiohttp", "asyncio", "apiclient", "ssl"}, imports_of("-m", "kctl", "--help")) == []
    loaded = imports_of("-c", "import kctl.main, kctl.commands.get")
    assert of(LARGE | {"aiohttp", "uvloop"}, loaded) == []
