"""What nodes and pods use, as users and their tools see it: kubectl top, client libraries, scrapers with a token."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import APISERVICES, CLUSTERROLEBINDINGS, CLUSTERROLES, NAMESPACES, SERVICEACCOUNTS
from tests.support import clients
from tests.support.exposition import Page
from tests.support.node import NODE, Node, node

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]

SECONDS_MAX = 60.0
MIB = 1 << 20
KUBECTLS = [
    pytest.param(clients.kubectl_old, id="kubectl-1.20"),
    pytest.param(clients.kubectl_current, id="kubectl-1.35"),
]
SPINS = {"name": "spins", "image": "localhost/host", "command": ["sh", "-c", "while :; do :; done"]}
HOLDS = {
    "name": "holds",
    "image": "localhost/host",
    "command": ["python3", "-c", "kept = b'x' * (24 << 20); open('/data/file', 'wb').write(kept); input()"],
    "stdin": True,
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    "readinessProbe": {"exec": {"command": ["test", "-e", "/data/file"]}, "periodSeconds": 1},
}
LIMITED = {"resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m", "memory": "96Mi"}}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node")) as made:
        volumes = [{"name": "data", "emptyDir": {}}]
        await made.create("busy", {**SPINS, **LIMITED}, {**HOLDS, **LIMITED}, volumes=volumes)
        await made.create(
            "over", {"name": "web", "image": "localhost/host", "command": ["true"]}, restartPolicy="Never"
        )
        await made.running("busy")
        await made.phase("over", "Succeeded")
        yield made


async def ran(here: Node, kubectl: Callable[[], str], *args: str) -> tuple[int | None, str]:
    """A kubectl command: exit status, and what it printed."""
    env = {**os.environ, "KUBECONFIG": str(here.server.kubeconfig)}
    pipes = {"stdout": asyncio.subprocess.PIPE, "stderr": asyncio.subprocess.STDOUT}
    process = await asyncio.create_subprocess_exec(kubectl(), *args, env=env, **pipes)
    out, _ = await asyncio.wait_for(process.communicate(), SECONDS_MAX)
    return process.returncode, out.decode()


async def rows(here: Node, kubectl: Callable[[], str], *args: str) -> list[list[str]]:
    """The words of each line that a kubectl command prints, but of the headers; it must succeed."""
    code, out = await ran(here, kubectl, *args)
    assert code == 0, out
    return [line.split() for line in out.splitlines()[1:]]


async def read(here: Node, path: str) -> bytes:
    """What the node's agent answers through the API server."""
    _, _, body = await here.client.request("GET", f"/api/v1/nodes/{NODE}/proxy{path}")
    return body


