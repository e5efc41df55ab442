"""Answers for metrics.k8s.io: objects that are made anew at each look, of what node agents say."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from time import monotonic
from typing import TYPE_CHECKING

from apimachinery.errors import not_found
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.resources import NODES, PODS
from apimachinery.time import rfc3339
from apiserver.admission.plugin import Cluster
from apiserver.resourcemetrics.kinds import NODE_METRICS, POD_METRICS

if TYPE_CHECKING:
    from apiserver.resourcemetrics.scraping import Scraping

RUNNING = "Running"
SLICE = 256


class ResourceMetrics:
    """What nodes and pods use. Nothing is behind it until somebody asks."""

    def __init__(self, cluster: Cluster, tls: ssl.SSLContext, now: Callable[[], float]) -> None:
        """`tls` trusts the cluster's authority and shows this server's client certificate."""
        self._cluster = cluster
        self._tls = tls
        self._now = now
        self._scraping: Scraping | None = None

    def found_out(self) -> Mapping[tuple[str, str], Callable[[str, str], Awaitable[list[Object]]]]:
        """Who finds out the objects of a resource: all of a namespace, or the one that is named."""
        return {NODE_METRICS.key: self._nodes, POD_METRICS.key: self._pods}

    async def close(self) -> None:
        """Ask nobody any more."""
        if self._scraping is not None:
            await self._scraping.close()

    async def _nodes(self, namespace: str, name: str) -> list[Object]:
        """Raises ApiError 404 for one that is named and not there."""
        from apiserver.resourcemetrics.report import node_metrics

        if name:
            node = self._cluster.get(NODES, "", name)
            if node is None:
                raise not_found(NODES.plural, name)
            nodes = [node]
        else:
            nodes = list(self._cluster.list(NODES, ""))
            self._scraped().forget_all_but({node["metadata"]["name"] for node in nodes})
        reports = await self._scraped().reports(node["metadata"]["name"] for node in nodes if _answers(node))
        now = rfc3339(self._now())
        found = [
            metrics
            for node in nodes
            if (said := reports.get(node["metadata"]["name"])) is not None
            and (metrics := node_metrics(node, said, now)) is not None
        ]
        if name and not found:
            raise not_found(f"nodemetrics.{NODE_METRICS.group}", name)
        return found

    async def _pods(self, namespace: str, name: str) -> list[Object]:
        """Raises ApiError 404 for one that is named and not there, or of which nothing is known (yet)."""
        from apiserver.resourcemetrics.report import pod_metrics

        if name:
            pod = self._cluster.get(PODS, namespace, name)
            if pod is None:
                raise not_found(PODS.plural, name)
            pods = [pod] if _runs(pod) else []
        else:
            pods = await self._running(namespace)
        reports = await self._scraped().reports(self._answering({_node_of(pod) for pod in pods}))
        now = rfc3339(self._now())
        found = [
            metrics
            for pod in pods
            if (said := reports.get(_node_of(pod))) is not None
            and (metrics := pod_metrics(pod, said, now)) is not None
        ]
        if name and not found:
            raise not_found(f"podmetrics.{POD_METRICS.group}", f"{namespace}/{name}")
        return found

    async def _running(self, namespace: str) -> list[Object]:
        """The pods that run. To look at thousands takes a while, in which others have their turns."""
        found = []
        for number, pod in enumerate(self._cluster.list(PODS, namespace)):
            if _runs(pod):
                found.append(pod)
            if number % SLICE == SLICE - 1:
                await asyncio.sleep(0)
        return found

    def _answering(self, names: Iterable[str]) -> Iterable[str]:
        for name in names:
            node = self._cluster.get(NODES, "", name)
            if node is not None and _answers(node):
                yield name

    def _scraped(self) -> Scraping:
        if self._scraping is None:
            from apiserver.proxying.agents import Agents
            from apiserver.resourcemetrics.scraping import Scraping

            self._scraping = Scraping(Agents(self._cluster, self._tls), monotonic)
        return self._scraping


def _runs(pod: Object) -> bool:
    return bool(get_path(pod, "status", "phase") == RUNNING)


def _node_of(pod: Object) -> str:
    name: str = get_path(pod, "spec", "nodeName", default="")
    return name


def _answers(node: Object) -> bool:
    """Whether a node's agent has shown lately that it is there."""
    ready = find_condition(node, "Ready")
    return ready is None or ready.get("status") != "Unknown"
