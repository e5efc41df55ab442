"""What most contract tests begin with. A module that needs its server otherwise has a fixture `server` of its own."""

from __future__ import annotations

import asyncio
import copy
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from apiclient.rest import Client
from apimachinery.resources import NAMESPACES, SERVICEACCOUNTS
from tests.support.apiserver import ApiServerProcess, running

MEMORY = Path("/dev/shm")
MEMORY_BYTES_MIN = 2 << 30


@pytest.fixture(scope="session")
def tmp_path_factory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pytest.TempPathFactory]:
    """Folders in memory, if there is room: servers sync each write, for which a disk takes longer than they do."""
    if not MEMORY.is_dir() or shutil.disk_usage(MEMORY).free < MEMORY_BYTES_MIN:
        yield tmp_path_factory
        return
    with tempfile.TemporaryDirectory(prefix="wherry-test-", dir=MEMORY, ignore_cleanup_errors=True) as folder:
        made = copy.copy(tmp_path_factory)
        made._basetemp = Path(folder)
        yield made


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    """An API server alone, one for all tests of a module."""
    with running(tmp_path_factory.mktemp("server")) as process:
        asyncio.run(process.wait_ready())
        yield process


@pytest.fixture
async def client(server: ApiServerProcess) -> AsyncIterator[Client]:
    """Our client with the administrator's credentials."""
    async with await server.client() as connected:
        yield connected


@pytest.fixture
async def scope(client: Client) -> str:
    """A namespace for one test, with the service account that pods need and no controller makes here."""
    made = await client.create(NAMESPACES, {"metadata": {"generateName": "test-"}})
    name: str = made["metadata"]["name"]
    await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, name)
    return name


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where kubectl keeps what it has discovered of the module's server."""
    return tmp_path_factory.mktemp("home")
