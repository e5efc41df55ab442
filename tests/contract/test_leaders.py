"""Leaders that are killed, or stopped and woken, in the middle of their work: nothing is lost, nothing done twice."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Protocol

import aiohttp

from apiclient.rest import Client
from apimachinery.meta import Object, deletion_requested, find_condition, get_path, labels, name
from apimachinery.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    DEPLOYMENTS,
    LEASES,
    NODES,
    PODS,
    SERVICEACCOUNTS,
)
from controllers.deployment_revision import HASH_LABEL
from controllers.pods import is_ready
from tests.support.apiserver import ApiServerProcess
from tests.support.exposition import Page
from tests.support.manager import IMPATIENT, WAIT_SECONDS_MAX, managing, node_agent, until
from tests.support.scheduler import scheduling

REPLICAS, AVAILABLE_MIN = 20, 15
# A manager that runs these alone is there sooner.
FEW = ("--controllers=deployment-controller,replicaset-controller",)
NODES_COUNT, PODS_PER_NODE = 4, 50


class Candidate(Protocol):
    """A process that may lead."""

    def send(self, signo: int) -> None: ...

    def log(self) -> str: ...

    def kill(self, signo: int = ...) -> None: ...

    @property
    def pid(self) -> int: ...


async def leader(client: Client, lease: str, candidates: Sequence[Candidate]) -> Candidate:
    """Which of these leads, by the process id that its identity has."""
    found: list[Candidate] = []

    def held(leases: dict[str, Object]) -> bool:
        holder = get_path(leases.get(lease), "spec", "holderIdentity", default="")
        found[:] = [one for one in candidates if holder and holder.split("_")[-2] == str(one.pid)]
        return bool(found)

    await until(client, LEASES, "kube-system", held)
    return found[0]


async def logged(process: Candidate, words: str) -> None:
    """Wait until a process has said this."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while words not in process.log():
        assert time.monotonic() < deadline, process.log()[-3000:]
        await asyncio.sleep(0.05)