async def eventually(here: Node, condition: Callable[[], Any]) -> Any:
    """The first truth that an asynchronous condition gives."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            if found := await condition():
                return found
            await asyncio.sleep(0.1)


async def _spins(here: Node) -> Object | None:
    """The PodMetrics of the pod that is busy, once they tell of its work."""
    _, _, body = await here.client.request("GET", "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods")
    found: Object | None = next((one for one in orjson.loads(body)["items"] if len(one["containers"]) == 2), None)
    return found


@pytest.mark.parametrize("kubectl", KUBECTLS)
async def test_top_shows_nodes_and_pods(here: Node, kubectl: Callable[[], str]) -> None:
    await eventually(here, lambda: _spins(here))
    ((name, cpu, _, memory, _),) = await rows(here, kubectl, "top", "node")
    assert name == NODE and cpu.endswith("m") and memory.endswith("Mi")
    assert [row[:1] for row in await rows(here, kubectl, "top", "pod")] == [["busy"]]
    assert (await rows(here, kubectl, "top", "pod", "-A"))[0][:2] == ["default", "busy"]
    by_cpu = await rows(here, kubectl, "top", "pod", "--containers", "--sort-by", "cpu", "--no-headers=false")
    assert [row[1] for row in by_cpu] == ["spins", "holds"]
    assert 50 <= int(by_cpu[0][2].removesuffix("m")) <= 400
    assert 24 <= int(by_cpu[1][3].removesuffix("Mi")) <= 96


async def test_what_is_not_known_is_not_found(here: Node) -> None:
    code, out = await ran(here, clients.kubectl_current, "top", "pod", "over")
    assert (code, out) == (1, 'Error from server (NotFound): podmetrics.metrics.k8s.io "default/over" not found\n')
    code, out = await ran(here, clients.kubectl_current, "top", "pod", "none")
    assert (code, out) == (1, 'Error from server (NotFound): pods "none" not found\n')
    code, out = await ran(here, clients.kubectl_current, "top", "node", "none")
    assert (code, out) == (1, 'Error from server (NotFound): nodes "none" not found\n')


async def test_metrics_are_selected_and_shown_as_tables(here: Node) -> None:
    await eventually(here, lambda: _spins(here))
    code, out = await ran(
        here, clients.kubectl_current, "get", "podmetrics", "--field-selector", "metadata.name=busy"
    )
    assert code == 0 and out.split()[:5] == ["NAME", "CPU", "MEMORY", "WINDOW", "busy"]
    assert (await ran(here, clients.kubectl_current, "get", "podmetrics", "-l", "a=b"))[0] == 0
    _, out = await ran(
        here, clients.kubectl_current, "get", "nodemetrics", "-o", "json", "-l", "kubernetes.io/os=linux"
    )
    (item,) = orjson.loads(out)["items"]
    assert item["metadata"]["name"] == NODE and item["usage"].keys() == {"cpu", "memory"}


async def test_client_libraries_read_metrics_as_custom_objects(here: Node) -> None:
    from kubernetes import client, config

    await eventually(here, lambda: _spins(here))

    def listed() -> Any:
        api = client.CustomObjectsApi(config.new_client_from_config(str(here.server.kubeconfig)))
        return api.list_namespaced_custom_object("metrics.k8s.io", "v1beta1", "default", "pods")["items"]

    (pod,) = await asyncio.to_thread(listed)
    assert pod["window"].endswith("s") and [one["name"] for one in pod["containers"]] == ["spins", "holds"]


async def test_whoever_views_a_namespace_sees_what_its_pods_use(here: Node) -> None:
    metadata = {"name": "viewers"}
    kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": metadata}
    role = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": "system:aggregated-metrics-reader",
    }
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "eve"}
    asked = ("auth", "can-i", "list", "pods.metrics.k8s.io", "--as", "eve")
    assert (await ran(here, clients.kubectl_current, *asked))[0] == 1
    await here.client.create(CLUSTERROLEBINDINGS, {**kind, "roleRef": role, "subjects": [subject]})
    assert await ran(here, clients.kubectl_current, *asked) == (0, "yes\n")


async def test_another_server_of_the_api_takes_over_and_gives_back(here: Node) -> None:
    spec = {"group": "metrics.k8s.io", "version": "v1beta1", "groupPriorityMinimum": 100, "versionPriority": 100}
    spec |= {"service": {"name": "metrics-server", "namespace": "kube-system"}, "insecureSkipTLSVerify": True}
    metadata = {"name": "v1beta1.metrics.k8s.io"}
    kind = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
    await here.client.create(APISERVICES, {**kind, "metadata": metadata, "spec": spec})
    with pytest.raises(ApiError) as refused:
        await here.client.request("GET", "/apis/metrics.k8s.io/v1beta1/nodes")
    assert refused.value.code == 503
    await here.client.delete(APISERVICES, "v1beta1.metrics.k8s.io")
    await here.client.request("GET", "/apis/metrics.k8s.io/v1beta1/nodes")


async def test_the_summary_tells_of_cpu_memory_network_and_disks(here: Node) -> None:
    async def whole() -> Object | None:
        summary: Object = orjson.loads(await read(here, "/stats/summary"))
        pod = next(one for one in summary["pods"] if one["podRef"]["name"] == "busy")
        return summary if pod.get("ephemeral-storage", {}).get("usedBytes", 0) > 24 * MIB else None

    summary = await eventually(here, whole)
    used = {"cpu", "memory", "swap"}
    assert summary["node"].keys() >= {*used, "fs", "runtime", "rlimit", "nodeName", "startTime"}
    (pod,) = [one for one in summary["pods"] if one["podRef"]["name"] == "busy"]
    assert pod["cpu"]["usageNanoCores"] > 50_000_000
    assert 24 * MIB < pod["memory"]["workingSetBytes"] < 192 * MIB
    assert pod["network"]["name"] == "eth0" and pod["network"]["rxBytes"] >= 0
    assert pod["process_stats"]["process_count"] >= 2
    (volume,) = pod["volume"]
    assert volume["name"] == "data" and volume["usedBytes"] >= 24 * MIB
    containers = {one["name"]: one for one in pod["containers"]}
    assert containers["holds"]["memory"]["availableBytes"] < 96 * MIB
    assert containers["spins"].keys() >= {*used, "rootfs", "logs", "startTime"}
    few = orjson.loads(await read(here, "/stats/summary?only_cpu_and_memory=true"))
    assert "fs" not in few["node"] and "network" not in few["pods"][0]


async def test_pages_of_figures_are_valid_and_name_what_dashboards_ask_for(here: Node) -> None:
    pages = {path: Page((await read(here, path)).decode()) for path in ("/metrics", "/metrics/cadvisor")}
    named = {"namespace": "default", "pod": "busy"}
    series = pages["/metrics/cadvisor"]
    assert (
        series.value("container_cpu_usage_seconds_total", container="spins", image="localhost/host:latest", **named)
        > 0
    )
    assert series.value("container_cpu_cfs_throttled_periods_total", container="spins", **named) > 0
    assert series.value("container_spec_cpu_quota", container="spins", **named) == 20_000
    assert series.value("container_memory_working_set_bytes", container="holds", **named) > 24 * MIB
    assert series.value("container_spec_memory_limit_bytes", container="holds", **named) == 96 * MIB
    assert series.value("container_network_transmit_packets_total", interface="eth0", **named) >= 0
    assert series.value("machine_cpu_cores") == os.cpu_count()
    assert pages["/metrics"].value("kubelet_running_containers", container_state="running") == 2
    assert pages["/metrics"].value("kubelet_node_name", node=NODE) == 1
    assert pages["/metrics"].value("kubelet_pod_start_duration_seconds_count") >= 1
    assert pages["/metrics"].value("kubelet_pod_worker_duration_seconds_count", operation_type="sync") >= 1
    assert pages["/metrics"].value("kubelet_runtime_operations_total", operation_type="start_container") >= 3
    resources = Page((await read(here, "/metrics/resource")).decode())
    assert resources.value("container_memory_working_set_bytes", container="holds", **named) > 24 * MIB
    assert resources.value("pod_cpu_usage_seconds_total", **named) > 0
    assert resources.value("resource_scrape_error") == 0
    probes = Page((await read(here, "/metrics/probes")).decode())
    probed = {"container": "holds", "probe_type": "Readiness", **named}
    assert probes.value("prober_probe_total", result="successful", **probed) >= 1
    assert probes.value("prober_probe_duration_seconds_count", **probed) >= 1


async def test_the_agent_tells_how_it_is_run_and_what_runs(here: Node) -> None:
    told = orjson.loads(await read(here, "/configz"))["kubeletconfig"]
    assert (told["kind"], told["maxPods"], told["containerLogMaxSize"]) == ("KubeletConfiguration", 110, "10Mi")
    assert told["authentication"]["anonymous"] == {"enabled": False}
    assert told["streamingConnectionIdleTimeout"] == "4h0m0s"
    running = orjson.loads(await read(here, "/runningpods/"))["items"]
    assert "busy" in [pod["metadata"]["name"] for pod in running]


async def test_a_scraper_with_a_token_gets_the_figures_and_nothing_else(here: Node) -> None:
    await here.client.create(
        NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "monitoring"}}
    )
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "prometheus"}}
    await here.client.create(SERVICEACCOUNTS, account, "monitoring")
    group, metadata = "rbac.authorization.k8s.io", {"name": "prometheus"}
    rule = {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]}
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": [rule]}
    await here.client.create(CLUSTERROLES, role)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    made = await here.client.create(SERVICEACCOUNTS, request, "monitoring", name="prometheus", subresource="token")
    token = made["status"]["token"]
    tls = ssl.create_default_context(cafile=str(here.server.data_dir / "pki" / "ca.crt"))
    connector = aiohttp.TCPConnector(ssl=tls)
    async with aiohttp.ClientSession("https://127.0.0.1:10250", connector=connector) as session:

        async def answers(path: str, method: str = "GET", token: str = token) -> int:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            async with session.request(method, path, headers=headers) as answer:
                return answer.status

        assert await answers("/metrics/cadvisor", token="") == 401
        assert await answers("/metrics/cadvisor", token=token[:-3] + "AAA") == 401
        assert await answers("/stats/summary") == 403
        bound = {"kind": "ClusterRole", "name": "prometheus", "apiGroup": group}
        subject = {"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}
        binding = {"apiVersion": f"{group}/v1", "kind": "ClusterRoleBinding", "metadata": metadata}
        await here.client.create(CLUSTERROLEBINDINGS, {**binding, "roleRef": bound, "subjects": [subject]})
        assert await answers("/metrics/cadvisor") == await answers("/metrics/resource") == 200
        assert await answers("/pods") == await answers("/configz") == await answers("/logs/") == 403
        assert await answers("/run/default/busy/spins?cmd=id", "POST") == 403
        assert await answers("/exec/default/busy/spins?command=id&output=1") == 403
