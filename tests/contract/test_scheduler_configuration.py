"""A scheduler with a configuration of two profiles, and what is explained of the pods that it places or does not."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from apiclient.rest import Client
from apimachinery.meta import Object, find_condition
from apimachinery.resources import CLUSTERROLEBINDINGS, CLUSTERROLES, EVENTS, NODES, PODS, SERVICEACCOUNTS
from tests.support.access import binding, role, rule
from tests.support.apiserver import REPOSITORY, ApiServerProcess, running
from tests.support.scheduler import scheduling

WAIT_SECONDS_MAX = 60.0
CONFIGURATION = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: default-scheduler
- schedulerName: packing
  plugins:
    score:
      disabled: [{name: NodeResourcesBalancedAllocation}]
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
"""


@pytest.fixture(scope="module")
def configuration(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("configuration") / "scheduler.yaml"
    path.write_text(CONFIGURATION)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, configuration: Path) -> Iterator[ApiServerProcess]:
    """A server with two nodes, of which `half` has a pod that takes half of it."""
    with running(tmp_path_factory.mktemp("server")) as process:
        asyncio.run(populate(process))
        with scheduling(process, flags=["--config", str(configuration)]):
            yield process


async def populate(server: ApiServerProcess) -> None:
    await server.wait_ready()
    async with await server.client() as client:
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, "default")
        for name in ("half", "empty"):
            has = {"cpu": "4", "memory": "8Gi", "pods": "110"}
            made = await client.create(NODES, {"metadata": {"name": name}, "status": {"allocatable": has}})
            # The taint that a node gets at first is taken away, as the controllers do it.
            await client.update(NODES, {**made, "spec": {}})
        await client.create(PODS, pod("there", cpu="2", memory="4Gi", nodeName="half"))


@pytest.fixture
async def client(server: ApiServerProcess) -> AsyncIterator[Client]:
    async with await server.client() as connected:
        yield connected


def pod(name: str, *, cpu: str = "100m", memory: str = "100Mi", **spec: Any) -> Object:
    container = {
        "name": "app",
        "image": "localhost/host",
        "resources": {"requests": {"cpu": cpu, "memory": memory}},
    }
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"containers": [container], **spec},
    }


async def until(what: Callable[[], Awaitable[Any]]) -> Any:
    """The first true answer."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not (found := await what()):  # noqa: ASYNC110 - the API is asked, there is no event to wait for
            await asyncio.sleep(0.05)
    return found


async def node_of(client: Client, name: str) -> str:
    async def assigned() -> Any:
        return (await client.get(PODS, name, "default"))["spec"].get("nodeName")

    found: str = await until(assigned)
    return found


async def reporter_of(client: Client, name: str) -> str:
    """Who says that a pod has been scheduled."""

    async def told() -> Any:
        events = (await client.list(EVENTS, "default", field_selector=f"involvedObject.name={name}"))["items"]
        return next((event["source"]["component"] for event in events if event["reason"] == "Scheduled"), None)

    found: str = await until(told)
    return found


async def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run kctl beside the test's event loop."""
    command = [sys.executable, "-m", "kctl", *arguments]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=90, check=False)

    return await asyncio.to_thread(run)


async def kctl(*arguments: str, fails: bool = False) -> str:
    done = await ran(*arguments)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stderr if fails else done.stdout


async def explained(server: ApiServerProcess, name: str, configuration: Path) -> Object:
    flags = ("-o", "json", "--scheduler-config", str(configuration), "--kubeconfig", str(server.kubeconfig))
    found: Object = json.loads(await kctl("explain-scheduling", name, *flags))
    return found


async def test_each_pod_is_placed_by_its_profile_which_also_tells_of_it(client: Client) -> None:
    await client.create(PODS, pod("spread"))
    await client.create(PODS, pod("packed", schedulerName="packing"))
    assert (await node_of(client, "spread"), await node_of(client, "packed")) == ("empty", "half")
    assert await reporter_of(client, "spread") == "default-scheduler"
    assert await reporter_of(client, "packed") == "packing"


