"""Answers /metrics, /metrics/resource and /stats/summary."""

from __future__ import annotations

import os
import resource
from dataclasses import dataclass
from pathlib import Path

import orjson
from aiohttp import web

from apiclient.clock import Clock
from kubelet.node import machine
from kubelet.runtime import Runtime
from kubelet.server import metrics, summary, usage


@dataclass(frozen=True, slots=True)
class Figures:
    """Where the figures of one node come from."""

    node_name: str
    root_dir: Path
    image_dir: Path
    cgroup_root: str
    runtime: Runtime
    clock: Clock

    def add_routes(self, app: web.Application) -> None:
        """Serve them."""
        app.router.add_get("/metrics", self._agent)
        app.router.add_get("/metrics/resource", self._resources)
        app.router.add_get("/stats/summary", self._summary)

    async def _agent(self, request: web.Request) -> web.Response:
        text = metrics.agent(self.node_name, await self.runtime.sandboxes(), _this_process(self.clock.now()))
        return web.Response(body=text.encode(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _resources(self, request: web.Request) -> web.Response:
        pods = usage.of_pods(await self.runtime.sandboxes(), self.cgroup_root)
        text = metrics.resources(usage.of_machine(), pods)
        return web.Response(body=text.encode(), headers={"Content-Type": metrics.CONTENT_TYPE})

    async def _summary(self, request: web.Request) -> web.Response:
        now = self.clock.now()
        document = summary.summary(
            node_name=self.node_name,
            started_at=usage.machine_started_at(now),
            machine=usage.of_machine(),
            free=machine.usage(self.root_dir, self.image_dir),
            pods=usage.of_pods(await self.runtime.sandboxes(), self.cgroup_root),
            now=now,
        )
        return web.Response(body=orjson.dumps(document), content_type="application/json")


def _this_process(now: float) -> metrics.Process:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    started = usage.machine_started_at(now) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return metrics.Process(
        cpu_seconds=spent.ru_utime + spent.ru_stime,
        resident_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
        open_files=len(os.listdir("/proc/self/fd")),
        started_at=started,
    )