@asynccontextmanager
async def watching_pods(client: Client, scope: str, seen: Callable[[dict[str, Object]], None]) -> AsyncIterator[None]:
    """Have each state of a namespace's pods looked at; what is wrong with one fails the test."""

    async def watch() -> None:
        page = await client.list(PODS, scope)
        pods, version = {name(pod): pod for pod in page["items"]}, page["metadata"]["resourceVersion"]
        while True:
            async for kind, pod in client.watch(PODS, scope, resource_version=version):
                version = pod["metadata"]["resourceVersion"]
                if kind == "DELETED":
                    pods.pop(name(pod), None)
                elif kind != "BOOKMARK":
                    pods[name(pod)] = pod
                seen(pods)

    task = asyncio.create_task(watch())
    try:
        yield
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def deployment(image: str) -> Object:
    # Its pods run without nodes; they must take no room on those of others.
    pod = {"schedulerName": "nobody", "containers": [{"name": "app", "image": image}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    spec = {"replicas": REPLICAS, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def rolled_out(found: dict[str, Object]) -> bool:
    web = found.get("web") or {}
    counts = {get_path(web, "status", key) for key in ("replicas", "updatedReplicas", "availableReplicas")}
    observed: int = get_path(web, "status", "observedGeneration", default=0)
    return counts == {REPLICAS} and observed == web["metadata"]["generation"]


async def test_rollouts_survive_managers_that_are_killed_or_stopped_in_the_middle(
    client: Client, server: ApiServerProcess, scope: str
) -> None:
    created: dict[str, str] = {}
    fewest = [REPLICAS]

    def seen(pods: dict[str, Object]) -> None:
        created.update({key: labels(pod)[HASH_LABEL] for key, pod in pods.items()})
        fewest.append(sum(is_ready(pod) and not deletion_requested(pod) for pod in pods.values()))

    def in_the_middle(pods: dict[str, Object]) -> bool:
        by_hash = Counter(labels(pod)[HASH_LABEL] for pod in pods.values() if is_ready(pod))
        return len(by_hash) > 1 and min(by_hash.values()) >= 3

    async def roll_out(image: str) -> None:
        container = [{"name": "app", "image": image}]
        patch = {"spec": {"template": {"spec": {"containers": container}}}}
        await client.patch(DEPLOYMENTS, "web", patch, scope, kind="strategic")
        await until(client, PODS, scope, in_the_middle)

    async with node_agent(client, scope), watching_pods(client, scope, seen):
        with ExitStack() as stack:
            managers = [
                stack.enter_context(managing(server, *FEW, *IMPATIENT, name=f"manager-{number}"))
                for number in range(2)
            ]
            await client.create(DEPLOYMENTS, deployment("web:1"), scope)
            await until(client, DEPLOYMENTS, scope, rolled_out)
            fewest[:] = [REPLICAS]

            await roll_out("web:2")
            killed = await leader(client, "kube-controller-manager", managers)
            killed.kill(signal.SIGKILL)
            await until(client, DEPLOYMENTS, scope, rolled_out)

            managers = [one for one in managers if one is not killed]
            await roll_out("web:3")
            stopped = await leader(client, "kube-controller-manager", managers)
            stopped.send(signal.SIGSTOP)
            managers.append(stack.enter_context(managing(server, *FEW, *IMPATIENT, name="manager-2")))
            await until(client, DEPLOYMENTS, scope, rolled_out)
            stopped.send(signal.SIGCONT)
            await logged(stopped, "leadership lost")
            assert await leader(client, "kube-controller-manager", managers) is managers[-1]
        assert min(fewest) >= AVAILABLE_MIN
    # Each revision's pods were created once.
    assert Counter(Counter(created.values()).values()) == {REPLICAS: 3}


async def test_pods_are_placed_when_schedulers_are_killed_or_stopped_in_the_middle(
    client: Client, server: ApiServerProcess, scope: str
) -> None:
    for number in range(NODES_COUNT):
        room = {"cpu": "64", "memory": "64Gi", "pods": str(PODS_PER_NODE)}
        node = {"metadata": {"name": f"node-{number}"}, "status": {"capacity": room, "allocatable": room}}
        made = await client.create(NODES, {"apiVersion": "v1", "kind": "Node", **node})
        await client.update(NODES, {**made, "spec": {}})

    async def ask(first: int, count: int) -> None:
        container = {"name": "app", "image": "web"}
        for number in range(first, first + count):
            pod = {"metadata": {"name": f"pod-{number}"}, "spec": {"containers": [container]}}
            await client.create(PODS, {"apiVersion": "v1", "kind": "Pod", **pod}, scope)

    def placed(count: int) -> Callable[[dict[str, Object]], bool]:
        return lambda pods: sum("nodeName" in pod["spec"] for pod in pods.values()) >= count

    def everywhere(pods: dict[str, Object]) -> None:
        """No node gets more than it has room for, at any time."""
        nodes = Counter(pod["spec"]["nodeName"] for pod in pods.values() if "nodeName" in pod["spec"])
        assert not nodes or max(nodes.values()) <= PODS_PER_NODE

    half = NODES_COUNT * PODS_PER_NODE // 2
    async with watching_pods(client, scope, everywhere):
        with ExitStack() as stack:
            schedulers = [
                stack.enter_context(scheduling(server, f"scheduler-{number}", IMPATIENT)) for number in range(2)
            ]
            first = await leader(client, "kube-scheduler", schedulers)
            asking = asyncio.create_task(ask(0, half))
            await until(client, PODS, scope, placed(half // 4))
            first.kill(signal.SIGKILL)
            await asking
            await until(client, PODS, scope, placed(half))

            schedulers = [one for one in schedulers if one is not first]
            second = await leader(client, "kube-scheduler", schedulers)
            asking = asyncio.create_task(ask(half, half))
            await until(client, PODS, scope, placed(half + half // 4))
            second.send(signal.SIGSTOP)
            schedulers.append(stack.enter_context(scheduling(server, "scheduler-2", IMPATIENT)))
            await asking
            pods = await until(client, PODS, scope, placed(2 * half))
            second.send(signal.SIGCONT)
            await logged(second, "leadership lost")
    nodes = Counter(pod["spec"]["nodeName"] for pod in pods.values())
    assert set(nodes.values()) == {PODS_PER_NODE} and len(nodes) == NODES_COUNT


def served(server: ApiServerProcess) -> tuple[int, list[str]]:
    """A free port, and the flags that have a process serve there."""
    keys = server.data_dir / "pki"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = [f"--secure-port={port}", f"--tls-cert-file={keys}/apiserver.crt"]
    return port, [*flags, f"--tls-private-key-file={keys}/apiserver.key", f"--client-ca-file={keys}/ca.crt"]


async def scrape(server: ApiServerProcess, port: int, token: str) -> tuple[int, str]:
    """/metrics, as whom this token is of."""
    trusting = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))
    url, headers = f"https://127.0.0.1:{port}/metrics", {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession() as session, session.get(url, ssl=trusting, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_prometheus_is_told_what_a_manager_and_a_scheduler_do_if_its_account_may_know(
    client: Client, server: ApiServerProcess, scope: str
) -> None:
    subject = {"kind": "ServiceAccount", "name": "prometheus", "namespace": scope}
    role = {"apiGroup": CLUSTERROLES.group, "kind": "ClusterRole", "name": f"metrics-{scope}"}
    tokens = {}
    for account in ("prometheus", "nobody"):
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": account}}, scope)
        asked = await client.create(SERVICEACCOUNTS, {"spec": {}}, scope, name=account, subresource="token")
        tokens[account] = asked["status"]["token"]
    token, (port, flags) = tokens["prometheus"], served(server)
    rules = [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]
    await client.create(CLUSTERROLES, {"metadata": {"name": role["name"]}, "rules": rules})
    binding = {"metadata": {"name": role["name"]}, "roleRef": role, "subjects": [subject]}
    await client.create(CLUSTERROLEBINDINGS, binding)
    with managing(server, *FEW, *IMPATIENT, *flags, name="told") as manager:
        await logged(manager, "controller=deployment-controller")
        await logged(manager, "msg=serving")
        assert (await scrape(server, port, tokens["nobody"]))[0] == 403
        status, text = await scrape(server, port, token)
    assert status == 200
    samples = Page(text).samples
    assert samples["leader_election_master_status", (("name", "kube-controller-manager"),)] == 1
    assert ("workqueue_depth", (("name", "deployment-controller"),)) in samples
    assert any(name == "rest_client_requests_total" for name, _ in samples)

    with scheduling(server, "told-scheduler", [*flags, *IMPATIENT]) as scheduler:
        pod = {"nodeSelector": {"there-is": "none"}, "containers": [{"name": "app", "image": "web"}]}
        await client.create(PODS, {"metadata": {"name": "nowhere"}, "spec": pod}, scope)
        refused = lambda pods: any(find_condition(pod, "PodScheduled") for pod in pods.values())  # noqa: E731
        await until(client, PODS, scope, refused)
        await logged(scheduler, "msg=serving")
        status, text = await scrape(server, port, token)
    assert status == 200
    samples = Page(text).samples
    assert samples["leader_election_master_status", (("name", "kube-scheduler"),)] == 1
    assert samples["scheduler_pending_pods", (("queue", "unschedulable"),)] == 1
    profile = (("profile", "default-scheduler"), ("result", "unschedulable"))
    assert samples["scheduler_schedule_attempts_total", profile] >= 1
    assert samples["scheduler_scheduling_attempt_duration_seconds_count", profile] >= 1
