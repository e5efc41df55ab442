"""Flow control as clients meet it: who has to wait for whom, who is refused, and what of it can be configured."""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition
from apimachinery.resources import CLUSTERROLEBINDINGS, FLOWSCHEMAS, LEASES, PRIORITYLEVELCONFIGURATIONS, Resource
from tests.support.apiserver import ApiServerProcess, running
from tests.support.clients import kubectl_current, kubectl_on_path

SECONDS_MAX = 60
PEOPLE = ("jane", "joe", "kim")
CONFIGMAPS_PATH = "/api/v1/namespaces/default/configmaps"
LEASE_PATH = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
# A read of a version that does not exist yet waits for it for some seconds, in its seat.
SLOW = {"resourceVersion": "100000000"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    folder = tmp_path_factory.mktemp("flows")
    lines = [f"{name},{name},{name}," for name in PEOPLE] + ['node,system:node:n1,n1,"system:nodes"']
    (folder / "tokens.csv").write_text("\n".join(lines))
    with running(folder, ["--token-auth-file", str(folder / "tokens.csv")]) as process:
        asyncio.run(process.wait_ready())
        asyncio.run(let_people_in(process))
        yield process


async def let_people_in(server: ApiServerProcess) -> None:
    group = "rbac.authorization.k8s.io"
    async with await server.client() as client:
        subjects = [{"kind": "User", "apiGroup": group, "name": name} for name in PEOPLE]
        role = {"apiGroup": group, "kind": "ClusterRole", "name": "cluster-admin"}
        await client.create(
            CLUSTERROLEBINDINGS, {"metadata": {"name": "people"}, "roleRef": role, "subjects": subjects}
        )
        await client.create(LEASES, {"metadata": {"name": "n1"}, "spec": {}}, "kube-node-lease")


@asynccontextmanager
async def session(server: ApiServerProcess, who: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that takes answers as they are."""
    context = ssl.create_default_context(cafile=str(server.data_dir / "pki" / "ca.crt"))
    connector = aiohttp.TCPConnector(ssl=context, limit=0)
    headers = {"Authorization": f"Bearer {who}"}
    async with aiohttp.ClientSession(server.url, connector=connector, headers=headers) as made:
        yield made


async def until(read: Callable[[], Any], holds: Callable[[Any], bool]) -> Any:
    """What is read, as soon as it is as it should be."""
    async with asyncio.timeout(SECONDS_MAX):
        while not holds(found := await read()):  # noqa: ASYNC110 - only the server knows
            await asyncio.sleep(0.02)
    return found


async def figure(client: Client, name: str, level: str) -> float:
    """The sum of a figure over the schemas of a level."""
    _, _, body = await client.request("GET", "/metrics")
    start = f'apiserver_flowcontrol_{name}{{priority_level="{level}"'
    return sum(float(line.rsplit(" ", 1)[1]) for line in body.decode().splitlines() if line.startswith(start))


def level(name: str, shares: int, response: Object) -> Object:
    limited = {"nominalConcurrencyShares": shares, "limitResponse": response, "borrowingLimitPercent": 0}
    return {"metadata": {"name": name}, "spec": {"type": "Limited", "limited": limited}}


def schema_of(name: str, person: str, of: str) -> Object:
    """All that a person asks of ConfigMaps is of this level."""
    rule = {
        "subjects": [{"kind": "User", "user": {"name": person}}],
        "resourceRules": [{"verbs": ["*"], "apiGroups": [""], "resources": ["configmaps"], "namespaces": ["*"]}],
    }
    spec = {"priorityLevelConfiguration": {"name": of}, "matchingPrecedence": 500, "rules": [rule]}
    return {"metadata": {"name": name}, "spec": {**spec, "distinguisherMethod": {"type": "ByUser"}}}


async def configure(client: Client, person: str, response: Object) -> str:
    """Give a person a level of their own with a single seat."""
    name = f"of-{person}"
    await client.create(PRIORITYLEVELCONFIGURATIONS, level(name, 0, response))
    made = await client.create(FLOWSCHEMAS, schema_of(name, person, name))
    await until(
        lambda: client.get(FLOWSCHEMAS, name),
        lambda obj: (find_condition(obj, "Dangling") or {}).get("status") == "False",
    )
    uid: str = made["metadata"]["uid"]
    return uid


async def dangling(client: Client, name: str) -> str:
    """Whether a schema's level is missing, as its condition says; "" as long as it says nothing."""
    condition = find_condition(await client.get(FLOWSCHEMAS, name), "Dangling")
    return "" if condition is None else str(condition["status"])


async def test_a_level_that_rejects_refuses_what_finds_no_seat(server: ApiServerProcess, client: Client) -> None:
    uid = await configure(client, "joe", {"type": "Reject"})
    async with session(server, "joe") as joe:
        slow = asyncio.create_task(get_status(joe, SLOW))
        await until(lambda: figure(client, "current_executing_requests", "of-joe"), lambda found: found == 1)
        async with joe.get(CONFIGMAPS_PATH) as answer:
            refusal = await answer.json()
            assert answer.status == 429 and int(answer.headers["Retry-After"]) >= 1
            assert answer.headers["X-Kubernetes-PF-FlowSchema-UID"] == uid
            assert (refusal["reason"], refusal["code"]) == ("TooManyRequests", 429)
        # A watch holds no seat, and so could have started, had one been free; other levels are not concerned.
        async with session(server, "jane") as jane, jane.get(CONFIGMAPS_PATH) as answer:
            assert answer.status == 200
        assert await slow == 504
        assert await get_status(joe, {}) == 200
    assert await figure(client, "rejected_requests_total", "of-joe") == 1


async def test_a_level_that_queues_lets_requests_wait_for_a_seat(server: ApiServerProcess, client: Client) -> None:
    queuing = {"queues": 4, "handSize": 2, "queueLengthLimit": 10}
    await configure(client, "kim", {"type": "Queue", "queuing": queuing})
    async with session(server, "kim") as kim:
        slow = asyncio.create_task(get_status(kim, SLOW))
        await until(lambda: figure(client, "current_executing_requests", "of-kim"), lambda found: found == 1)
        waits = asyncio.create_task(get_status(kim, {}))
        await until(lambda: figure(client, "current_inqueue_requests", "of-kim"), lambda found: found == 1)
        path = "/debug/api_priority_and_fairness/dump_requests"
        _, _, page = await client.request("GET", path, params={"includeRequestDetails": "1"})
        assert any("kim" in line and CONFIGMAPS_PATH in line for line in page.decode().splitlines())
        assert not waits.done()
        assert await slow == 504
        assert await waits == 200


async def get_status(session: aiohttp.ClientSession, params: dict[str, str]) -> int:
    async with session.get(CONFIGMAPS_PATH, params=params) as answer:
        await answer.read()
        return answer.status


@pytest.mark.parametrize("who", ["jane", "node"])
async def test_watches_hold_no_seats(server: ApiServerProcess, client: Client, who: str) -> None:
    async with session(server, who) as some:
        path = CONFIGMAPS_PATH if who == "jane" else f"{LEASE_PATH}?fieldSelector=metadata.name=n1"
        params = {"watch": "true", "resourceVersion": "1"}
        opened = [await some.get(path, params=params) for _ in range(20)]
        if who == "jane":
            assert all(answer.status == 200 for answer in opened)
        seats = await figure(client, "current_executing_seats", "global-default")
        assert seats == 0
        for answer in opened:
            answer.close()


async def test_a_flood_of_one_client_lets_a_nodes_lease_pass(server: ApiServerProcess, client: Client) -> None:
    """Of some hundreds of requests that are under way the lease is not the last to be served, but among the first."""
    answered = 0
    begun = asyncio.Event()

    async def flood(jane: aiohttp.ClientSession) -> None:
        nonlocal answered
        async with jane.get(CONFIGMAPS_PATH) as answer:
            await answer.read()
            answered += 1
            begun.set()

    async with session(server, "jane") as jane, session(server, "node") as node:
        headers = {"Content-Type": "application/merge-patch+json"}
        await (await node.patch(f"{LEASE_PATH}/n1", json={"spec": {"holderIdentity": "x"}}, headers=headers)).read()
        await asyncio.gather(*(flood(jane) for _ in range(300)))  # the connections
        begun.clear()
        flooding = [asyncio.create_task(flood(jane)) for _ in range(300)]
        await begun.wait()
        before = answered
        async with node.patch(f"{LEASE_PATH}/n1", json={"spec": {"holderIdentity": "y"}}, headers=headers) as answer:
            assert answer.status == 200
        assert answered - before < 200
        await asyncio.gather(*flooding)


async def test_mandatory_objects_come_back_as_they_were(client: Client) -> None:
    old = await client.get(PRIORITYLEVELCONFIGURATIONS, "catch-all")
    await client.delete(PRIORITYLEVELCONFIGURATIONS, "catch-all")
    new = await until(
        lambda: found_or_none(client, PRIORITYLEVELCONFIGURATIONS, "catch-all"), lambda found: found is not None
    )
    assert new["metadata"]["uid"] != old["metadata"]["uid"] and new["spec"] == old["spec"]
    await client.patch(FLOWSCHEMAS, "catch-all", {"spec": {"matchingPrecedence": 5000}})
    await until(lambda: client.get(FLOWSCHEMAS, "catch-all"), lambda obj: obj["spec"]["matchingPrecedence"] == 10000)


async def test_a_suggestion_that_is_the_operators_stays_as_it_is(client: Client) -> None:
    own = {"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}}
    await client.patch(FLOWSCHEMAS, "probes", {**own, "spec": {"matchingPrecedence": 3}})
    # What is put back is put back in the order of writes: once this one is, the other has been looked at.
    await client.patch(FLOWSCHEMAS, "service-accounts", {"spec": {"matchingPrecedence": 9001}})
    await until(
        lambda: client.get(FLOWSCHEMAS, "service-accounts"), lambda obj: obj["spec"]["matchingPrecedence"] == 9000
    )
    assert (await client.get(FLOWSCHEMAS, "probes"))["spec"]["matchingPrecedence"] == 3


async def found_or_none(client: Client, resource: Resource, name: str) -> Object | None:
    try:
        return await client.get(resource, name)
    except ApiError as error:
        if error.code != 404:
            raise
        return None


async def test_a_schema_without_its_level_says_so(client: Client) -> None:
    await client.create(FLOWSCHEMAS, schema_of("lost", "jane", "nowhere"))
    found = await until(
        lambda: client.get(FLOWSCHEMAS, "lost"), lambda obj: find_condition(obj, "Dangling") is not None
    )
    condition = find_condition(found, "Dangling")
    assert condition is not None and (condition["status"], condition["reason"]) == ("True", "NotFound")
    await client.delete(FLOWSCHEMAS, "lost")


@pytest.mark.parametrize("which", [kubectl_on_path, kubectl_current])
async def test_stock_kubectl_shows_flow_control(server: ApiServerProcess, which: Callable[[], str]) -> None:
    binary = which()
    environment = {**os.environ, "KUBECONFIG": str(server.kubeconfig), "HOME": str(server.data_dir)}

    def kubectl(*arguments: str) -> str:
        done = subprocess.run(
            [binary, *arguments], env=environment, capture_output=True, text=True, timeout=SECONDS_MAX, check=True
        )
        return done.stdout

    schemas = await asyncio.to_thread(kubectl, "get", "flowschemas")
    assert schemas.split()[:6] == [
        *("NAME", "PRIORITYLEVEL", "MATCHINGPRECEDENCE", "DISTINGUISHERMETHOD", "AGE", "MISSINGPL"),
    ]
    assert "workload-leader-election" not in schemas and "system-leader-election" in schemas
    levels = json.loads(await asyncio.to_thread(kubectl, "get", "prioritylevelconfigurations", "-o", "json"))
    assert {"exempt", "catch-all", "node-high", "global-default"} <= {
        one["metadata"]["name"] for one in levels["items"]
    }
    queues = await asyncio.to_thread(kubectl, "get", "--raw", "/debug/api_priority_and_fairness/dump_queues")
    assert queues.startswith("PriorityLevelName,")


def test_a_cluster_that_is_started_again_keeps_its_flow_control(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        asyncio.run(process.wait_ready())
        before = asyncio.run(versions(process))
        process.kill()
        process.start()
        asyncio.run(process.wait_ready())
        assert asyncio.run(versions(process)) == before


async def versions(server: ApiServerProcess) -> dict[str, str]:
    async with await server.client() as client:

        async def all_told() -> list[Object]:
            found: list[Object] = (await client.list(FLOWSCHEMAS))["items"]
            return found

        items = await until(all_told, lambda found: all(find_condition(obj, "Dangling") for obj in found))
        return {obj["metadata"]["name"]: obj["metadata"]["resourceVersion"] for obj in items}
