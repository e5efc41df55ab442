"""A real API server process for tests: its own data folder, a free port, TLS and all."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from apiclient.kubeconfig import KubeconfigError, load
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apiserver.options import parse

READY_SECONDS_MAX = 60.0
REPOSITORY = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def own_address() -> str:
    """An address of this machine that pods could have; loopback addresses are never asked."""
    address = parse(["--data-dir", "unused"]).advertise_address
    if address.startswith("127."):
        pytest.skip("this machine has no address but those of its loopback interface")
    return address


class ApiServerProcess:
    """One `python -m apiserver`; may be killed and started again on the same data and port."""

    def __init__(self, data_dir: Path, flags: Sequence[str] = ()) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self.flags = list(flags)
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.data_dir / "admin.kubeconfig"

    def start(self) -> None:
        """Start the process; `wait_ready` follows."""
        command = [sys.executable, "-m", "apiserver", "--data-dir", str(self.data_dir)]
        command += ["--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1"]
        command += ["--secure-port", str(self.port), *self.flags]
        with (self.data_dir.parent / f"{self.data_dir.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=REPOSITORY)

    @property
    def _address(self) -> str:
        named = dict(zip(self.flags, self.flags[1:], strict=False))
        return named.get("--bind-address", "127.0.0.1")

    async def wait_ready(self) -> None:
        """Wait for /readyz."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            assert self.process is not None and self.process.poll() is None, self.log()
            try:
                # Cheaper than a TLS handshake, of which the server that starts would feel the cost.
                socket.create_connection((self._address, self.port), timeout=1).close()
                async with await self.client() as client:
                    await client.request("GET", "/readyz")
                    return
            except (ApiError, OSError, KubeconfigError) as error:  # not up yet
                assert time.monotonic() < deadline, f"not ready: {error}\n{self.log()}"
            await asyncio.sleep(0.02)

    async def client(self) -> Client:
        """A client with the administrator's credentials."""
        return await Client.connect(load(str(self.kubeconfig)))

    def log(self) -> str:
        """What it has logged."""
        return (self.data_dir.parent / f"{self.data_dir.name}.log").read_text(errors="replace")[-4000:]

    def kill(self, signo: int = signal.SIGKILL) -> None:
        """End the process and wait for its end."""
        if self.process is not None:
            self.process.send_signal(signo)
            self.process.wait(timeout=60)
            self.process = None


@contextmanager
def running(folder: Path, flags: Sequence[str] = ()) -> Iterator[ApiServerProcess]:
    """An API server that has been started (not yet ready) and is killed in the end."""
    folder.mkdir(parents=True, exist_ok=True)
    server = ApiServerProcess(folder / "apiserver", flags)
    server.data_dir.mkdir(exist_ok=True)
    server.start()
    try:
        yield server
    finally:
        server.kill()
