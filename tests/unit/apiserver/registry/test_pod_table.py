"""What `kubectl get pods` prints of a pod."""

from __future__ import annotations

from typing import Any

import pytest

from apiserver.registry.pod_table import COLUMNS
from apiserver.registry.strategy import Since

NOW = 1767323045.0  # 2026-01-02T03:04:05Z
CREATED, EARLIER = "2026-01-02T03:02:05Z", "2026-01-02T02:59:05Z"


def row(pod: dict[str, Any]) -> dict[str, Any]:
    """The cells by the names of their columns."""
    cells = {column.name: column.cell(pod) for column in COLUMNS}
    return {name: cell.at(NOW) if isinstance(cell, Since) else cell for name, cell in cells.items()}


def pod(status: dict[str, Any], *, containers: int = 1, init: Any = (), deleted: bool = False, **spec: Any) -> Any:
    metadata = {"name": "web", "creationTimestamp": CREATED}
    if deleted:
        metadata["deletionTimestamp"] = CREATED
    spec = {"containers": [{"name": f"c{n}"} for n in range(containers)], "initContainers": list(init), **spec}
    return {"metadata": metadata, "spec": spec, "status": status}


def running(*, ready: bool = True, restarts: int = 0, last: Any = None) -> dict[str, Any]:
    status = {"name": "c0", "ready": ready, "restartCount": restarts, "state": {"running": {"startedAt": CREATED}}}
    return {**status, "lastState": {"terminated": last}} if last else status


def waiting(reason: str, **more: Any) -> dict[str, Any]:
    return {"name": "c0", "ready": False, "restartCount": 0, "state": {"waiting": {"reason": reason}}, **more}


def ended(code: int, reason: str = "", **more: Any) -> dict[str, Any]:
    state = {"terminated": {"exitCode": code, "reason": reason, **more}}
    return {"name": "c0", "ready": False, "restartCount": 0, "state": state}


READY = {"type": "Ready", "status": "True"}
INIT, SIDECAR = {"name": "i0"}, {"name": "i0", "restartPolicy": "Always"}


