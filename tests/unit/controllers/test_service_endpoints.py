"""The controllers of endpoints at work: what events lead to, and that each thing is written once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from apiclient.events import EventRecorder
from apimachinery.meta import Object, labels, name
from apimachinery.resources import ENDPOINTS, ENDPOINTSLICES, NODES, PODS, SERVICES
from controllers.context import Context, Controller, Informers, Options, run_controller
from controllers.endpoint_slice import EndpointSliceController
from controllers.endpoint_slice_mirroring import EndpointSliceMirroring
from controllers.endpoint_slice_mirroring_plan import SKIP_MIRROR
from controllers.endpoint_slice_plan import MANAGED_BY, SERVICE_NAME
from controllers.endpoints import EndpointsController
from controllers.service_endpoints import LEADER
from controllers.topology_hints import ZONE
from tests.support.clock import ManualClock
from tests.support.staged_api import StagedApi

CONTROLLERS = (EndpointSliceController, EndpointsController, EndpointSliceMirroring)


class _Over(Exception):
    """The test is over: ends all tasks of its group."""


class Told:
    """An event recorder that remembers (type, reason, message)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, str]] = []

    def event(self, obj: Object, type: str, reason: str, message: str) -> None:
        self.events.append((type, reason, message))


@asynccontextmanager
async def running(
    api: StagedApi, clock: ManualClock, *makers: Callable[[Context], Controller]
) -> AsyncIterator[list[tuple[str, str, str]]]:
    """Controllers at work; yields the events that they have told of."""
    client: Any = api
    informers, recorder = Informers(client, client, clock=clock), Told()
    context = Context(client, client, informers, cast(EventRecorder, recorder), clock, Options())
    controllers = [make(context) for make in makers or CONTROLLERS]
    try:
        async with asyncio.TaskGroup() as group:
            informers.start(group)
            for controller in controllers:
                group.create_task(run_controller("test", controller, workers=2, clock=clock))
            await clock.advance(1)
            yield recorder.events
            raise _Over
    except* _Over:
        pass


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def service(which: str = "web", app: str | None = "web", **spec: Any) -> Object:
    port = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
    selector = {"selector": {"app": app}} if app else {}
    own = {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "ports": [port], **selector, **spec}
    metadata = {"name": which, "namespace": "default", "creationTimestamp": "2026-01-01T00:00:00Z"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": own}


def pod(number: int, app: str = "web", *, address: bool = True, node: str = "n1") -> Object:
    ip = f"10.1.{number // 250}.{number % 250 + 1}"
    status: Object = {"phase": "Pending"}
    if address:
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"}
        status = {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "conditions": [ready]}
    metadata = {"name": f"p{number}", "namespace": "default", "labels": {"app": app}}
    spec = {"nodeName": node, "containers": [{"name": "c", "image": "i"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}


def node(which: str = "n1", zone: str = "zone-a") -> Object:
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": which, "labels": {ZONE: zone}}}


def endpoints(which: str, *ips: str, **meta: Any) -> Object:
    subsets = [{"addresses": [{"ip": ip} for ip in ips], "ports": [{"port": 80, "protocol": "TCP"}]}] if ips else []
    metadata = {"name": which, "namespace": "default", **meta}
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}


def in_slices(api: StagedApi, which: str = "web") -> list[Object]:
    found = [one for one in api.objects(ENDPOINTSLICES) if labels(one).get(SERVICE_NAME) == which]
    return [endpoint for one in found for endpoint in one["endpoints"]]


def slice_writes(api: StagedApi) -> int:
    return sum(api.count(verb, ENDPOINTSLICES) for verb in ("create", "update", "delete"))


async def test_both_tell_where_the_pods_of_a_service_are(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(NODES, node())
    await api.create(PODS, pod(1))
    await api.create(SERVICES, service())
    async with running(api, clock):
        await api.create(PODS, pod(2))
        await api.create(PODS, pod(3, "other"))
        await clock.advance(1)
        assert [one["addresses"] for one in in_slices(api)] == [["10.1.0.2"], ["10.1.0.3"]]
        [found] = api.objects(ENDPOINTS)
        assert [one["ip"] for one in found["subsets"][0]["addresses"]] == ["10.1.0.2", "10.1.0.3"]
        await api.delete(PODS, "p1", "default")
        await clock.advance(1)
        assert [one["addresses"] for one in in_slices(api)] == [["10.1.0.3"]]


async def test_a_thousand_pods_that_start_at_once_are_written_together(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(NODES, node())
    await api.create(SERVICES, service())
    async with running(api, clock):
        before = slice_writes(api), api.count("update", ENDPOINTS)
        for number in range(1000):
            await api.create(PODS, pod(number))
        await clock.advance(1)
        assert len(in_slices(api)) == 1000 and len(api.objects(ENDPOINTSLICES)) == 10
        assert slice_writes(api) - before[0] <= 12 and api.count("update", ENDPOINTS) - before[1] <= 2


async def test_pods_without_an_address_are_nobodys_business(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(NODES, node())
    await api.create(SERVICES, service())
    async with running(api, clock):
        before = slice_writes(api)
        await api.create(PODS, pod(1, address=False))
        await clock.advance(1)
        assert slice_writes(api) == before
        await api.patch(PODS, "p1", {"metadata": {}, "status": pod(1)["status"]}, "default")
        await clock.advance(1)
        assert len(in_slices(api)) == 1


async def test_a_pod_whose_labels_change_moves_to_the_service_that_selects_it_now(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(NODES, node())
    for app in ("web", "canary"):
        await api.create(SERVICES, service(app, app))
    await api.create(PODS, pod(1))
    async with running(api, clock):
        await api.patch(PODS, "p1", {"metadata": {"labels": {"app": "canary"}}}, "default")
        await clock.advance(1)
        assert (len(in_slices(api)), len(in_slices(api, "canary"))) == (0, 1)


async def test_a_service_whose_selector_changes_has_other_pods(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(NODES, node())
    await api.create(SERVICES, service())
    for number, app in enumerate(("web", "canary", "canary")):
        await api.create(PODS, pod(number, app))
    async with running(api, clock):
        await api.patch(SERVICES, "web", {"metadata": {}, "spec": {"selector": {"app": "canary"}}}, "default")
        await clock.advance(1)
        assert sorted(one["targetRef"]["name"] for one in in_slices(api)) == ["p1", "p2"]
        await api.create(PODS, pod(3, "canary"))
        await clock.advance(1)
        assert len(in_slices(api)) == 3


async def test_a_node_that_is_seen_later_brings_its_pods_and_a_new_zone(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(SERVICES, service())
    await api.create(PODS, pod(1))
    async with running(api, clock):
        assert in_slices(api) == []
        await api.create(NODES, node())
        await clock.advance(1)
        assert [one["zone"] for one in in_slices(api)] == ["zone-a"]
        await api.patch(NODES, "n1", {"metadata": {"labels": {ZONE: "zone-b"}}})
        await clock.advance(1)
        assert [one["zone"] for one in in_slices(api)] == ["zone-b"]


async def test_nothing_is_written_twice_while_the_caches_do_not_show_it(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(NODES, node())
    async with running(api, clock):
        api.hold(ENDPOINTSLICES)
        api.hold(ENDPOINTS)
        await api.create(SERVICES, service())
        for number in range(3):
            await api.create(PODS, pod(number))
            await clock.advance(5)
        assert (api.count("create", ENDPOINTSLICES), api.count("create", ENDPOINTS)) == (1, 1)
        api.release(ENDPOINTSLICES)
        api.release(ENDPOINTS)
        await clock.advance(2)
        assert len(in_slices(api)) == 3 and len(api.objects(ENDPOINTSLICES)) == 1
        assert api.count("create", ENDPOINTS) == 1


async def test_what_somebody_deletes_or_spoils_is_written_again(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(NODES, node())
    await api.create(SERVICES, service())
    await api.create(PODS, pod(1))
    async with running(api, clock):
        [one] = api.objects(ENDPOINTSLICES)
        await api.delete(ENDPOINTSLICES, name(one), "default")
        await api.delete(ENDPOINTS, "web", "default")
        await clock.advance(1)
        [again] = api.objects(ENDPOINTSLICES)
        await api.patch(ENDPOINTSLICES, name(again), {"metadata": {}, "endpoints": []}, "default")
        await api.patch(ENDPOINTS, "web", {"metadata": {}, "subsets": []}, "default")
        await clock.advance(1)
        assert len(in_slices(api)) == 1 and api.objects(ENDPOINTS)[0]["subsets"]


async def test_endpoints_go_with_their_service(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(SERVICES, service())
    async with running(api, clock):
        assert len(api.objects(ENDPOINTS)) == 1
        await api.delete(SERVICES, "web", "default")
        await clock.advance(1)
        assert api.objects(ENDPOINTS) == []


async def test_endpoints_left_of_services_that_are_gone_go_and_locks_of_leaders_stay(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(ENDPOINTS, endpoints("left", "10.9.0.1"))
    await api.create(ENDPOINTS, endpoints("lock", annotations={LEADER: "{}"}))
    async with running(api, clock):
        assert list(map(name, api.objects(ENDPOINTS))) == ["lock"]
        await api.create(ENDPOINTS, endpoints("early", "10.9.0.1"))  # its service may be about to come
        await clock.advance(1)
        assert sorted(map(name, api.objects(ENDPOINTS))) == ["early", "lock"]


async def test_endpoints_written_by_hand_are_mirrored_while_the_service_selects_nothing(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(SERVICES, service("db", None))
    await api.create(ENDPOINTS, endpoints("db", "10.9.0.1"))
    async with running(api, clock):
        [found] = in_slices(api, "db")
        assert found["addresses"] == ["10.9.0.1"] and api.objects(ENDPOINTS)[0]["subsets"]
        await api.patch(SERVICES, "db", {"metadata": {}, "spec": {"selector": {"app": "db"}}}, "default")
        await clock.advance(1)
        [one] = api.objects(ENDPOINTSLICES)
        assert labels(one)[MANAGED_BY] == "endpointslice-controller.k8s.io" and one["endpoints"] == []


async def test_slices_that_mirror_go_with_what_they_mirror(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(SERVICES, service("db", None))
    await api.create(ENDPOINTS, endpoints("db", "10.9.0.1"))
    async with running(api, clock):
        await api.patch(ENDPOINTS, "db", {"metadata": {"labels": {SKIP_MIRROR: "true"}}}, "default")
        await clock.advance(1)
        assert api.objects(ENDPOINTSLICES) == []


async def test_the_api_servers_own_service_is_left_to_it(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(SERVICES, service("kubernetes", None))
    await api.create(ENDPOINTS, endpoints("kubernetes", "192.0.2.1", labels={SKIP_MIRROR: "true"}))
    metadata = {"name": "kubernetes", "namespace": "default", "labels": {SERVICE_NAME: "kubernetes"}}
    await api.create(ENDPOINTSLICES, {"metadata": metadata, "addressType": "IPv4", "endpoints": [], "ports": []})
    api.calls.clear()
    async with running(api, clock):
        await api.patch(SERVICES, "kubernetes", {"metadata": {"labels": {"a": "b"}}}, "default")
        await clock.advance(1)
        assert [call for call in api.calls if call != ("patch", "services")] == []


async def test_services_of_names_elsewhere_have_no_endpoints(clock: ManualClock) -> None:
    api = StagedApi()
    await api.create(SERVICES, service(type="ExternalName", externalName="example.com"))
    await api.create(PODS, pod(1))
    async with running(api, clock):
        assert api.objects(ENDPOINTSLICES) == [] and api.objects(ENDPOINTS) == []


async def test_hints_by_zones_come_with_the_second_zone_and_are_told_of(clock: ManualClock) -> None:
    api = StagedApi()
    able = {"allocatable": {"cpu": "1"}, "conditions": [{"type": "Ready", "status": "True"}]}
    await api.create(NODES, node() | {"status": able})
    asking = service()
    asking["metadata"]["annotations"] = {"service.kubernetes.io/topology-mode": "Auto"}
    await api.create(SERVICES, asking)
    for number, which in enumerate(("n1", "n1", "n2", "n2")):
        await api.create(PODS, pod(number, node=which))
    async with running(api, clock, EndpointSliceController) as told:
        assert len(in_slices(api)) == 2 and not any("hints" in one for one in in_slices(api))
        await api.create(NODES, node("n2", "zone-b") | {"status": able})
        await clock.advance(1)
        hints = [one["hints"]["forZones"][0]["name"] for one in in_slices(api)]
        assert sorted(hints) == ["zone-a", "zone-a", "zone-b", "zone-b"]
        await api.patch(SERVICES, "web", {"metadata": {"annotations": None}}, "default")
        await clock.advance(1)
        assert not any("hints" in one for one in in_slices(api))
        assert [(reason, message.split(":")[0]) for _, reason, message in told] == [
            ("TopologyAwareHintsDisabled", "Insufficient Node information"),
            ("TopologyAwareHintsEnabled", "Topology Aware Hints has been enabled, addressType"),
            ("TopologyAwareHintsDisabled", "Topology Aware Hints has been disabled, addressType"),
        ]
