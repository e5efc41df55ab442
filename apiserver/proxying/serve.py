"""Finds out who answers a subresource that is not answered here.

pods/NAME/log, exec, attach, portforward      the node's agent
nodes/NAME/proxy/…                            the node's agent, or another port of the node
pods/NAME/proxy/…, services/NAME/proxy/…      the pod, or a pod behind the service
"""

from __future__ import annotations

import ssl
from functools import cached_property

from aiohttp import web

from apimachinery.errors import method_not_allowed, not_found, path_not_found
from apimachinery.meta import Object
from apimachinery.resources import PODS
from apiserver.admission.plugin import Cluster
from apiserver.pod_streams import stream_location
from apiserver.proxying import logs, port_forwarding, remote_commands, targets
from apiserver.proxying.agents import Agents
from apiserver.proxying.links import Links
from apiserver.proxying.reverse import ReverseProxy, Target
from apiserver.proxying.targets import Place
from apiserver.request_info import RequestInfo


class Proxies:
    """Serves these subresources."""

    def __init__(self, cluster: Cluster, tls: ssl.SSLContext) -> None:
        """`tls` trusts the cluster's authority and shows this server's client certificate."""
        self._cluster = cluster
        self._agents = Agents(cluster, tls)
        self._reverse = ReverseProxy()

    async def close(self) -> None:
        """Close the connections to others, which ends what runs over them."""
        await self._agents.close()
        await self._reverse.close()

    async def serve(self, http: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        """Answer a request for one of these subresources. Raises ApiError."""
        match info.resource, info.subresource:
            case "pods", "log":
                if info.verb != "get":
                    raise method_not_allowed()
                return await logs.serve(http, self._agents, self._pod(info))
            case "pods", ("exec" | "attach") as kind:
                if info.verb not in ("get", "create"):
                    raise method_not_allowed()
                location = stream_location(self._pod(info), kind, http.query)
                return await remote_commands.serve(http, self._agents, location)
            case "pods", "portforward":
                if info.verb not in ("get", "create"):
                    raise method_not_allowed()
                return await port_forwarding.serve(http, self._agents, self._pod(info))
            case "pods", "proxy":
                return await self._forward(http, info, targets.of_pod(self._cluster, info.namespace, info.name))
            case "services", "proxy":
                return await self._forward(http, info, targets.of_service(self._cluster, info.namespace, info.name))
            case "nodes", "proxy":
                return await self._forward_to_node(http, info)
        raise path_not_found()

    async def _forward_to_node(self, http: web.BaseRequest, info: RequestInfo) -> web.StreamResponse:
        named = targets.split("node", info.name)
        address, agent_port = self._agents.address(named.name)
        if named.port in ("", str(agent_port)):
            return await self._forward(http, info, Place("https", address, agent_port), self._agents.tls)
        return await self._forward(http, info, targets.of_node_port(named, address))

    async def _forward(
        self, http: web.BaseRequest, info: RequestInfo, place: Place, tls: ssl.SSLContext | None = None
    ) -> web.StreamResponse:
        path, _, query = http.raw_path.partition("?")
        prefix = path.removesuffix(f"/{info.rest}") if info.rest else path.removesuffix("/")
        query = f"?{query}" if query else ""
        upgrades = "Upgrade" in http.headers
        if path == prefix and http.method in ("GET", "HEAD") and not upgrades:
            # Relative links of the page lead below the slash.
            return web.Response(status=301, headers={"Location": f"{path}/{query}"})
        target = Target(place, f"{path.removeprefix(prefix)}{query}" or "/", tls or self._unverified)
        links = Links(prefix, (target.url.authority, http.host), scheme=http.scheme, host=http.host)
        told = {"X-Forwarded-Uri": path, "X-Forwarded-Host": http.host, "X-Forwarded-Proto": http.scheme}
        return await self._reverse.forward(http, target, headers=told.items(), links=links)

    @cached_property
    def _unverified(self) -> ssl.SSLContext:
        """Towards pods and services: nobody can say which certificates they should have."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def _pod(self, info: RequestInfo) -> Object:
        pod = self._cluster.get(PODS, info.namespace, info.name)
        if pod is None:
            raise not_found(PODS.plural, info.name)
        return pod