@pytest.mark.parametrize(
    ("given", "ready", "status", "restarts"),
    [
        (pod({"phase": "Pending"}), "0/1", "Pending", "0"),
        (
            pod({"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]}),
            "0/1",
            "ContainerCreating",
            "0",
        ),
        (pod({"phase": "Running", "containerStatuses": [running()]}), "1/1", "Running", "0"),
        (pod({"phase": "Running", "containerStatuses": [running(ready=False)]}), "0/1", "Running", "0"),
        (
            pod({"phase": "Running", "containerStatuses": [running(restarts=3, last={"finishedAt": EARLIER})]}),
            *("1/1", "Running", "3 (5m ago)"),
        ),
        (pod({"phase": "Running", "containerStatuses": [running(restarts=3)]}), "1/1", "Running", "3"),
        (
            pod({"phase": "Running", "containerStatuses": [waiting("CrashLoopBackOff", restartCount=5)]}),
            *("0/1", "CrashLoopBackOff", "5"),
        ),
        (
            pod({"phase": "Pending", "containerStatuses": [waiting("ImagePullBackOff")]}),
            "0/1",
            "ImagePullBackOff",
            "0",
        ),
        (pod({"phase": "Running", "containerStatuses": [ended(137, "OOMKilled")]}), "0/1", "OOMKilled", "0"),
        (pod({"phase": "Failed", "containerStatuses": [ended(1, "Error")]}), "0/1", "Error", "0"),
        (pod({"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]}), "0/1", "Completed", "0"),
        (pod({"phase": "Failed", "containerStatuses": [ended(3)]}), "0/1", "ExitCode:3", "0"),
        (pod({"phase": "Failed", "containerStatuses": [ended(0, signal=9)]}), "0/1", "Signal:9", "0"),
        (pod({"phase": "Failed", "reason": "Evicted"}), "0/1", "Evicted", "0"),
        (
            pod(
                {"phase": "Running", "conditions": [READY], "containerStatuses": [running(), ended(0, "Completed")]},
                containers=2,
            ),
            *("1/2", "Running", "0"),
        ),
        (
            pod({"phase": "Running", "containerStatuses": [ended(0, "Completed"), running()]}, containers=2),
            *("1/2", "NotReady", "0"),
        ),
        # Before the containers, the init containers: which of them, and what is wrong with it.
        (
            pod({"phase": "Pending", "initContainerStatuses": [waiting("PodInitializing")]}, init=[INIT]),
            *("0/1", "Init:0/1", "0"),
        ),
        (
            pod(
                {"phase": "Pending", "initContainerStatuses": [ended(0, "Completed"), running()]},
                init=[INIT, {"name": "i1"}],
            ),
            *("0/1", "Init:1/2", "0"),
        ),
        (
            pod({"phase": "Pending", "initContainerStatuses": [ended(1, "Error")]}, init=[INIT]),
            *("0/1", "Init:Error", "0"),
        ),
        (
            pod({"phase": "Pending", "initContainerStatuses": [ended(2)]}, init=[INIT]),
            *("0/1", "Init:ExitCode:2", "0"),
        ),
        (
            pod(
                {"phase": "Pending", "initContainerStatuses": [waiting("CrashLoopBackOff", restartCount=4)]},
                init=[INIT],
            ),
            *("0/1", "Init:CrashLoopBackOff", "4"),
        ),
        (
            pod(
                {
                    "phase": "Running",
                    "initContainerStatuses": [{**ended(0, "Completed"), "restartCount": 2}],
                    "containerStatuses": [running()],
                },
                init=[INIT],
            ),
            *("1/1", "Running", "0"),
        ),
        # A sidecar is an init container that goes on running: it is counted, and so are its restarts.
        (
            pod(
                {
                    "phase": "Running",
                    "initContainerStatuses": [{**running(restarts=1), "name": "i0", "started": True}],
                    "containerStatuses": [running()],
                },
                init=[SIDECAR],
            ),
            *("2/2", "Running", "1"),
        ),
        (
            pod({"phase": "Pending", "initContainerStatuses": [{**waiting("x"), "name": "i0"}]}, init=[SIDECAR]),
            *("0/2", "Init:x", "0"),
        ),
        (
            pod({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
            *("0/1", "SchedulingGated", "0"),
        ),
        (pod({"phase": "Running", "containerStatuses": [running()]}, deleted=True), "1/1", "Terminating", "0"),
        (
            pod({"phase": "Succeeded", "containerStatuses": [ended(0, "Completed")]}, deleted=True),
            "0/1",
            "Completed",
            "0",
        ),
        (pod({"phase": "Running", "reason": "NodeLost"}, deleted=True), "0/1", "Unknown", "0"),
    ],
)
def test_one_word_says_what_a_pod_is_doing(given, ready, status, restarts):
    cells = row(given)
    assert (cells["Ready"], cells["Status"], cells["Restarts"]) == (ready, status, restarts)


def test_the_wide_columns_say_where_a_pod_is():
    cells = row(pod({"phase": "Running", "podIPs": [{"ip": "10.0.0.7"}]}, nodeName="n1"))
    assert (cells["Name"], cells["Age"], cells["IP"], cells["Node"]) == ("web", "2m", "10.0.0.7", "n1")
    assert (cells["Nominated Node"], cells["Readiness Gates"]) == ("<none>", "<none>")


def test_readiness_gates_are_counted_that_hold():
    gates = [{"conditionType": "a"}, {"conditionType": "b"}]
    given = pod({"conditions": [{"type": "b", "status": "True"}]}, readinessGates=gates)
    assert row(given)["Readiness Gates"] == "1/2"


def test_columns_beyond_the_first_five_are_wide():
    assert [column.name for column in COLUMNS if not column.priority] == [
        "Name",
        "Ready",
        "Status",
        "Restarts",
        "Age",
    ]
