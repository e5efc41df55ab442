"""The documents that figures are told in are what stock tools read."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from apiclient.serving import exposition
from apimachinery.meta import Object
from kubelet import instruments, paths
from kubelet.node.machine import Disk, Machine
from kubelet.node.machine import Usage as Free
from kubelet.runtime import ContainerState, SandboxSpec, SandboxState
from kubelet.server.stats import agent, cadvisor, disk_usage, network, resources, summary, topology
from kubelet.server.stats.cadvisor import Series
from kubelet.server.stats.disk_usage import DiskUsage, PodDisks, Taken
from kubelet.server.stats.groups import Detail, Stall, Usage
from kubelet.server.stats.network import Traffic
from kubelet.server.stats.usage import NODE, ContainerUsage, PodUsage, Rates, Sample
from tests.support.clock import ManualClock
from tests.support.exposition import Page

NOW = 1_800_000_000.0
MIB = 1 << 20
USAGE = Usage(3_000_000_000, 6 * MIB, 5 * MIB, 4 * MIB, 12, 3, 4096, 64 * MIB, 8192)
CONTAINER = ContainerUsage("c-1", "main", NOW - 60, "wherry/podu-1/c-1", USAGE)
POD = PodUsage("default", "web", "u-1", "wherry/podu-1", 77, 7, USAGE, (CONTAINER,))
SAMPLE = Sample(NOW, 5.0, USAGE, (POD,))
RATES = Rates(10.0, {NODE: 900, "u-1": 500, "c-1": 500})
TRAFFIC = (Traffic("eth0", 1, 2, 3, 4, 5, 6, 7, 8),)
DETAIL = Detail(2 * 10**9, 10**9, 10, 4, 700, 6 * MIB, 1024, 20 * MIB, 5, 2, 7, 2, 204, 20_000, 100_000, 4096)
SPEC: Object = {
    "metadata": {"name": "web", "namespace": "default", "uid": "u-1"},
    "spec": {"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}}, {"name": "tmp"}]},
}
DISKS = PodDisks(
    logs={"main": Taken(100, 1)},
    layers={"c-1": Taken(2000, 20)},
    volumes={"tmp": Taken(30_000, 300), "data": Taken(5, 1, (1000, 400, 50, 40))},
    files=Taken(7, 1),
)
FACTS = summary.Facts(
    free=Free(8 * MIB, Disk(1000, 400, 90, 60), Disk(2000, 500, 80, 30), 32768, 32000),
    disks={"u-1": DISKS},
    specs={"u-1": SPEC},
    traffic=lambda pid: TRAFFIC if pid == 77 else (),
    node_traffic=TRAFFIC,
    node_interface="eth0",
    pressure=lambda group: {"io": (Stall(1, (0.5, 0.0, 0.0)), Stall(2, (0.0, 0.0, 0.0)))},
)


def test_a_summary_tells_all_of_a_pod() -> None:
    document = summary.summary("node-1", NOW - 900, SAMPLE, RATES, FACTS)
    (pod,) = document["pods"]
    assert pod["podRef"] == {"name": "web", "namespace": "default", "uid": "u-1"}
    assert pod["cpu"] == {"time": "2027-01-15T08:00:00Z", "usageNanoCores": 500, "usageCoreNanoSeconds": 3 * 10**9}
    assert pod["memory"]["availableBytes"] == 59 * MIB
    assert (pod["memory"]["pageFaults"], pod["memory"]["majorPageFaults"]) == (12, 3)
    assert pod["swap"] == {"time": pod["cpu"]["time"], "swapUsageBytes": 4096, "swapAvailableBytes": 4096}
    assert (pod["network"]["name"], pod["network"]["rxBytes"], pod["network"]["txErrors"]) == ("eth0", 1, 7)
    assert pod["process_stats"] == {"process_count": 7}
    # What has a file system of its own is none of the node's.
    assert pod["ephemeral-storage"]["usedBytes"] == 100 + 2000 + 30_000 + 7
    volumes = {volume["name"]: volume for volume in pod["volume"]}
    assert volumes["data"]["pvcRef"] == {"name": "data-0", "namespace": "default"}
    assert (volumes["data"]["capacityBytes"], volumes["data"]["inodesFree"]) == (1000, 40)
    assert "pvcRef" not in volumes["tmp"] and volumes["tmp"]["usedBytes"] == 30_000
    (container,) = pod["containers"]
    assert (container["rootfs"]["usedBytes"], container["logs"]["inodesUsed"]) == (2000, 1)
    assert container["io"]["psi"]["some"] == {"total": 1, "avg10": 0.5, "avg60": 0.0, "avg300": 0.0}


def test_a_summary_tells_all_of_the_node() -> None:
    node = summary.summary("node-1", NOW - 900, SAMPLE, RATES, FACTS)["node"]
    assert (node["nodeName"], node["startTime"]) == ("node-1", "2027-01-15T07:45:00Z")
    assert node["cpu"]["usageNanoCores"] == 900
    assert node["memory"]["availableBytes"] == 8 * MIB
    assert (node["fs"]["usedBytes"], node["runtime"]["imageFs"]["usedBytes"]) == (600, 1500)
    assert node["rlimit"]["curproc"] == 768


def test_a_summary_of_cpu_and_memory_has_nothing_else() -> None:
    document = summary.summary("node-1", NOW, SAMPLE, Rates(), None)
    assert document["node"].keys() == {"nodeName", "startTime", "cpu", "memory", "swap"}
    (pod,) = document["pods"]
    assert pod.keys() == {"podRef", "startTime", "containers", "cpu", "memory", "swap"}
    assert "usageNanoCores" not in pod["containers"][0]["cpu"]


def test_what_nobody_has_looked_at_yet_is_left_out() -> None:
    (pod,) = summary.summary("node-1", NOW, SAMPLE, RATES, replace(FACTS, disks={}))["pods"]
    assert "ephemeral-storage" not in pod and "volume" not in pod and "rootfs" not in pod["containers"][0]


def test_resource_metrics_have_kubernetes_names_and_labels() -> None:
    page = Page(resources.page(SAMPLE))
    assert page.names() == {
        "container_cpu_usage_seconds_total",
        "container_memory_working_set_bytes",
        "container_start_time_seconds",
        "container_swap_limit_bytes",
        "container_swap_usage_bytes",
        "node_cpu_usage_seconds_total",
        "node_memory_working_set_bytes",
        "node_swap_usage_bytes",
        "pod_cpu_usage_seconds_total",
        "pod_memory_working_set_bytes",
        "pod_swap_usage_bytes",
        "resource_scrape_error",
        "scrape_error",
    }
    labels = (("container", "main"), ("namespace", "default"), ("pod", "web"))
    assert page.values("container_cpu_usage_seconds_total") == {labels: 3.0}
    assert page.values("pod_memory_working_set_bytes") == {labels[1:]: 5 * MIB}
    assert page.types["container_cpu_usage_seconds_total"] == "counter"


def test_cadvisors_series_can_be_told_apart_as_dashboards_do() -> None:
    whole = Series(cadvisor.labels("/"), USAGE, disk=("/dev/sda", 600))
    pod = Series(cadvisor.labels("/p", namespace="default", pod="web"), USAGE, DETAIL, traffic=TRAFFIC)
    named = cadvisor.labels("/p/c", namespace="default", pod="web", container="main", image="nginx:1", name="c-1")
    pressure = {"cpu": (Stall(2 * 10**9, (0.0, 0.0, 0.0)), Stall(10**9, (0.0, 0.0, 0.0)))}
    container = Series(named, USAGE, DETAIL, NOW, disk=("/dev/sda", 5), pressure=pressure)
    machine = Machine(2000, 64 * MIB, {}, "amd64", "6.1", "Debian", "m", "s", "b")
    node = cadvisor.Node(machine, 2, 1, 1, 0, ("/dev/sda", 1000))
    page = Page(cadvisor.page([whole, pod, container], node, time=NOW))
    assert page.value("container_cpu_usage_seconds_total", container="main", image="nginx:1", cpu="total") == 3
    assert page.value("container_cpu_cfs_throttled_periods_total", container="main") == 4
    assert page.value("container_memory_working_set_bytes", id="/") == 5 * MIB
    assert page.value("container_network_receive_bytes_total", pod="web", interface="eth0") == 1
    assert page.value("container_fs_usage_bytes", id="/") == 600
    assert page.value("container_fs_limit_bytes", device="/dev/sda") == 1000
    assert page.value("container_spec_memory_limit_bytes", container="main") == 64 * MIB
    assert page.value("container_pressure_cpu_waiting_seconds_total", container="main") == 2
    assert page.value("machine_cpu_cores", machine_id="m") == 2
    # Sums over containers must not count pods or the machine a second time.
    assert len(page.values("container_memory_rss", image="")) == 2


def test_the_agents_own_work_is_counted() -> None:
    instruments.POD_WORKER_SECONDS.add(0.02, "sync")
    process = agent.Process(1.5, 10, 20, 3, 1024, NOW)
    state = ContainerState("c-1", "main", 0, "running")
    sandbox = SandboxState("u-1", 1, "", True, SandboxSpec("u-1", "web", "default", "web"), [state])
    document = summary.summary("node-1", NOW, SAMPLE, RATES, FACTS)
    page = Page(agent.page("node-1", "v1.35.0", [sandbox], process, document["pods"]))
    assert page.value("kubelet_node_name", node="node-1") == 1
    assert page.value("kubelet_running_pods") == 1
    assert page.value("kubelet_running_containers", container_state="running") == 1
    assert page.value("kubelet_pod_worker_duration_seconds_bucket", operation_type="sync", le="+Inf") >= 1
    assert page.value("kubelet_volume_stats_capacity_bytes", persistentvolumeclaim="data-0") == 1000
    assert page.value("process_start_time_seconds") == NOW


def test_probes_are_counted_apart_and_forgotten_with_their_pod() -> None:
    counter = instruments.Counter("prober_probe_total", "Probes.", "pod_uid", "container", "result")
    counter.add("u-1", "main", "successful")
    counter.add("u-1", "main", "successful")
    counter.add("u-2", "main", "failed")
    counter.forget("u-1")
    assert [labels for _, labels, _ in counter.lines()] == [
        {"pod_uid": "u-2", "container": "main", "result": "failed"}
    ]


def test_operations_of_the_runtime_are_counted_and_those_that_fail() -> None:
    with instruments.runtime_operation("knit"):
        pass
    with pytest.raises(ValueError, match="dropped"), instruments.runtime_operation("knit"):
        raise ValueError("a stitch was dropped")
    counted = {
        name: value
        for one in (instruments.RUNTIME_OPERATIONS, instruments.RUNTIME_ERRORS, instruments.RUNTIME_SECONDS)
        for name, labels, value in one.lines()
        if labels == {"operation_type": "knit"}
    }
    assert counted["kubelet_runtime_operations_total"] == 2
    assert counted["kubelet_runtime_operations_errors_total"] == 1
    assert counted["kubelet_runtime_operations_duration_seconds_count"] == 2


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1, "1"), (0.25, "0.25"), (1_800_000_000.5, "1800000000.5"), (1 << 62, "4.611686018427388e+18")],
)
def test_numbers_are_written_without_loss(value: float, shown: str) -> None:
    assert exposition.number(value) == shown


def test_labels_may_hold_anything() -> None:
    text = exposition.family("a", "gauge", "Words.", [({"b": 'x"y\\z\n'}, 1)])
    assert Page(text).value("a", b='x"y\\z\n') == 1
    assert exposition.family("a", "gauge", "Words.", []) == ""


def test_traffic_is_read_without_the_loopback() -> None:
    text = (
        "Inter-|   Receive                                                |  Transmit\n"
        " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls c\n"
        "    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0  0\n"
        "  eth0:       1       2    3    4    0     0          0         0        5       6    7    8    0     0  0\n"
    )
    assert network.parse(text) == list(TRAFFIC)
    assert network.of_process(1 << 30) == []


def test_the_default_route_names_an_interface(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_text("Iface\tDestination\tGateway\neth1\t0000000A\t0\neth0\t00000000\t0102A8C0\n")
    assert network.default_interface(routes) == "eth0"
    assert network.default_interface(tmp_path / "none") == ""


def test_cores_are_counted_once_however_many_threads_they_have() -> None:
    one = "processor\t: {0}\nphysical id\t: {1}\ncore id\t: {2}\n\n"
    both = "".join(one.format(*ids) for ids in ((0, 0, 0), (1, 0, 0), (2, 1, 0), (3, 1, 0)))
    assert topology.count(both) == (2, 2, 4)
    assert topology.count("processor\t: 0\nprocessor\t: 1\n") == (1, 2, 2)


def test_files_are_counted_once_and_links_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "tree"
    (folder / "sub").mkdir(parents=True)
    (folder / "file").write_bytes(b"x" * 10_000)
    os.link(folder / "file", folder / "sub" / "again")
    (folder / "sub" / "away").symlink_to("/usr")
    found = disk_usage.tree(folder)
    assert found.inodes == 4
    assert 10_000 <= found.bytes < 100_000
    assert disk_usage.tree(tmp_path / "none") == Taken()


async def test_disks_are_looked_at_once_a_minute(tmp_path: Path) -> None:
    clock = ManualClock()
    disks = DiskUsage(tmp_path, clock)
    log = paths.container_log(tmp_path, SPEC, "main", 0)
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * 5000)
    before = (await disks.by_pod([SPEC]))["u-1"].logs["main"].bytes
    assert before >= 5000
    log.write_bytes(b"x" * 500_000)
    assert (await disks.by_pod([SPEC]))["u-1"].logs["main"].bytes == before
    await clock.advance(disk_usage.MAX_AGE_SECONDS)
    # Whoever asks then gets what is known, and has it looked at for the next.
    assert (await disks.by_pod([SPEC]))["u-1"].logs["main"].bytes == before
    async with asyncio.timeout(10):
        while (await disks.by_pod([SPEC]))["u-1"].logs["main"].bytes == before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await disks.close()
