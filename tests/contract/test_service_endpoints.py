"""Services and where they lead, as users see it: a real API server and manager, and pods that only say to run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, get_path, labels, name, resource_version
from apimachinery.resources import ENDPOINTS, ENDPOINTSLICES, NAMESPACES, NODES, PODS, SERVICEACCOUNTS, SERVICES
from apimachinery.time import rfc3339
from apiserver.options import parse
from controllers.endpoint_slice_plan import SERVICE_NAME
from tests.support.apiserver import ApiServerProcess, own_address, running
from tests.support.clients import kubectl_current, kubectl_on_path
from tests.support.kubectl import Kubectl
from tests.support.manager import ManagerProcess, managing, until

NODE = "n1"
SECONDS_MAX = 60
ZONE = {"topology.kubernetes.io/zone": "zone-a"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    # It publishes where it is only if that is more than an address of its loopback interface.
    advertised = parse(["--data-dir", "unused"]).advertise_address
    with running(
        tmp_path_factory.mktemp("endpoints"), ["--bind-address", "0.0.0.0", "--advertise-address", advertised]
    ) as process:
        asyncio.run(prepare(process))
        yield process


@pytest.fixture(scope="module", autouse=True)
def manager(server: ApiServerProcess) -> Iterator[ManagerProcess]:
    with managing(server) as process:
        yield process


async def prepare(server: ApiServerProcess) -> None:
    """A node in a zone."""
    await server.wait_ready()
    async with await server.client() as client:
        await client.create(NODES, {"metadata": {"name": NODE, "labels": ZONE}})


@pytest.fixture
async def scope(client: Client) -> str:
    """A namespace for one test."""
    made = name(await client.create(NAMESPACES, {"metadata": {"generateName": "endpoints-"}}))
    await until(client, SERVICEACCOUNTS, made, lambda found: "default" in found)
    return made


async def run_pod(client: Client, scope: str, which: str, address: str, *, ready: bool = True) -> Object:
    """A pod of `app=web` that says to run at an address."""
    port = {"name": "http", "containerPort": 8080}
    spec = {"nodeName": NODE, "containers": [{"name": "c", "image": "i", "ports": [port]}]}
    await client.create(PODS, {"metadata": {"name": which, "labels": {"app": "web"}}, "spec": spec}, scope)
    since = rfc3339(time.time())
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}
    status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [condition]}
    return await client.patch(PODS, which, {"status": status}, scope, subresource="status")


async def expose(client: Client, scope: str, which: str = "web", **spec: Any) -> Object:
    port = {"name": "http", "port": 80, "targetPort": "http"}
    made = {"metadata": {"name": which, "labels": {"team": "a"}}, "spec": {"ports": [port], **spec}}
    return await client.create(SERVICES, made, scope)


def of_service(found: dict[str, Object], which: str) -> list[Object]:
    return [one for one in found.values() if labels(one).get(SERVICE_NAME) == which]


def leads_to(which: str, count: int) -> Any:
    """A condition on EndpointSlices: so many endpoints of a service are ready."""

    def holds(found: dict[str, Object]) -> bool:
        slices = of_service(found, which)
        ready = [e for one in slices for e in one["endpoints"] if e["conditions"]["ready"]]
        return bool(slices) and len(ready) == count

    return holds


@pytest.mark.parametrize("find", [kubectl_on_path, kubectl_current], ids=["on-path", "current"])
async def test_stock_kubectl_exposes_a_pod_and_shows_where_its_service_leads(
    server: ApiServerProcess, client: Client, scope: str, tmp_path: Any, find: Any
) -> None:
    kubectl = Kubectl(find(), server.kubeconfig, scope, tmp_path)
    await run_pod(client, scope, "web", "10.1.0.2")
    await run_pod(client, scope, "slow", "10.1.0.3", ready=False)
    expose = ("expose", "pod", "web", "--port=80", "--target-port=8080")
    assert "service/web exposed" in await asyncio.to_thread(kubectl, *expose)
    await until(client, ENDPOINTSLICES, scope, leads_to("web", 1))
    await until(client, ENDPOINTS, scope, lambda found: "web" in found and found["web"].get("subsets"))
    slices = (await asyncio.to_thread(kubectl.lines, "get", "endpointslices"))[1:]
    assert [(line[0].startswith("web-"), line[1:3]) for line in slices] == [(True, ["IPv4", "8080"])]
    assert sorted(slices[0][3].split(",")) == ["10.1.0.2", "10.1.0.3"]
    endpoints = await asyncio.to_thread(kubectl.lines, "get", "endpoints")
    assert endpoints[1][:2] == ["web", "10.1.0.2:8080"]
    described = await asyncio.to_thread(kubectl.lines, "describe", "service", "web")
    assert ["Endpoints:", "10.1.0.2:8080"] in described


async def test_the_proxy_of_a_service_reaches_a_pod(client: Client, scope: str) -> None:
    async with answering(b"hello from the pod") as port:
        await run_pod(client, scope, "web", own_address())
        await expose(client, scope, selector={"app": "web"}, ports=[{"name": "http", "port": 80, "targetPort": port}])
        await until(client, ENDPOINTSLICES, scope, leads_to("web", 1))
        for which in ("web:80", "web:http", "http:web:http"):
            path = f"/api/v1/namespaces/{scope}/services/{which}/proxy/"
            assert (await client.request("GET", path))[2] == b"hello from the pod"
        await client.delete(PODS, "web", scope, grace_period_seconds=0)
        await until(client, ENDPOINTSLICES, scope, leads_to("web", 0))
        with pytest.raises(ApiError, match="no endpoints available"):
            await client.request("GET", f"/api/v1/namespaces/{scope}/services/web:80/proxy/")


@asynccontextmanager
async def answering(body: bytes) -> AsyncIterator[int]:
    """A web server that answers everybody the same."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()

    async with await asyncio.start_server(serve, own_address(), 0) as listening:
        yield listening.sockets[0].getsockname()[1]


