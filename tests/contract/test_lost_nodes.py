"""Nodes that fall silent, and what becomes of their pods: a real API server, a real manager, a grace of 2 seconds."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, deletion_requested, find_condition, get_path, name
from apimachinery.resources import EVENTS, LEASES, NODES, PODS, SERVICEACCOUNTS
from apimachinery.time import parse_rfc3339
from controllers import taints
from tests.support.apiserver import ApiServerProcess, running
from tests.support.manager import (
    NODE_LEASES,
    FakeNode,
    ManagerProcess,
    condition_status,
    managing,
    set_ready,
    until,
)

GRACE = ("--node-monitor-grace-period=2s",)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[ApiServerProcess]:
    with running(tmp_path) as process:
        await process.wait_ready()
        yield process


@pytest.fixture
def manager(server: ApiServerProcess) -> Any:
    with managing(server, *GRACE) as process:
        yield process


@asynccontextmanager
async def nodes(client: Client, count: int) -> AsyncIterator[list[FakeNode]]:
    """So many nodes that are alive."""
    async with AsyncExitStack() as stack:
        made = [FakeNode(client, f"node-{number}") for number in range(count)]
        for node in made:
            await node.register()
            stack.push_async_callback(node.fall_silent)
        yield made


def tolerating(seconds: int | None, key: str | None = None) -> Object:
    """A toleration of NoExecute taints (of one key) for so many seconds; None: for ever."""
    found: Object = {"operator": "Exists", "effect": "NoExecute"}
    return found | ({"key": key} if key else {}) | ({} if seconds is None else {"tolerationSeconds": seconds})


async def pod_on(client: Client, node: FakeNode, which: str, *tolerations: Object) -> Object:
    """A ready pod on a node."""
    await until(client, SERVICEACCOUNTS, "default", lambda found: "default" in found)
    containers = [{"name": "app", "image": "web:1"}]
    spec = {"nodeName": node.name, "containers": containers, "tolerations": list(tolerations)}
    metadata = {"name": which, "namespace": "default"}
    made = await client.create(PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    await set_ready(client, made)
    return made


def marks(node: Object) -> set[tuple[str, str]]:
    """The taints of a node, as (key, effect)."""
    return {(taint["key"], taint["effect"]) for taint in taints.of(node)}


LOST = {(taints.UNREACHABLE, "NoSchedule"), (taints.UNREACHABLE, "NoExecute")}


def going(which: str) -> Any:
    """A condition on pods: this one is being deleted, or gone."""
    return lambda found: which not in found or deletion_requested(found[which])


async def test_a_silent_node_is_unknown_tainted_and_left_by_its_pods(client: Client, manager: ManagerProcess) -> None:
    async with nodes(client, 3) as (first, second, third):
        await pod_on(client, first, "hasty", tolerating(0))
        await pod_on(client, first, "patient", tolerating(None))
        await pod_on(client, second, "elsewhere", tolerating(0))
        await first.fall_silent()
        found = await until(client, NODES, None, lambda found: marks(found[first.name]) == LOST)
        ready = find_condition(found[first.name], "Ready")
        assert ready is not None and ready["status"] == "Unknown"
        assert (ready["reason"], ready["message"]) == ("NodeStatusUnknown", "Kubelet stopped posting node status.")
        assert condition_status(found[first.name], "DiskPressure") == "Unknown"
        pods = await until(client, PODS, "default", going("hasty"))
        disruption = find_condition(pods["hasty"], "DisruptionTarget")
        assert disruption is not None and disruption["reason"] == "DeletionByTaintManager"
        unready = lambda found: condition_status(found["patient"], "Ready") == "False"  # noqa: E731
        pods = await until(client, PODS, "default", unready)
        assert not deletion_requested(pods["patient"]) and not deletion_requested(pods["elsewhere"])
        assert condition_status(pods["elsewhere"], "Ready") == "True"
        assert all(not marks(found[other.name]) for other in (second, third))
        told = lambda found: any(event["reason"] == "NodeNotReady" for event in found.values())  # noqa: E731
        await until(client, EVENTS, "default", told)


async def test_a_node_that_comes_back_in_time_keeps_its_pods(client: Client, manager: ManagerProcess) -> None:
    async with nodes(client, 2) as (first, _):
        await pod_on(client, first, "patient", tolerating(3, taints.UNREACHABLE), tolerating(None, "maintenance"))
        await pod_on(client, first, "other", tolerating(4, "maintenance"), tolerating(None, taints.UNREACHABLE))
        await first.fall_silent()
        await until(client, NODES, None, lambda found: marks(found[first.name]) == LOST)
        await first.come_back()
        await until(client, NODES, None, lambda found: not marks(found[first.name]))
        told = lambda found: any("Cancelling deletion" in event["message"] for event in found.values())  # noqa: E731
        await until(client, EVENTS, "default", told)
        # The other pod's time is longer and starts later: once it is over, the first one's would be too.
        taint = {"key": "maintenance", "effect": "NoExecute"}
        await client.patch(NODES, first.name, {"spec": {"taints": [taint]}})
        pods = await until(client, PODS, "default", going("other"))
        assert not deletion_requested(pods["patient"])


async def test_a_taint_of_the_administrator_drives_out_who_does_not_tolerate_it(
    client: Client, manager: ManagerProcess
) -> None:
    async with nodes(client, 1) as (only,):
        await pod_on(client, only, "leaves", tolerating(None, "other"))
        await pod_on(client, only, "stays", tolerating(None, "maintenance"))
        await pod_on(client, only, "leaves-later", tolerating(1, "maintenance"))
        taint = {"key": "maintenance", "value": "now", "effect": "NoExecute"}
        await client.patch(NODES, only.name, {"spec": {"taints": [taint]}})
        await until(client, PODS, "default", going("leaves"))
        pods = await until(client, PODS, "default", going("leaves-later"))
        assert not deletion_requested(pods["stays"])


async def test_when_all_nodes_fall_silent_nobody_is_evicted(client: Client, manager: ManagerProcess) -> None:
    async with nodes(client, 3) as everyone:
        for node in everyone:
            await pod_on(client, node, f"on-{node.name}", tolerating(0))
        for node in everyone:
            await node.fall_silent()

        def nobody_marked(found: dict[str, Object]) -> None:
            assert not any(effect == "NoExecute" for node in found.values() for _, effect in marks(node))

        silent = lambda found: all(condition_status(n, "Ready") == "Unknown" for n in found.values())  # noqa: E731
        await until(client, NODES, None, silent, seen=nobody_marked)
        # One is back: now the others are lost, after a whole grace period in which they might have come back too.
        back, *others = everyone
        await back.come_back()
        lost = lambda found: all(marks(found[node.name]) == LOST for node in others)  # noqa: E731
        await until(client, NODES, None, lost)
        gone = lambda found: all(going(f"on-{node.name}")(found) for node in others)  # noqa: E731
        pods = await until(client, PODS, "default", gone)
        assert not deletion_requested(pods[f"on-{back.name}"])


async def test_a_restarted_manager_evicts_nobody_before_it_has_watched_for_a_whole_grace_period(
    client: Client, server: ApiServerProcess
) -> None:
    async with nodes(client, 2) as (first, _):
        with managing(server, *GRACE, name="first"):
            await first.fall_silent()
            await until(client, NODES, None, lambda found: marks(found[first.name]) == LOST)
        await pod_on(client, first, "hasty", tolerating(0))
        await client.delete(SERVICEACCOUNTS, "default", "default")
        with managing(server, *GRACE, name="second"):
            # Once the account is there again the second manager is at work; then the node comes back.
            await until(client, SERVICEACCOUNTS, "default", lambda found: "default" in found)
            await first.come_back()
            await until(client, NODES, None, lambda found: not marks(found[first.name]))
        pods = {name(pod): pod for pod in (await client.list(PODS, "default"))["items"]}
        assert not deletion_requested(pods["hasty"])


async def test_a_restarted_manager_goes_on_with_an_eviction_that_is_due(
    client: Client, server: ApiServerProcess
) -> None:
    async with nodes(client, 2) as (first, _):
        with managing(server, *GRACE, name="first"):
            await pod_on(client, first, "hasty", tolerating(3))
            await first.fall_silent()
            await until(client, NODES, None, lambda found: marks(found[first.name]) == LOST)
        with managing(server, *GRACE, name="second"):
            await until(client, PODS, "default", going("hasty"))


async def test_a_manager_that_was_stopped_does_not_take_its_own_sleep_for_the_nodes(
    client: Client, manager: ManagerProcess
) -> None:
    async with nodes(client, 2):
        await until(client, NODES, None, lambda found: all(get_path(n, "spec", "podCIDR") for n in found.values()))
        before = renewals(await until(client, LEASES, NODE_LEASES, lambda found: len(found) == 2))
        manager.send(signal.SIGSTOP)

        def live_on(found: dict[str, Object]) -> bool:
            """The nodes have renewed their leases for longer than the grace period."""
            return all(now - before[which] > 3.0 for which, now in renewals(found).items())

        await until(client, LEASES, NODE_LEASES, live_on)
        manager.send(signal.SIGCONT)
        # A third node that is lost afterwards shows that the manager is awake and has judged.
        third = FakeNode(client, "third")
        await third.register()
        await third.fall_silent()

        def others_are_well(found: dict[str, Object]) -> None:
            assert all(condition_status(n, "Ready") == "True" for which, n in found.items() if which != "third")

        await until(client, NODES, None, lambda found: marks(found["third"]) == LOST, seen=others_are_well)


def renewals(leases: dict[str, Object]) -> dict[str, float]:
    """When each lease was renewed last."""
    return {which: parse_rfc3339(lease["spec"]["renewTime"]) for which, lease in leases.items()}


async def test_an_api_server_that_was_away_does_not_make_nodes_lost(
    client: Client, server: ApiServerProcess, manager: ManagerProcess
) -> None:
    async with nodes(client, 3):
        await until(client, NODES, None, lambda found: all(get_path(n, "spec", "podCIDR") for n in found.values()))
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(3.0):  # longer than the grace period
                    await client.list(NODES)
        finally:
            server.process.send_signal(signal.SIGCONT)

        def all_well(found: dict[str, Object]) -> None:
            assert all(condition_status(n, "Ready") == "True" for which, n in found.items() if which != "third")

        third = FakeNode(client, "third")
        await third.register()
        await third.fall_silent()
        await until(client, NODES, None, lambda found: marks(found["third"]) == LOST, seen=all_well)


async def test_the_pods_of_a_deleted_node_are_removed(client: Client, manager: ManagerProcess) -> None:
    async with nodes(client, 2) as (first, second):
        await pod_on(client, first, "orphan", tolerating(None))
        await pod_on(client, second, "other", tolerating(None))
        await first.fall_silent()
        await client.delete(NODES, first.name)
        pods = await until(client, PODS, "default", lambda found: "orphan" not in found)
        assert not deletion_requested(pods["other"])
        await until(client, LEASES, NODE_LEASES, lambda found: first.name not in found)


async def test_a_node_that_is_declared_out_of_service_gives_up_the_pods_that_are_leaving(
    client: Client, manager: ManagerProcess
) -> None:
    async with nodes(client, 2) as (first, _):
        await pod_on(client, first, "stuck", tolerating(None))
        await client.delete(PODS, "stuck", "default")
        await first.fall_silent()
        await until(client, NODES, None, lambda found: marks(found[first.name]) == LOST)
        shut = {"key": taints.OUT_OF_SERVICE, "value": "nodeshutdown", "effect": "NoExecute"}
        patch = [{"op": "add", "path": "/spec/taints/-", "value": shut}]
        await client.patch(NODES, first.name, patch, kind="json")
        await until(client, PODS, "default", lambda found: "stuck" not in found)


async def test_conditions_and_cordons_become_taints(client: Client, manager: ManagerProcess) -> None:
    async with nodes(client, 1) as (only,):
        await client.patch(NODES, only.name, {"spec": {"unschedulable": True}})
        cordoned = ("node.kubernetes.io/unschedulable", "NoSchedule")
        await until(client, NODES, None, lambda found: marks(found[only.name]) == {cordoned})
        await only.post_ready("False")
        both = {cordoned, (taints.NOT_READY, "NoSchedule")}
        await until(client, NODES, None, lambda found: marks(found[only.name]) == both)
        await only.post_ready("True")
        await client.patch(NODES, only.name, {"spec": {"unschedulable": None}})
        await until(client, NODES, None, lambda found: not marks(found[only.name]))


async def test_every_node_has_a_part_of_the_pod_network_across_restarts(
    client: Client, server: ApiServerProcess
) -> None:
    async def create(numbers: range) -> None:
        for number in numbers:
            await client.create(NODES, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": f"n{number}"}})

    given = lambda found: all(get_path(node, "spec", "podCIDR") for node in found.values())  # noqa: E731
    with managing(server, name="first"):
        await create(range(20))
        await until(client, NODES, None, given)
    await create(range(20, 40))
    with managing(server, name="second"):
        found = await until(client, NODES, None, given)
    networks = {IPv4Network(node["spec"]["podCIDR"]) for node in found.values()}
    assert len(networks) == 40
    assert all(part.prefixlen == 24 and part.subnet_of(IPv4Network("10.244.0.0/16")) for part in networks)
