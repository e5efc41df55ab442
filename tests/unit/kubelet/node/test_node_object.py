"""What a Node says of itself, in Kubernetes' words, and what of it is sent."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from apimachinery.meta import Object
from kubelet.images import Image
from kubelet.node import node_object
from kubelet.node.machine import Disk, Machine, Usage
from kubelet.node.node_settings import (
    NodeSettings,
    Threshold,
    parse_labels,
    parse_resources,
    parse_taints,
    parse_thresholds,
)

GIB = 1 << 30
MACHINE = Machine(
    cpu_milli=2500,
    memory_bytes=8 * GIB,
    hugepages={"hugepages-1Gi": 0, "hugepages-2Mi": GIB},
    architecture="amd64",
    kernel_version="6.1.0",
    os_image="Debian",
    machine_id="m",
    system_uuid="s",
    boot_id="b",
)
DISK = Disk(bytes=100 * GIB, bytes_available=50 * GIB, inodes=1000, inodes_free=500)
USAGE = Usage(4 * GIB, DISK, DISK, pids_max=1000, pids_available=500)
SETTINGS = NodeSettings("node-1", "192.0.2.11")
NOW = 1_800_000_000.0


def conditions(old: Object | None = None, **more: Any) -> dict[str, dict[str, Any]]:
    given: dict[str, Any] = {"pressures": (), "problems": [], "now": NOW, **more}
    return {condition["type"]: condition for condition in node_object.conditions(old, **given)}


def test_pods_may_have_what_is_not_reserved_and_not_kept_free() -> None:
    whole = node_object.capacity(SETTINGS, MACHINE, USAGE)
    assert whole == {
        "cpu": "2500m",
        "ephemeral-storage": "100Gi",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "1Gi",
        "memory": "8Gi",
        "pods": "110",
    }
    settings = dataclasses.replace(SETTINGS, reserved={"cpu": "500m", "memory": "1Gi"})
    assert node_object.allocatable(settings, whole) == {
        "cpu": "2",
        "ephemeral-storage": "90Gi",
        "hugepages-1Gi": "0",
        "hugepages-2Mi": "1Gi",
        "memory": "6044Mi",
        "pods": "110",
    }


def test_capacity_given_by_flags_stands_in_place_of_the_machines() -> None:
    settings = dataclasses.replace(SETTINGS, capacity={"cpu": "1", "memory": "1Gi"}, pods_max=7, eviction={})
    whole = node_object.capacity(settings, MACHINE, USAGE)
    assert (whole["cpu"], whole["memory"], whole["pods"]) == ("1", "1Gi", "7")
    assert node_object.allocatable(settings, {**whole, "hugepages-2Mi": "2Gi"})["memory"] == "0"


def test_a_healthy_node_is_ready_in_kubernetes_words() -> None:
    found = conditions()
    assert [(c["type"], c["status"], c["reason"], c["message"]) for c in found.values()] == [
        ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
    ]
    assert found["Ready"]["lastHeartbeatTime"] == found["Ready"]["lastTransitionTime"] == "2027-01-15T08:00:00Z"


def test_problems_keep_a_node_from_being_ready() -> None:
    ready = conditions(problems=["container runtime is down", "no network"])["Ready"]
    assert (ready["status"], ready["reason"]) == ("False", "KubeletNotReady")
    assert ready["message"] == "container runtime is down,no network"


def test_a_transition_is_dated_when_the_status_changes_and_only_then() -> None:
    old = {"status": {"conditions": list(conditions().values())}}
    later = conditions(old, now=NOW + 60)
    assert later["Ready"]["lastTransitionTime"] == "2027-01-15T08:00:00Z"
    assert later["Ready"]["lastHeartbeatTime"] == "2027-01-15T08:01:00Z"
    failed = conditions(old, now=NOW + 60, problems=["x"])
    assert failed["Ready"]["lastTransitionTime"] == "2027-01-15T08:01:00Z"


def test_a_shortage_is_told_in_kubernetes_words() -> None:
    short = conditions(pressures={"DiskPressure"})
    assert (short["DiskPressure"]["status"], short["DiskPressure"]["reason"]) == ("True", "KubeletHasDiskPressure")
    assert short["MemoryPressure"]["status"] == "False"
    assert conditions({"status": {"conditions": list(short.values())}})["DiskPressure"]["status"] == "False"


def status(**more: Any) -> Object:
    base = {
        "addresses": [{"type": "InternalIP", "address": "192.0.2.11"}],
        "allocatable": {"cpu": "2"},
        "capacity": {"cpu": "2"},
        "conditions": list(conditions().values()),
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
        "images": [],
        "runtimeHandlers": [],
        "features": node_object.FEATURES,
        "nodeInfo": {"bootID": "b"},
    }
    return {**base, **more}


def test_nothing_is_sent_when_only_the_time_has_passed() -> None:
    later = status(conditions=list(conditions(now=NOW + 60).values()))
    assert node_object.status_patch({"status": status()}, later, heartbeat=False) is None
    patch = node_object.status_patch({"status": status()}, later, heartbeat=True)
    assert patch == {"status": {"conditions": later["conditions"]}}


def test_only_what_differs_is_sent() -> None:
    ready = list(conditions().values())
    unknown = [*ready[:3], {**ready[3], "status": "Unknown", "reason": "NodeStatusUnknown"}]
    patch = node_object.status_patch({"status": status(conditions=unknown)}, status(), heartbeat=False)
    assert patch == {"status": {"conditions": ready}}
    patch = node_object.status_patch({"status": status(capacity={"cpu": "1"})}, status(), heartbeat=False)
    assert patch == {"status": {"capacity": {"cpu": "2"}}}


def test_the_resources_of_others_stay_and_are_there_for_pods() -> None:
    old = status(capacity={"cpu": "2", "example.com/device": "3"})
    patch = node_object.status_patch({"status": old}, status(), heartbeat=False)
    assert patch == {"status": {"allocatable": {"example.com/device": "3"}}}


def test_old_addresses_go() -> None:
    old = status(addresses=[{"type": "ExternalIP", "address": "198.51.100.1"}])
    patch = node_object.status_patch({"status": old}, status(), heartbeat=False)
    assert patch == {"status": {"addresses": [{"$patch": "replace"}, *status()["addresses"]]}}


def test_of_many_images_the_largest_are_listed() -> None:
    images = [
        Image(f"sha256:{n}", [f"tag-{n}:{m}" for m in range(7)], [f"name@sha256:{n}"], [Path()], {}, n, "")
        for n in range(60)
    ]
    listed = node_object.image_list(images)
    assert [entry["sizeBytes"] for entry in listed] == list(range(59, 9, -1))
    assert listed[0]["names"] == ["name@sha256:59", "tag-59:0", "tag-59:1", "tag-59:2", "tag-59:3"]


def test_a_new_node_carries_its_labels_and_taints() -> None:
    settings = dataclasses.replace(
        SETTINGS, labels=parse_labels("zone=a,kubernetes.io/os=x"), taints=parse_taints("a=b:NoSchedule,c:NoExecute")
    )
    node = node_object.new_node(settings, MACHINE, {})
    assert node["metadata"]["labels"] == {
        "zone": "a",
        "kubernetes.io/hostname": "node-1",
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": "amd64",
    }
    assert node["spec"]["taints"] == [
        {"key": "a", "value": "b", "effect": "NoSchedule"},
        {"key": "c", "effect": "NoExecute"},
    ]


def test_flags_are_read_as_kubernetes_does() -> None:
    assert parse_labels("") == {}
    assert parse_thresholds("memory.available<100Mi,nodefs.available<10%") == {
        "memory.available": Threshold(amount=100 << 20),
        "nodefs.available": Threshold(share=0.1),
    }
    assert parse_resources("cpu=1500m,memory=2048Mi") == {"cpu": "1500m", "memory": "2Gi"}


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (parse_labels, "-x=1", "invalid node label"),
        (parse_labels, "kubernetes.io/mine=1", "a node can't give it to itself"),
        (parse_labels, "node-role.kubernetes.io/master=", "a node can't give it to itself"),
        (parse_taints, "a=b:Never", "invalid taint effect 'Never'"),
        (parse_taints, "a=b", "invalid taint"),
        (parse_thresholds, "disk<1Gi", "unknown eviction signal 'disk'"),
        (parse_thresholds, "nodefs.available<200%", "must be from 0% to below 100%"),
        (parse_resources, "gpu=1", "no amount of cpu, memory, ephemeral-storage or pid"),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused(parse: Any, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse(text)
