"""A history: what happens to a cluster in some minutes, all of it out of one seed; and what has to come of it.

a cluster starts ─▶ users act and faults strike, by turns ─▶ faults end ─▶ all is as wanted ─▶ all is deleted
                    └────────────── every write is held against the invariants ──────────────┘
"""

from __future__ import annotations

import asyncio
import gc
import hashlib
import logging
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from apimachinery.meta import Object, controller_of, namespaced_key
from apimachinery.resources import STATEFULSETS
from apiserver import chance
from apiserver.storage.entry import Entry
from tests.simulation.cluster import Cluster, new_folder
from tests.simulation.convergence import unfinished
from tests.simulation.faults import CONTROL_PLANE, Faults
from tests.simulation.invariants import Invariants
from tests.simulation.network import HOST, Network
from tests.simulation.node import Machine
from tests.simulation.users import Users
from tests.simulation.virtual_loop import VirtualLoop
from tests.simulation.weather import Weather

LATENCY_SECONDS = 0.001
START_SECONDS = 8.0
# Until all that was killed has started again, and all that was cut off is back.
RECOVERY_SECONDS = 26.0
# How long a cluster without faults may take to become as it is wanted: longer than the longest delay after failures.
SETTLE_SECONDS_MAX, LOOK_SECONDS = 1200.0, 5.0


@dataclass(slots=True)
class History:
    """What has come of a seed."""

    seed: int
    broken: list[str] = field(default_factory=list)
    # What happened, in words: actions and faults, and, if it was asked for, every write.
    told: list[str] = field(default_factory=list)
    writes: int = 0
    seconds: float = 0.0
    # Of every write, with its time: two runs of a seed have the same.
    digest: str = ""


def run_history(seed: int, *, tell_writes: bool = False) -> History:
    """Live through the history of a seed."""
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    folder = new_folder()
    gc.disable()  # what it finalizes, it would finalize at other moments in another run
    try:
        with _from_outside():
            run = _Run(seed, loop, folder, tell_writes=tell_writes)
            with run.logging():
                loop.run_until_complete(run.main())
            return run.finished()
    finally:
        asyncio.set_event_loop(None)
        loop.close()
        shutil.rmtree(folder)
        gc.enable()
        gc.collect()


class _Run:
    def __init__(self, seed: int, loop: VirtualLoop, folder: object, *, tell_writes: bool) -> None:
        rng = random.Random(seed)
        chance.seed(rng.getrandbits(64))
        weather = Weather(random.Random(rng.random()), latency_seconds=LATENCY_SECONDS)
        weather.spared = frozenset({"outside"})
        loop.network = network = Network(loop, weather)
        self.history = History(seed)
        self.loop = loop
        self.rng = random.Random(rng.random())
        self.cluster = Cluster(loop, network, folder, random.Random(rng.random()))
        self.invariants = Invariants(loop.time)
        self._digest = hashlib.sha256()
        self._tell_writes = tell_writes
        self.cluster.observer = self._written
        self.cluster.failed = self._part_failed
        network.unanswered = self._unanswered

    async def main(self) -> None:
        cluster, rng = self.cluster, self.rng
        cluster.start("apiserver")
        cpus = rng.choice([1, 2, 4])
        for number in range(rng.randint(3, 5)):
            labels = {"disk": "fast"} if number % 2 else {}
            cluster.machines[f"node-{number}"] = Machine(f"node-{number}", cpu=cpus, pods_max=12, labels=labels)
            cluster.machines[f"node-{number}"].begins = self._begins
        await asyncio.sleep(0.5)
        for name in (*CONTROL_PLANE, *cluster.machines):
            cluster.start(name)
        await asyncio.sleep(START_SECONDS)
        async with await cluster.client("user") as client:
            users = Users(client, random.Random(rng.random()), self.invariants.state, self.tell)
            gentle = rng.random() < 0.5
            faults = Faults(cluster, random.Random(rng.random()), self.tell, gentle=gentle)
            await users.begin()
            faulty = rng.choice([0.0, 0.3, 0.5])
            for _ in range(rng.randint(6, 24)):
                if rng.random() < faulty:
                    await faults.strike()
                else:
                    await users.act(list(cluster.machines))
                await asyncio.sleep(rng.choice([0.0, 0.5, 2.0, 8.0, 20.0]) * rng.uniform(0.5, 1.5))
            self.tell("faults end")
            await faults.end()
            await asyncio.sleep(RECOVERY_SECONDS)
            await users.uncordon_all()
            await users.release_all()
            await self._settled("all is as wanted")
            await users.delete_all()
            await self._settled("all is gone")
        await cluster.end()

    async def _settled(self, what: str) -> None:
        """Wait until all is as the API says that it shall be."""
        for _ in range(int(SETTLE_SECONDS_MAX / LOOK_SECONDS)):
            await asyncio.sleep(LOOK_SECONDS)
            missing = list(unfinished(self.invariants.state, self.cluster.machines))
            if not missing:
                self.tell(what)
                return
        for one in missing:
            self.invariants.tell(f"not within {SETTLE_SECONDS_MAX:g} s: {one}")

    def tell(self, what: str) -> None:
        """Something happens."""
        self.history.told.append(f"{self.loop.time():9.3f} {what}")

    def _written(self, resource: str, entry: Entry, deleted: bool) -> None:
        self.history.writes += 1
        self._digest.update(f"{self.loop.time()!r} {entry.revision} {resource} {deleted} ".encode() + entry.raw)
        broken = len(self.invariants.broken)
        self.invariants.written(resource, entry.obj, deleted=deleted)
        if self._tell_writes:
            self.tell(f"{entry.revision} {resource} {entry.namespace}/{entry.name}{' gone' if deleted else ''}")
        for problem in self.invariants.broken[broken:]:
            self.tell(f"!!! {problem}")

    def _begins(self, pod: Object) -> None:
        """Containers start on some machine: if they are a StatefulSet's, the same ones run on no other."""
        if (controller_of(pod) or {}).get("kind") == STATEFULSETS.kind:
            for machine in self.cluster.machines.values():
                if any(one.key == namespaced_key(pod) for one in machine.running.values()):
                    self.invariants.tell(f"{namespaced_key(pod)} starts, and runs on {machine.name} already")

    def _unanswered(self, host: str) -> None:
        if host.startswith("manager"):
            self.invariants.state.unanswered.append(self.loop.time())

    def _part_failed(self, name: str, error: BaseException) -> None:
        self.invariants.tell(f"{name} has ended: {error!r}")

    @contextmanager
    def logging(self) -> Iterator[None]:
        """Take what parts log as errors for findings."""
        handler, root = _Errors(self.invariants), logging.getLogger()
        root.addHandler(handler)
        level = root.level
        root.setLevel(logging.ERROR)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)

    def finished(self) -> History:
        history = self.history
        history.broken = self.invariants.broken
        history.seconds = self.loop.time()
        history.digest = self._digest.hexdigest()
        return history


class _Errors(logging.Handler):
    def __init__(self, invariants: Invariants) -> None:
        super().__init__(logging.ERROR)
        self._invariants = invariants

    def emit(self, record: logging.LogRecord) -> None:
        """An error was logged."""
        if "leadership lost" not in record.getMessage():
            self._invariants.tell(f"{record.name} logs: {self.format(record)}")


@contextmanager
def _from_outside() -> Iterator[None]:
    token = HOST.set("outside")
    try:
        yield
    finally:
        HOST.reset(token)
