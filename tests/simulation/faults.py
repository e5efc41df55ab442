"""What goes wrong in a simulated cluster: weather on the network, parts that are killed, machines that are lost."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.simulation.cluster import Cluster
from tests.simulation.weather import CALM, Climate

CONTROL_PLANE = ("manager-a", "manager-b", "scheduler-a", "scheduler-b")


class Faults:
    """Strikes now and then; `kinds` are the methods that a history has chosen from."""

    def __init__(self, cluster: Cluster, rng: random.Random, told: Callable[[str], None], *, gentle: bool) -> None:
        """`gentle`: nothing happens to nodes and their pods."""
        self._cluster = cluster
        self._rng = rng
        self._told = told
        self.lost: set[str] = set()
        kinds = [self._storm, self._storm, self._calm, self._kill_manager, self._kill_scheduler, self._kill_server]
        kinds += [self._compact, self._kill_agent, self._isolate]
        if not gentle:
            kinds += [self._lose_node, self._return_node, self._unwell, self._unwell]
        self._kinds = kinds

    async def strike(self) -> None:
        """Let something happen."""
        await self._rng.choice(self._kinds)()

    async def end(self) -> None:
        """Let all be well again."""
        await self._calm()
        for name in sorted(self.lost):
            self._cluster.network.reconnect(name)
        self.lost.clear()

    async def _storm(self) -> None:
        rng = self._rng
        climate = Climate(
            requests_lost=rng.choice([0.0, 0.02, 0.1]),
            answers_lost=rng.choice([0.0, 0.02, 0.1]),
            watches_cut=rng.choice([0.0, 0.02, 0.1]),
            late=rng.choice([0.0, 0.1, 0.3]),
            late_seconds=rng.choice([0.1, 1.0, 4.0]),
        )
        self._told(f"{climate}")
        self._cluster.network.weather.climate = climate

    async def _calm(self) -> None:
        self._told("calm")
        self._cluster.network.weather.climate = CALM

    async def _restart(self, name: str) -> None:
        self._told(f"kill {name}")
        await self._cluster.kill(name)
        self._cluster.loop.call_later(self._rng.uniform(0.1, 10.0), self._start, name)

    def _start(self, name: str) -> None:
        self._told(f"start {name}")
        self._cluster.start(name)

    async def _kill_manager(self) -> None:
        await self._restart(self._rng.choice(CONTROL_PLANE[:2]))

    async def _kill_scheduler(self) -> None:
        await self._restart(self._rng.choice(CONTROL_PLANE[2:]))

    async def _isolate(self) -> None:
        """Cut off a manager or scheduler for long enough that another one leads; it lives, and comes back."""
        name = self._rng.choice(CONTROL_PLANE)
        self._told(f"isolate {name}")
        self._cluster.network.cut_off(name)
        self._cluster.loop.call_later(self._rng.uniform(2.0, 25.0), self._join, name)

    def _join(self, name: str) -> None:
        self._told(f"join {name}")
        self._cluster.network.reconnect(name)

    async def _kill_server(self) -> None:
        await self._restart("apiserver")

    async def _kill_agent(self) -> None:
        await self._restart(self._rng.choice(sorted(self._cluster.machines)))

    async def _compact(self) -> None:
        """Forget the past: whoever lags behind gets 410 and has to list again."""
        store = self._cluster.store
        if store is not None and self._cluster.runs("apiserver"):
            self._told("compact")
            await store.compact(store.revision)
            store.end_watches()

    async def _lose_node(self) -> None:
        """Cut a machine off; what runs there goes on."""
        left = sorted(self._cluster.machines.keys() - self.lost)
        if len(left) > 1:
            name = self._rng.choice(left)
            self._told(f"lose {name}")
            self.lost.add(name)
            self._cluster.network.cut_off(name)

    async def _return_node(self) -> None:
        if self.lost:
            name = self._rng.choice(sorted(self.lost))
            self._told(f"return {name}")
            self.lost.remove(name)
            self._cluster.network.reconnect(name)

    async def _unwell(self) -> None:
        """A pod is not ready for a while."""
        running = [(machine, one) for machine in self._cluster.machines.values() for one in machine.running.values()]
        if running:
            machine, one = self._rng.choice(running)
            one.unwell_until = self._cluster.clock.monotonic() + self._rng.uniform(1.0, 20.0)
            self._told(f"unwell {one.key}")
            machine.changed(one.key)