async def test_a_pods_way_is_told_by_conditions(client: Client, scope: str) -> None:
    await expose(client, scope, selector={"app": "web"}, trafficDistribution="PreferSameNode")
    await run_pod(client, scope, "web", "10.1.0.2")
    [one] = of_service(await until(client, ENDPOINTSLICES, scope, leads_to("web", 1)), "web")
    [endpoint] = one["endpoints"]
    assert endpoint["conditions"] == {"ready": True, "serving": True, "terminating": False}
    assert (endpoint["nodeName"], endpoint["zone"]) == (NODE, "zone-a")
    assert endpoint["hints"] == {"forZones": [{"name": "zone-a"}], "forNodes": [{"name": NODE}]}
    await client.delete(PODS, "web", scope)  # whose node would end it
    found = await until(client, ENDPOINTSLICES, scope, leads_to("web", 0))
    [endpoint] = of_service(found, "web")[0]["endpoints"]
    assert endpoint["conditions"] == {"ready": False, "serving": True, "terminating": True}
    await client.delete(PODS, "web", scope, grace_period_seconds=0)
    await until(client, ENDPOINTSLICES, scope, lambda found: not of_service(found, "web")[0]["endpoints"])


async def test_what_is_written_stays_as_it_is_until_something_changes(client: Client, scope: str) -> None:
    await run_pod(client, scope, "web", "10.1.0.2")
    await run_pod(client, scope, "slow", "10.1.0.3", ready=False)
    selector = {"app": "web"}
    ports = [{"name": "http", "port": 80, "targetPort": "http", "appProtocol": "http"}, {"name": "b", "port": 81}]
    await expose(client, scope, selector=selector, ports=ports, trafficDistribution="PreferClose")
    await expose(client, scope, "none", selector={"app": "none"})
    await expose(client, scope, "headless", selector=selector, clusterIP="None", ports=[])
    await expose(client, scope, "db")
    subset = {"addresses": [{"ip": "10.9.0.1"}], "notReadyAddresses": [{"ip": "10.9.0.2"}], "ports": [{"port": 5432}]}
    await client.create(ENDPOINTS, {"metadata": {"name": "db"}, "subsets": [subset]}, scope)
    names = ("web", "none", "headless", "db")
    await until(client, ENDPOINTSLICES, scope, lambda found: all(of_service(found, which) for which in names))
    await settled(client, scope, "first")
    before = await versions(client, scope)
    for which in names:
        await client.patch(SERVICES, which, {"metadata": {"annotations": {"looked": "at"}}}, scope)
    await settled(client, scope, "second")
    assert {key: version for key, version in (await versions(client, scope)).items() if key in before} == before
    [mirrored] = of_service(await until(client, ENDPOINTSLICES, scope, leads_to("db", 1)), "db")
    assert [one["addresses"] for one in mirrored["endpoints"]] == [["10.9.0.1"], ["10.9.0.2"]]


