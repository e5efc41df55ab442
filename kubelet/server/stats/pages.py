"""Answers requests for figures."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Mapping

import orjson
from aiohttp import web

from apiclient.clock import Clock
from apiclient.serving.exposition import CONTENT_TYPE
from apimachinery.meta import Object, get_path
from kubelet.node import machine
from kubelet.node.node_object import KUBELET_VERSION
from kubelet.runtime import Runtime
from kubelet.server.pods import Pods
from kubelet.server.stats import PATHS, Place, agent, cadvisor, network, resources, summary, topology, usage
from kubelet.server.stats.cadvisor import Series
from kubelet.server.stats.disk_usage import DiskUsage, PodDisks
from kubelet.server.stats.groups import read
from kubelet.server.stats.sampler import Sampler
from kubelet.server.stats.usage import PodUsage, Rates, Sample

# How many seconds the shares of the CPUs in a Summary are of: the document itself has no place for it.
WINDOW_HEADER = "X-Sample-Window-Seconds"
_NO = ("", "0", "false")


class Pages:
    """The figures of one node."""

    def __init__(self, place: Place, pods: Pods, runtime: Runtime, clock: Clock) -> None:
        self._place = place
        self._pods = pods
        self._runtime = runtime
        self._clock = clock
        self._sampler = Sampler(runtime, place.cgroup_root, clock)
        self._disks = DiskUsage(place.root_dir, clock)
        self._cadvisor_node: cadvisor.Node | None = None
        makers = (self._agent, self._cadvisor, self._probes, self._resources, self._summary)
        self._makers = dict(zip(PATHS, makers, strict=True))

    async def answer(self, path: str, request: web.Request) -> web.Response:
        """The page at one of the paths."""
        return await self._makers[path](request)

    async def close(self) -> None:
        """Look for nothing any more."""
        await self._disks.close()

    async def _agent(self, request: web.Request) -> web.Response:
        process = _this_process(self._clock.now())
        pods = (await self._document(await self._sampler.sample(), Rates()))["pods"] if self._has_claims() else []
        return _text(
            agent.page(self._place.node_name, KUBELET_VERSION, await self._runtime.sandboxes(), process, pods)
        )

    def _has_claims(self) -> bool:
        return any(
            "persistentVolumeClaim" in volume
            for pod in self._pods.list()
            for volume in get_path(pod, "spec", "volumes", default=[])
        )

    async def _probes(self, request: web.Request) -> web.Response:
        return _text(agent.probes(_this_process(self._clock.now())))

    async def _resources(self, request: web.Request) -> web.Response:
        return _text(resources.page(await self._sampler.sample()))

    async def _summary(self, request: web.Request) -> web.Response:
        taken, rates = await self._sampler.with_rates()
        if request.query.get("only_cpu_and_memory", "").lower() in _NO:
            document = await self._document(taken, rates)
        else:
            started = usage.machine_started_at(taken.time)
            document = summary.summary(self._place.node_name, started, taken, rates, None)
        headers = {WINDOW_HEADER: f"{rates.window_seconds:.3f}"}
        return web.Response(body=orjson.dumps(document), content_type="application/json", headers=headers)

    async def _document(self, taken: Sample, rates: Rates) -> summary.Document:
        pods = self._pods.list()
        disks = await self._disks.by_pod(pods)
        specs = {pod["metadata"]["uid"]: pod for pod in pods}
        return await asyncio.to_thread(self._summed_up, taken, rates, disks, specs)

    def _summed_up(
        self, taken: Sample, rates: Rates, disks: Mapping[str, PodDisks], specs: Mapping[str, Object]
    ) -> summary.Document:
        place = self._place
        facts = summary.Facts(
            free=machine.usage(place.root_dir, place.image_dir),
            disks=disks,
            specs=specs,
            traffic=network.of_process,
            node_traffic=network.of_process(os.getpid()),
            node_interface=network.default_interface(),
            pressure=self._sampler.groups.pressure,
        )
        return summary.summary(place.node_name, usage.machine_started_at(taken.time), taken, rates, facts)

    async def _cadvisor(self, request: web.Request) -> web.Response:
        taken = await self._sampler.sample()
        pods = self._pods.list()
        disks = await self._disks.by_pod(pods)
        images = {uid: images for pod in pods for uid, images in [(pod["metadata"]["uid"], _images(pod))]}
        return _text(await asyncio.to_thread(self._cadvisor_page, taken, disks, images))

    def _cadvisor_page(
        self, taken: Sample, disks: Mapping[str, PodDisks], images: Mapping[str, Mapping[str, str]]
    ) -> str:
        if self._cadvisor_node is None:
            self._cadvisor_node = topology.node(self._place.root_dir)
        node = self._cadvisor_node
        disk = machine.usage(self._place.root_dir, self._place.image_dir).node_disk
        whole = Series(
            cadvisor.labels("/"),
            taken.machine,
            started_at=usage.machine_started_at(taken.time),
            traffic=network.of_process(os.getpid()),
            disk=(node.disk[0], disk.bytes - disk.bytes_available),
        )
        series = [whole]
        for pod in taken.pods:
            series += self._series(pod, disks.get(pod.uid), images.get(pod.uid, {}), node.disk[0])
        return cadvisor.page(series, node, time=taken.time)

    def _series(self, pod: PodUsage, disks: PodDisks | None, images: Mapping[str, str], device: str) -> list[Series]:
        groups = self._sampler.groups
        whole = Series(
            cadvisor.labels(f"/{pod.group}", namespace=pod.namespace, pod=pod.name),
            pod.usage,
            groups.detail(pod.group),
            traffic=network.of_process(pod.network_pid) if pod.network_pid else (),
            pressure=groups.pressure(pod.group),
        )
        found = [whole]
        for container in pod.containers:
            labels = cadvisor.labels(
                f"/{container.group}",
                namespace=pod.namespace,
                pod=pod.name,
                container=container.name,
                image=images.get(container.name, ""),
                name=container.id,
            )
            layer = disks.layers.get(container.id) if disks is not None else None
            found.append(
                Series(
                    labels,
                    container.usage,
                    groups.detail(container.group),
                    started_at=container.started_at,
                    disk=(device, layer.bytes) if layer is not None else None,
                    pressure=groups.pressure(container.group),
                )
            )
        return found


def _images(pod: Object) -> dict[str, str]:
    """The image of each container of a pod, as its status or else its spec names it."""
    kinds = ("containers", "initContainers", "ephemeralContainers")
    wanted = {
        one["name"]: one.get("image") or "" for kind in kinds for one in get_path(pod, "spec", kind, default=[])
    }
    statuses = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    known = {
        one["name"]: one["image"]
        for kind in statuses
        for one in get_path(pod, "status", kind, default=[])
        if one.get("image")
    }
    return wanted | known


def _text(body: str) -> web.Response:
    return web.Response(body=body.encode(), headers={"Content-Type": CONTENT_TYPE})


def _this_process(now: float) -> agent.Process:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    fields = read("/proc/self/stat").rpartition(")")[2].split()
    started = usage.machine_started_at(now) + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    virtual, resident = map(int, read("/proc/self/statm").split()[:2])
    page = os.sysconf("SC_PAGE_SIZE")
    return agent.Process(
        cpu_seconds=spent.ru_utime + spent.ru_stime,
        resident_bytes=resident * page,
        virtual_bytes=virtual * page,
        open_files=len(os.listdir("/proc/self/fd")),
        open_files_max=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        started_at=started,
    )
