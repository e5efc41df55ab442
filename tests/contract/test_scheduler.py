"""The scheduler as its users see it: real processes, everything through the API."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, find_condition, get_path, name
from apimachinery.resources import EVENTS, LEASES, NODES, PODS, SERVICEACCOUNTS, SERVICES
from tests.support.apiserver import ApiServerProcess, running
from tests.support.scheduler import SchedulerProcess, scheduling

WAIT_SECONDS_MAX = 60.0
ZONE = "topology.kubernetes.io/zone"
SERVICE_ACCOUNT = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "default", "namespace": "default"},
}
# A candidate takes a lost lead over after this long.
IMPATIENT = [
    "--leader-elect-lease-duration=4s",
    "--leader-elect-renew-deadline=3s",
    "--leader-elect-retry-period=200ms",
]


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServerProcess]:
    with running(tmp_path) as process:
        await process.wait_ready()
        yield process


@pytest.fixture
async def client(server: ApiServerProcess) -> AsyncIterator[Client]:
    async with await server.client() as connected:
        # No pod is admitted without it; the controllers, which make it otherwise, do not run here.
        await connected.create(SERVICEACCOUNTS, SERVICE_ACCOUNT)
        yield connected


@pytest.fixture
def scheduler(server: ApiServerProcess) -> Any:
    with scheduling(server) as process:
        yield process


def node(name: str, *, cpu: str = "4", pods: int = 110, **spec: Any) -> Object:
    allocatable = {"cpu": cpu, "memory": "8Gi", "ephemeral-storage": "10Gi", "pods": str(pods)}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name},
        "spec": spec,
        "status": {"capacity": allocatable, "allocatable": allocatable},
    }


def pod(name: str, *, cpu: str | None = None, **spec: Any) -> Object:
    container: Object = {"name": "app", "image": "localhost/host", "command": ["true"]}
    if cpu is not None:
        container["resources"] = {"requests": {"cpu": cpu}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], **spec},
    }


async def create_node(client: Client, made: Object) -> None:
    """Create a node that is ready: the taint that it gets at first is taken away, as the controllers do it."""
    created = await client.create(NODES, made)
    await client.update(NODES, {**created, "spec": made["spec"]})


async def until(what: Callable[[], Awaitable[Any]], *processes: SchedulerProcess) -> Any:
    """The first true answer."""
    try:
        async with asyncio.timeout(WAIT_SECONDS_MAX):
            while not (found := await what()):  # noqa: ASYNC110 - the API is asked, there is no event to wait for
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError("\n".join(process.log()[-3000:] for process in processes) or "it never came") from None
    return found


async def node_of(client: Client, pod_name: str) -> str:
    """The node that a pod is bound to, once it is."""

    async def assigned() -> Any:
        return (await client.get(PODS, pod_name, "default"))["spec"].get("nodeName")

    found: str = await until(assigned)
    return found


async def event_of(client: Client, pod_name: str, reason: str) -> Object:
    """The event of a pod with this reason, once there is one."""

    async def told() -> Any:
        events = (await client.list(EVENTS, "default"))["items"]
        return next((e for e in events if e["reason"] == reason and e["involvedObject"]["name"] == pod_name), None)

    found: Object = await until(told)
    return found


async def unscheduled(client: Client, pod_name: str) -> Object:
    """The PodScheduled condition of a pod, once it says no."""

    async def told() -> Any:
        condition = find_condition(await client.get(PODS, pod_name, "default"), "PodScheduled")
        return condition if condition is not None and condition["status"] == "False" else None

    found: Object = await until(told)
    return found


async def test_a_pod_is_bound_and_told_so(client: Client, scheduler: SchedulerProcess) -> None:
    await create_node(client, node("node-1"))
    await client.create(PODS, pod("web"))
    assert await node_of(client, "web") == "node-1"
    event = await event_of(client, "web", "Scheduled")
    assert event["message"] == "Successfully assigned default/web to node-1"
    assert (event["type"], event["source"]["component"]) == ("Normal", "default-scheduler")
    condition = find_condition(await client.get(PODS, "web", "default"), "PodScheduled")
    assert condition is not None and condition["status"] == "True"


async def test_a_pod_that_fits_nowhere_is_told_why_in_kubernetes_words(
    client: Client, scheduler: SchedulerProcess
) -> None:
    for number in range(3):
        await create_node(client, node(f"node-{number}", cpu="1"))
    await create_node(client, node("cordoned", unschedulable=True))
    await create_node(client, node("tainted", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}]))

    async def known() -> bool:
        return len((await client.list(NODES))["items"]) == 5

    await until(known)
    await client.create(PODS, pod("web", cpu="2"))
    message = (
        "0/5 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable, "
        "3 Insufficient cpu. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling."
    )
    event = await event_of(client, "web", "FailedScheduling")
    assert (event["type"], event["message"]) == ("Warning", message)
    condition = await unscheduled(client, "web")
    assert (condition["reason"], condition["message"]) == ("Unschedulable", message)


async def test_a_node_that_appears_later_is_used_at_once(client: Client, scheduler: SchedulerProcess) -> None:
    await client.create(PODS, pod("early", cpu="2"))
    event = await event_of(client, "early", "FailedScheduling")
    assert event["message"] == "no nodes available to schedule pods"
    await create_node(client, node("small", cpu="1"))
    await create_node(client, node("large", cpu="2"))
    assert await node_of(client, "early") == "large"
    condition = find_condition(await client.get(PODS, "early", "default"), "PodScheduled")
    assert condition is not None and condition["status"] == "True"


async def test_room_that_becomes_free_is_used(client: Client, scheduler: SchedulerProcess) -> None:
    await create_node(client, node("node-1", cpu="1"))
    await client.create(PODS, pod("first", cpu="1"))
    assert await node_of(client, "first") == "node-1"
    await client.create(PODS, pod("second", cpu="1"))
    await unscheduled(client, "second")
    await client.delete(PODS, "first", "default", grace_period_seconds=0)
    assert await node_of(client, "second") == "node-1"


async def test_a_node_that_is_uncordoned_or_labelled_or_grows_is_used(
    client: Client, scheduler: SchedulerProcess
) -> None:
    await create_node(client, node("cordoned", unschedulable=True, cpu="1"))
    await create_node(client, node("plain", cpu="1"))
    await client.create(PODS, pod("picky", nodeSelector={"disk": "ssd"}))
    await client.create(PODS, pod("large", cpu="3"))
    await unscheduled(client, "picky")
    await unscheduled(client, "large")
    await client.patch(NODES, "plain", {"metadata": {"labels": {"disk": "ssd"}}})
    assert await node_of(client, "picky") == "plain"
    await client.patch(NODES, "cordoned", {"status": {"allocatable": {"cpu": "3"}}}, subresource="status")
    await client.patch(NODES, "cordoned", {"spec": {"unschedulable": None}})
    assert await node_of(client, "large") == "cordoned"


async def test_a_gated_pod_waits_until_its_gates_are_removed(client: Client, scheduler: SchedulerProcess) -> None:
    await create_node(client, node("node-1"))
    await client.create(PODS, pod("gated", schedulingGates=[{"name": "example.com/wait"}]))
    await client.create(PODS, pod("free"))
    assert await node_of(client, "free") == "node-1"
    condition = await unscheduled(client, "gated")
    assert condition["reason"] == "SchedulingGated"
    assert not get_path(await client.get(PODS, "gated", "default"), "spec", "nodeName")
    await client.patch(PODS, "gated", {"spec": {"schedulingGates": None}}, "default")
    assert await node_of(client, "gated") == "node-1"


async def test_a_pod_that_is_deleted_while_it_waits_is_forgotten(client: Client, scheduler: SchedulerProcess) -> None:
    await client.create(PODS, pod("web", cpu="1"))
    await unscheduled(client, "web")
    await client.delete(PODS, "web", "default")
    await create_node(client, node("node-1", cpu="1"))
    await client.create(PODS, pod("other", cpu="1"))
    assert await node_of(client, "other") == "node-1"


async def test_a_pod_for_another_scheduler_is_left_alone(
    client: Client, server: ApiServerProcess, scheduler: SchedulerProcess
) -> None:
    await create_node(client, node("node-1"))
    await client.create(PODS, pod("theirs", schedulerName="mine"))
    await client.create(PODS, pod("ours"))
    assert await node_of(client, "ours") == "node-1"
    assert not (await client.get(PODS, "theirs", "default"))["spec"].get("nodeName")
    flags = ["--scheduler-name=mine", "--leader-elect=false"]
    with scheduling(server, "mine", flags):
        assert await node_of(client, "theirs") == "node-1"


async def all_bound(client: Client, count: int) -> list[Object]:
    """All pods, once each of them is bound."""

    async def bound() -> Any:
        pods: list[Object] = (await client.list(PODS, "default"))["items"]
        return pods if len(pods) == count and all(p["spec"].get("nodeName") for p in pods) else None

    found: list[Object] = await until(bound)
    return found


async def create_pods(client: Client, count: int, **spec: Any) -> None:
    limit = asyncio.Semaphore(16)

    async def create(number: int) -> None:
        async with limit:
            await client.create(PODS, pod(f"pod-{number}", **spec))

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(create(number))


async def test_a_full_cluster_is_filled_to_the_brim_and_no_further(
    client: Client, scheduler: SchedulerProcess
) -> None:
    for number in range(4):
        await create_node(client, node(f"node-{number}", cpu="5"))
    await create_pods(client, 24, cpu="1")

    async def settled() -> Any:
        pods = (await client.list(PODS, "default"))["items"]
        # Each is on a node, or is told that it can't be on any.
        return pods if all(find_condition(pod, "PodScheduled") for pod in pods) else None

    pods = await until(settled, scheduler)
    assert Counter(p["spec"].get("nodeName") for p in pods) == {**{f"node-{n}": 5 for n in range(4)}, None: 4}


async def test_a_scheduler_that_is_killed_loses_and_doubles_nothing(client: Client, server: ApiServerProcess) -> None:
    for number in range(5):
        await create_node(client, node(f"node-{number}", cpu="40"))
    with scheduling(server, flags=["--leader-elect=false"]) as process:
        creation = asyncio.create_task(create_pods(client, 200, cpu="1"))
        for bound_so_far in (20, 60, 100):

            async def enough(wanted: int = bound_so_far) -> bool:
                pods = (await client.list(PODS, "default"))["items"]
                return sum(bool(p["spec"].get("nodeName")) for p in pods) >= wanted

            await until(enough, process)
            process.kill(signal.SIGKILL)
            process.start()
        await creation
        pods = await all_bound(client, 200)
    assert Counter(p["spec"]["nodeName"] for p in pods) == {f"node-{number}": 40 for number in range(5)}


async def test_placing_goes_on_when_the_api_server_is_killed_and_comes_back(
    client: Client, server: ApiServerProcess
) -> None:
    for number in range(2):
        await create_node(client, node(f"node-{number}", cpu="50"))
    with scheduling(server) as process:
        await create_pods(client, 100, cpu="1")
        server.kill()
        server.start()
        await server.wait_ready()
        pods = await all_bound(client, 100)
        assert process.process is not None and process.process.poll() is None
    assert Counter(p["spec"]["nodeName"] for p in pods) == {"node-0": 50, "node-1": 50}


async def test_of_two_schedulers_one_leads_and_the_other_takes_over(client: Client, server: ApiServerProcess) -> None:
    for number in range(5):
        await create_node(client, node(f"node-{number}", cpu="20"))

    async def holder() -> Any:
        leases = (await client.list(LEASES, "kube-system"))["items"]
        lease = next((lease for lease in leases if name(lease) == "kube-scheduler"), None)
        return lease and lease["spec"].get("holderIdentity")

    with scheduling(server, "one", IMPATIENT) as one:
        first = await until(holder, one)
        with scheduling(server, "two", IMPATIENT) as two:
            await create_pods(client, 50, cpu="1")
            await all_bound(client, 50)
            assert "placing pods" not in two.log()
            one.kill(signal.SIGKILL)
            await client.create(PODS, pod("after", cpu="1"))
            await node_of(client, "after")
            second = await holder()
            assert second and second != first
            one.start()
            two.kill(signal.SIGTERM)
            await client.create(PODS, pod("last", cpu="1"))
            await node_of(client, "last")
    pods = (await client.list(PODS, "default"))["items"]
    assert len(pods) == 52
    assert max(Counter(p["spec"]["nodeName"] for p in pods).values()) <= 20


async def test_pods_of_a_service_are_spread_and_pods_keep_away_from_each_other(
    client: Client, scheduler: SchedulerProcess
) -> None:
    for number in range(4):
        made = node(f"n{number}")
        made["metadata"]["labels"] = {"kubernetes.io/hostname": f"n{number}", ZONE: f"z{number % 2}"}
        await create_node(client, made)
    metadata = {"name": "web", "namespace": "default"}
    ports = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
    await client.create(SERVICES, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": ports})
    selector = {"labelSelector": {"matchLabels": {"app": "db"}}}
    away = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": ZONE, **selector}]}
    evenly = {"topologyKey": ZONE, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", **selector}
    for name_of_pod, app, spec in (
        *((f"web-{number}", "web", {}) for number in range(4)),
        ("spread-0", "db", {"topologySpreadConstraints": [evenly]}),
        ("spread-1", "db", {"topologySpreadConstraints": [evenly]}),
        ("alone", "db", {"affinity": {"podAntiAffinity": away}}),
    ):
        wanted = pod(name_of_pod, **spec)
        wanted["metadata"]["labels"] = {"app": app}
        await client.create(PODS, wanted)
        if name_of_pod != "alone":
            await node_of(client, name_of_pod)
    assert len({await node_of(client, f"web-{number}") for number in range(4)}) == 4
    assert {int((await node_of(client, f"spread-{number}"))[1:]) % 2 for number in range(2)} == {0, 1}
    condition = await unscheduled(client, "alone")
    assert condition["message"] == (
        "0/4 nodes are available: 4 node(s) didn't match pod anti-affinity rules. "
        "preemption: 0/4 nodes are available: 4 No preemption victims found for incoming pod."
    )
    await client.delete(PODS, "spread-0", "default", grace_period_seconds=0)
    assert await node_of(client, "alone")