async def settled(client: Client, scope: str, marker: str) -> None:
    """Until all controllers have done what was asked for before: they work on keys in turn."""
    await expose(client, scope, marker, selector={"app": "web"})
    await until(client, ENDPOINTSLICES, scope, leads_to(marker, 1))
    await until(client, ENDPOINTS, scope, lambda found: get_path(found.get(marker), "subsets"))
    await settled_by_hand(client, scope, f"{marker}-by-hand")


async def settled_by_hand(client: Client, scope: str, which: str) -> None:
    """A service whose Endpoints are written by hand, until they are mirrored."""
    await expose(client, scope, which)
    subset = {"addresses": [{"ip": "10.9.0.1"}], "ports": [{"port": 80}]}
    await client.create(ENDPOINTS, {"metadata": {"name": which}, "subsets": [subset]}, scope)
    await until(client, ENDPOINTSLICES, scope, leads_to(which, 1))


async def versions(client: Client, scope: str) -> dict[tuple[str, str], str]:
    """The version of everything that the controllers write."""
    found = {}
    for resource in (ENDPOINTS, ENDPOINTSLICES):
        for one in (await client.list(resource, scope))["items"]:
            found[resource.plural, name(one)] = resource_version(one)
    return found


async def test_all_of_it_goes_with_the_service(client: Client, scope: str) -> None:
    await run_pod(client, scope, "web", "10.1.0.2")
    await expose(client, scope, selector={"app": "web"})
    await until(client, ENDPOINTSLICES, scope, leads_to("web", 1))
    await until(client, ENDPOINTS, scope, lambda found: "web" in found)
    await client.delete(SERVICES, "web", scope)
    await until(client, ENDPOINTS, scope, lambda found: not found)
    await until(client, ENDPOINTSLICES, scope, lambda found: not found)


async def test_a_namespace_goes_with_all_its_services(client: Client, scope: str) -> None:
    await expose(client, scope, selector={"app": "web"})
    await settled_by_hand(client, scope, "db")
    await until(client, ENDPOINTSLICES, scope, leads_to("web", 0))
    await client.delete(NAMESPACES, scope)
    await until(client, NAMESPACES, None, lambda found: scope not in found)


NOW_READY = ["kept", "new"]


def pods_in(one: Object) -> list[str]:
    """The pods that are ready in a slice."""
    ready = [endpoint for endpoint in one["endpoints"] if endpoint["conditions"]["ready"]]
    return sorted(get_path(endpoint, "targetRef", "name", default="") for endpoint in ready)


async def test_what_happens_while_nobody_manages_is_caught_up_with(
    client: Client, scope: str, manager: ManagerProcess
) -> None:
    for number, which in enumerate(("kept", "gone", "new")):
        await run_pod(client, scope, which, f"10.1.0.{number + 2}", ready=which != "new")
    for which in ("web", "ended"):
        await expose(client, scope, which, selector={"app": "web"})
        await until(client, ENDPOINTSLICES, scope, leads_to(which, 2))
    await settled_by_hand(client, scope, "db")
    await until(client, ENDPOINTS, scope, lambda found: {"web", "ended"} <= found.keys())
    manager.kill()
    await client.delete(PODS, "gone", scope, grace_period_seconds=0)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(time.time())}
    await client.patch(PODS, "new", {"status": {"conditions": [ready]}}, scope, subresource="status")
    await client.delete(SERVICES, "ended", scope)
    await client.delete(ENDPOINTS, "db", scope)
    manager.start()
    await until(client, ENDPOINTS, scope, lambda found: found.keys() == {"web"})
    await until(client, ENDPOINTSLICES, scope, lambda found: [pods_in(one) for one in found.values()] == [NOW_READY])


async def test_the_api_servers_own_service_is_left_to_it(client: Client, scope: str) -> None:
    address = own_address()
    before = await versions(client, "default")
    await client.patch(SERVICES, "kubernetes", {"metadata": {"labels": {"looked": "at"}}}, "default")
    await run_pod(client, scope, "web", "10.1.0.2")
    await settled(client, scope, "marker")
    assert await versions(client, "default") == before
    assert sorted(before) == [("endpoints", "kubernetes"), ("endpointslices", "kubernetes")]
    own = await client.get(ENDPOINTSLICES, "kubernetes", "default")
    assert [one["addresses"] for one in own["endpoints"]] == [[address]]
