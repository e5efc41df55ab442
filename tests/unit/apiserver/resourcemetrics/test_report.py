"""What node agents say becomes NodeMetrics and PodMetrics."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apiserver.resourcemetrics import kinds
from apiserver.resourcemetrics.report import Used, duration, node_metrics, pod_metrics, read

TIME = "2027-01-15T08:00:00Z"
NOW = "2027-01-15T08:00:01Z"


def part(nanocores: int | None, memory_bytes: int | None, **more: Any) -> Object:
    cpu = {"time": TIME, "usageCoreNanoSeconds": 1} | ({} if nanocores is None else {"usageNanoCores": nanocores})
    return {"cpu": cpu, "memory": {} if memory_bytes is None else {"workingSetBytes": memory_bytes}, **more}


def document(*containers: Object, node: Object | None = None) -> Object:
    pod = {"podRef": {"uid": "u-1", "name": "web", "namespace": "default"}, "containers": list(containers)}
    return {"node": node or part(250_000_000, 3 << 30), "pods": [pod]}


POD: Object = {"metadata": {"name": "web", "namespace": "default", "uid": "u-1", "labels": {"app": "web"}}}
NODE: Object = {"metadata": {"name": "node-1", "uid": "n", "annotations": {"a": "b"}}}


def test_a_pod_has_the_usage_of_each_container() -> None:
    report = read(document(part(1_500_000, 5 << 20, name="main"), part(0, 4096, name="side")), "15.02")
    assert pod_metrics(POD, report, NOW) == {
        "kind": "PodMetrics",
        "apiVersion": "metrics.k8s.io/v1beta1",
        "metadata": {"name": "web", "namespace": "default", "labels": {"app": "web"}, "creationTimestamp": NOW},
        "timestamp": TIME,
        "window": "15.02s",
        "containers": [
            {"name": "main", "usage": {"cpu": "1500u", "memory": "5Mi"}},
            {"name": "side", "usage": {"cpu": "0", "memory": "4Ki"}},
        ],
    }


def test_containers_are_in_the_order_of_the_pod() -> None:
    spec = {"containers": [{"name": "b"}, {"name": "a"}], "initContainers": [{"name": "sidecar"}]}
    report = read(document(*(part(1, 1024, name=name) for name in ("sidecar", "a", "odd", "b"))), "1")
    metrics = pod_metrics({**POD, "spec": spec}, report, NOW)
    assert metrics is not None
    assert [one["name"] for one in metrics["containers"]] == ["b", "a", "sidecar", "odd"]


def test_a_node_has_its_own_usage() -> None:
    metrics = node_metrics(NODE, read(document(), ""), NOW)
    assert metrics is not None
    assert (metrics["usage"], metrics["window"]) == ({"cpu": "250m", "memory": "3Gi"}, "10s")
    assert metrics["metadata"] == {"name": "node-1", "creationTimestamp": NOW}


def test_what_is_not_known_in_full_is_not_told() -> None:
    report = read(document(part(None, 1, name="new"), part(1, None, name="odd"), node=part(None, 1)), "1")
    assert pod_metrics(POD, report, NOW) is None
    assert node_metrics(NODE, report, NOW) is None


def test_a_pod_of_the_same_name_is_another_one() -> None:
    other = {"metadata": {**POD["metadata"], "uid": "u-2"}}
    assert pod_metrics(other, read(document(part(1, 1, name="main")), "1"), NOW) is None


@pytest.mark.parametrize(
    "nonsense",
    [
        [],
        None,
        "x",
        {},
        {"node": []},
        {"node": {}, "pods": [1]},
        {"node": {}, "pods": [{"containers": [part(1, 1)]}]},
    ],
)
def test_an_answer_that_makes_no_sense_is_none(nonsense: Any) -> None:
    with pytest.raises(ValueError, match="no summary"):
        read(nonsense, "")


@pytest.mark.parametrize(
    ("seconds", "text"), [(10, "10s"), (15.0211, "15.021s"), (0.5, "0.5s"), (70.5, "1m10.5s"), (120, "2m0s")]
)
def test_windows_are_written_as_go_does(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_tables_add_up_the_containers() -> None:
    report = read(document(part(1_500_000, 5 << 20, name="main"), part(2_500_000, 4096, name="side")), "15")
    metrics = pod_metrics(POD, report, NOW)
    assert metrics is not None
    cells = {column.name: column.cell(metrics) for column in kinds.COLUMNS}
    assert cells == {"Name": "web", "cpu": "4m", "memory": "5124Ki", "Window": "15s"}
    assert Used(0, 0).shown() == {"cpu": "0", "memory": "0"}