async def test_the_node_of_a_pod_is_explained_by_the_scores_of_its_profile(
    client: Client, server: ApiServerProcess, configuration: Path
) -> None:
    await client.create(PODS, pod("why", schedulerName="packing"))
    assert await node_of(client, "why") == "half"
    found = await explained(server, "why", configuration)
    assert found["standing"]["stage"] == "Bound" and found["best"] == ["half"]
    assert [node["name"] for node in found["nodes"]] == ["half", "empty"]
    plugins = [score["plugin"] for score in found["nodes"][0]["scores"]]
    assert "NodeResourcesFit" in plugins and "NodeResourcesBalancedAllocation" not in plugins
    told = await kctl("explain-scheduling", "pod/why", "--kubeconfig", str(server.kubeconfig))
    assert "no profile is known of scheduler 'packing'" in told


async def test_a_pod_that_fits_nowhere_is_explained_node_by_node_in_the_words_of_its_condition(
    client: Client, server: ApiServerProcess, configuration: Path
) -> None:
    await client.create(PODS, pod("large", cpu="3", memory="20Gi"))

    async def told() -> Any:
        condition = find_condition(await client.get(PODS, "large", "default"), "PodScheduled")
        return condition if condition is not None and condition["status"] == "False" else None

    condition = await until(told)
    found = await explained(server, "large", configuration)
    assert found["standing"]["stage"] in ("Backoff", "Unschedulable")
    assert found["message"].rstrip(".") in condition["message"] and found["best"] == []
    reasons = {node["name"]: [one["reason"] for one in node["rejections"]] for node in found["nodes"]}
    assert reasons == {"empty": ["Insufficient memory"], "half": ["Insufficient cpu", "Insufficient memory"]}
    shown = await kctl("explain-scheduling", "large", "--kubeconfig", str(server.kubeconfig))
    assert "fits none of 2 nodes" in shown and "asks for 20Gi" in shown


async def test_a_pod_of_another_scheduler_is_left_alone(client: Client) -> None:
    await client.create(PODS, pod("foreign", schedulerName="somebody-else"))
    await client.create(PODS, pod("after"))
    await node_of(client, "after")
    foreign = await client.get(PODS, "foreign", "default")
    assert "nodeName" not in foreign["spec"] and find_condition(foreign, "PodScheduled") is None


async def test_nobody_is_told_more_than_they_may_list(
    client: Client, server: ApiServerProcess, configuration: Path, tmp_path: Path
) -> None:
    await client.create(PODS, pod("seen"))
    await node_of(client, "seen")
    account = await client.create(SERVICEACCOUNTS, {"metadata": {"name": "reader"}}, "default")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    answer = await client.create(
        SERVICEACCOUNTS, request, "default", name=account["metadata"]["name"], subresource="token"
    )
    kubeconfig = tmp_path / "reader.kubeconfig"
    kubeconfig.write_text(json.dumps(as_token(server, answer["status"]["token"])))
    refused = await kctl("explain-scheduling", "seen", "--kubeconfig", str(kubeconfig), fails=True)
    assert 'pods "seen" is forbidden' in refused
    reading = role("reading", rule("get list", "pods nodes"))
    await client.create(CLUSTERROLES, reading)
    await client.create(CLUSTERROLEBINDINGS, binding(reading, "ServiceAccount default/reader"))

    async def allowed() -> Any:
        done = await ran("explain-scheduling", "seen", "-o", "json", "--kubeconfig", str(kubeconfig))
        return json.loads(done.stdout) if done.returncode == 0 else None

    found = await until(allowed)
    assert [node["name"] for node in found["nodes"]] != []
    assert "left out, for they may not be listed: storageclasses" in found["notes"]


def as_token(server: ApiServerProcess, token: str) -> Object:
    """A kubeconfig of the same server for who has a token."""
    known = json.loads(server.kubeconfig.read_text())
    return {**known, "users": [{"name": entry["name"], "user": {"token": token}} for entry in known["users"]]}
