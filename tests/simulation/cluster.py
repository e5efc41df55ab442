"""A whole cluster in one event loop: API server, managers, schedulers and nodes, each of which may be killed.

Every part is the product's own code. Between them is a simulated network, below them a database on a disk in memory,
and around them virtual time; nothing else of them is replaced.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import random
import shutil
import ssl
from collections.abc import Awaitable, Callable
from functools import cache, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from apiclient.kubeconfig import Config
from apiclient.leaderelection import LeaderElector
from apiclient.rest import Client
from apiserver import options as apiserver_options
from apiserver import pki, run
from apiserver.connection import Trusted
from apiserver.storage.entry import Entry
from apiserver.storage.store import Store
from controllers import context, manager
from scheduler import options as scheduler_options
from scheduler.__main__ import run as run_scheduler
from tests.simulation.network import HOST, Address, Network
from tests.simulation.node import Machine, run_agent
from tests.simulation.virtual_loop import LoopClock, VirtualLoop

ADDRESS: Address = ("10.0.0.1", 6443)
# Chosen for few requests: a candidate asks every few seconds, a minute at most passes until another one leads.
LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 15.0, 10.0, 4.0
# Nodes tell of themselves every five seconds.
OPTIONS = context.Options(node_monitor_grace_period=20.0)
CONTROLLERS = tuple(name for name in manager.CONTROLLERS if name != "node-ipam-controller")

# (resource, version, whether it is deleted): called when a write has become visible, before its writer is answered.
Observer = Callable[[str, Entry, bool], None]


class ObservedStore(Store):
    """The real store, each of whose versions is shown to somebody who does not go through the network."""

    observer: Observer

    def apply(self, resource: str, entry: Entry, *, deleted: bool) -> None:
        """Make a version visible."""
        super().apply(resource, entry, deleted=deleted)
        self.observer(resource, entry, deleted)


class Part(NamedTuple):
    """A process of the cluster that runs."""

    task: asyncio.Task[None]
    stop: Callable[[], Awaitable[None]]


class Cluster:
    """The parts by the names of their hosts."""

    def __init__(self, loop: VirtualLoop, network: Network, folder: Path, rng: random.Random) -> None:
        self.loop = loop
        self.network = network
        self.folder = folder
        self.clock = LoopClock(loop)
        self.machines: dict[str, Machine] = {}
        self.store: ObservedStore | None = None
        self.observer: Observer = lambda resource, entry, deleted: None
        self.failed: Callable[[str, BaseException], None] = lambda name, error: None
        self._rng = rng
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str) -> None:
        """Start a part; which one, its name says: `apiserver`, `manager-a`, `scheduler-a`, or that of a machine."""
        if name in self._running:
            return
        kind = name.partition("-")[0]
        main = {
            "apiserver": self._api_server,
            "manager": self._manager,
            "scheduler": self._scheduler,
            "node": self._agent,
        }[kind]
        self.network.revive(name)
        token = HOST.set(name)
        try:
            self._running[name] = self.loop.create_task(self._watched(name, main(name)))
        finally:
            HOST.reset(token)

    async def _watched(self, name: str, main: Awaitable[None]) -> None:
        """No part ends by itself."""
        try:
            await main
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
            self.failed(name, error)
        else:
            self.failed(name, RuntimeError("it has ended"))

    async def kill(self, name: str) -> None:
        """End a part as SIGKILL does: its connections are gone before it can say anything over them."""
        task = self._running.pop(name, None)
        if task is None:
            return
        self.network.kill(name)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    def runs(self, name: str) -> bool:
        """Whether a part has been started, and not killed since."""
        return name in self._running

    async def end(self) -> None:
        """Kill everything."""
        for name in sorted(self._running, reverse=True):
            await self.kill(name)

    async def client(self, user: str) -> Client:
        """A client as one of the users of `tokens.csv`."""
        return await Client.connect(Config(f"http://{ADDRESS[0]}:{ADDRESS[1]}", token=user))

    async def _api_server(self, name: str) -> None:
        options = apiserver_options.parse(_flags(self.folder))
        self.store = store = ObservedStore(self.folder / "cluster.db", now=self.clock.now)
        store.observer = self.observer
        await store.open()
        try:
            port = run.Port(ADDRESS, None, Trusted(frozenset()))  # type: ignore[arg-type]  # no socket
            node_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            await run.serve(options, store, port, node_tls, {}, stop=asyncio.Event(), now=self.clock.now)
        finally:
            await store.close()

    async def _manager(self, name: str) -> None:
        config = Config(f"http://{ADDRESS[0]}:{ADDRESS[1]}", token="manager")
        rng = random.Random(self._rng.random())
        lead = partial(manager.run_controllers, config, OPTIONS, CONTROLLERS, self.clock, rng)
        async with await Client.connect(config) as client:
            elector = LeaderElector(
                client,
                manager.LEASE_NAMESPACE,
                manager.LEASE_NAME,
                name,
                clock=self.clock,
                lease_duration_seconds=LEASE_SECONDS,
                renew_deadline_seconds=RENEW_SECONDS,
                retry_period_seconds=RETRY_SECONDS,
            )
            while True:
                await elector.run(lead)

    async def _scheduler(self, name: str) -> None:
        options = scheduler_options.parse_options(
            [
                f"--leader-elect-lease-duration={LEASE_SECONDS}s",
                f"--leader-elect-renew-deadline={RENEW_SECONDS}s",
                f"--leader-elect-retry-period={RETRY_SECONDS}s",
            ]
        )
        async with await self.client("scheduler") as client:
            rng = random.Random(self._rng.random())
            await run_scheduler(options, client, identity=name, clock=self.clock, rng=rng)

    async def _agent(self, name: str) -> None:
        async with await self.client(name) as client:
            await run_agent(self.machines[name], client, self.clock, random.Random(self._rng.random()))


def _flags(folder: Path) -> list[str]:
    return ["--data-dir", str(folder), "--bind-address", ADDRESS[0], "--advertise-address", ADDRESS[0]]


USERS = (
    'user,user,,"system:masters"',
    "manager,system:kube-controller-manager,",
    "scheduler,system:kube-scheduler,",
    *(f'node-{number},system:node:node-{number},,"system:nodes"' for number in range(10)),
)


@cache
def _template() -> Path:
    """The folder of an API server that has been started once: its keys, and a database with what a cluster has."""
    folder = Path(mkdtemp(prefix="wherry-simulation-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    options = apiserver_options.parse(_flags(folder))
    pki.make(folder, pki.wanted(options), 1_800_000_000.0)
    (folder / "tokens.csv").write_text("\n".join(USERS) + "\n")
    return folder


def new_folder() -> Path:
    """A folder for the API server of a new cluster."""
    template = _template()
    folder = Path(mkdtemp(prefix="wherry-simulation-", dir=template.parent))
    shutil.copytree(template, folder, dirs_exist_ok=True)
    return folder
