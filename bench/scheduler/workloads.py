"""The workloads of Kubernetes' own scheduler benchmark, with the floors that its continuous integration holds.

A workload is steps that follow each other; of its pods the last ones are measured. What the templates say and how
many there are of each is Kubernetes': test/integration/scheduler_perf/misc and default_preemption.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from apimachinery.meta import Object

# The one node that some workloads put all of their pods on.
ROOMY = "scheduler-perf-node"
HIGH = "high"
Template = Callable[[str], Object]


@dataclass(frozen=True, slots=True)
class Nodes:
    """Make nodes."""

    count: int
    template: Template


@dataclass(frozen=True, slots=True)
class Pods:
    """Make pods, named after the group; `settle`: go on when all of them are bound."""

    group: str
    count: int
    template: Template
    settle: bool = True


@dataclass(frozen=True, slots=True)
class Churn:
    """From now on make one object of each template again and again; `recreate`: and delete the one before."""

    seconds: float
    templates: tuple[Template, ...]
    recreate: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """From now on delete so many pods of a group a second."""

    group: str
    per_second: int


Step: TypeAlias = Nodes | Pods | Churn | Delete


@dataclass(frozen=True, slots=True)
class Workload:
    """Steps, then the pods that are measured; `floor` in pods per second."""

    name: str
    floor: int
    steps: tuple[Step, ...]
    measured: Pods

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return sum(step.count for step in self.steps if isinstance(step, Nodes))


def scaled(workload: Workload, scale: float) -> Workload:
    """The same with a share of its nodes and pods."""

    def part(step: Any) -> Any:
        if isinstance(step, Nodes | Pods) and step.count > 1:
            return type(step)(**{**_fields(step), "count": max(1, round(step.count * scale))})
        return step

    return Workload(workload.name, workload.floor, tuple(map(part, workload.steps)), part(workload.measured))


def _fields(step: Any) -> dict[str, Any]:
    return {name: getattr(step, name) for name in step.__dataclass_fields__}


def node(name: str) -> Object:
    """A node with 4 cores, 32 GiB and room for 110 pods, in one of three zones."""
    number = sum(name.encode())
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"zone-{number % 3}"}
    return _node(name, labels, {"cpu": "4", "memory": "32Gi", "pods": "110"})


def roomy_node(_: str) -> Object:
    """The one node with room for all pods."""
    return _node(ROOMY, {"kubernetes.io/hostname": ROOMY}, {"cpu": "4", "memory": "32Gi", "pods": "90000"})


def _node(name: str, labels: dict[str, str], has: dict[str, str]) -> Object:
    status = {"capacity": has, "allocatable": has, "conditions": [{"type": "Ready", "status": "True"}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}, "status": status}


def pod(name: str) -> Object:
    """A pod that asks for a tenth of a core and 500 MiB."""
    return _pod(name, {"cpu": "100m", "memory": "500Mi"})


def light_pod(name: str) -> Object:
    """A pod that asks for nothing."""
    return _pod(name, {}, terminationGracePeriodSeconds=0)


def low_priority_pod(name: str) -> Object:
    """A pod of which four fill a node."""
    return _pod(name, {"cpu": "900m", "memory": "500Mi"}, terminationGracePeriodSeconds=0)


def high_priority_pod(name: str) -> Object:
    """A pod that has to take the place of three of those."""
    return _pod(name, {"cpu": "3", "memory": "500Mi"}, priorityClassName=HIGH)


def too_large_pod(name: str) -> Object:
    """A pod that is more important than others and fits nowhere."""
    return _pod(name, {"cpu": "9", "memory": "500Mi"}, priorityClassName=HIGH)


def pinned_pod(name: str) -> Object:
    """A pod that names its node, as those of a DaemonSet do."""
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [ROOMY]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return _pod(name, {}, affinity={"nodeAffinity": required})


def gated_pod(name: str) -> Object:
    """A pod that is not to be placed yet."""
    return _pod(name, {}, schedulingGates=[{"name": "test.k8s.io/hold"}])


def pod_with_finalizer(name: str) -> Object:
    """A pod that stays when it is deleted."""
    found = _pod(name, {})
    found["metadata"]["finalizers"] = ["test.k8s.io/finalizer"]
    return found


def _pod(name: str, requests: dict[str, str], **spec: Any) -> Object:
    container: Object = {"name": "pause", "image": "registry.k8s.io/pause:3.10"}
    if requests:
        container["resources"] = {"requests": requests}
    metadata = {"name": name, "namespace": "default", "labels": {"app": "bench"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container], **spec}}


def service(name: str) -> Object:
    """A Service that selects nothing."""
    spec = {"selector": {"app": "foo"}, "ports": [{"protocol": "TCP", "port": 8080, "targetPort": 8080}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def basic(nodes: int, before: int, pods: int, floor: int, name: str = "SchedulingBasic") -> Workload:
    """Equal pods on equal nodes."""
    return Workload(name, floor, (Nodes(nodes, node), Pods("before", before, pod)), Pods("pod", pods, pod))


WORKLOADS = (
    basic(5_000, 1_000, 10_000, 680),
    basic(5_000, 5_000, 50_000, 810, "SchedulingBasic_50000Pods"),
    Workload(
        "SchedulingDaemonset",
        1_100,
        (Nodes(1, roomy_node), Nodes(15_000, node)),
        Pods("daemon", 30_000, pinned_pod),
    ),
    Workload(
        "PreemptionAsync",
        570,
        (Nodes(5_000, node), Pods("low", 20_000, low_priority_pod), Churn(0.2, (high_priority_pod,))),
        Pods("pod", 5_000, pod),
    ),
    Workload(
        "Unschedulable",
        590,
        (Nodes(5_000, node), Pods("before", 100, pod), Churn(0.2, (too_large_pod,))),
        Pods("pod", 10_000, pod),
    ),
    Workload(
        "SchedulingWithMixedChurn",
        710,
        (Nodes(5_000, node), Churn(1.0, (node, too_large_pod, service), recreate=True)),
        Pods("pod", 10_000, pod),
    ),
    Workload(
        "SchedulingWhileGated",
        910,
        (
            Nodes(1, roomy_node),
            Pods("gated", 10_000, gated_pod, settle=False),
            Pods("leaving", 20_000, light_pod),
            Delete("leaving", 50),
        ),
        Pods("pod", 20_000, light_pod),
    ),
    Workload(
        "SchedulingDeletedPodsWithFinalizers",
        830,
        (
            Nodes(5_000, node),
            Pods("deleted", 5_000, pod_with_finalizer, settle=False),
            Delete("deleted", 100),
        ),
        Pods("pod", 5_000, light_pod),
    ),
)
