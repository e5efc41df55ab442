"""What it costs to know who manages which field: time a write, and memory a running pod.

    .venv/bin/python -m bench.managed_fields [--pods 20000]

Pure functions in this process, each the best of many runs; what a write costs as a whole tells `bench.apiserver`.
"""

from __future__ import annotations

import argparse
import copy
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import orjson

from apimachinery.managedfields import sets
from apimachinery.managedfields.applying import apply
from apimachinery.managedfields.compare import compare
from apimachinery.managedfields.entries import Managed, decode, encoded, pieces
from apimachinery.managedfields.kinds import Kind, Scope, Writer
from apimachinery.managedfields.types import builtin
from apimachinery.managedfields.updating import created, updated
from apimachinery.meta import Object
from apimachinery.pod_defaults import default_pod
from bench.apiserver import POD

RUNS, CALLS = 30, 300
NOON = "2026-01-01T12:00:00Z"
CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
PODS_A_SECOND, PODS_AN_OWNER = 1000, 10
KIND = Kind({"v1": builtin("io.k8s.api.core.v1.Pod")})
OBJECT, STATUS = Scope(sets.of_paths([("f:status",)])), Scope(sets.of_paths([("f:spec",)]))
MAKER, KUBELET = Writer("maker", "v1", "", NOON), Writer("kubelet", "v1", "status", NOON)


def microseconds(call: Callable[[], object]) -> float:
    """How long a call takes at best."""
    best = float("inf")
    for _ in range(RUNS):
        began = time.perf_counter()
        for _ in range(CALLS):
            call()
        best = min(best, time.perf_counter() - began)
    return best / CALLS * 1e6


def pod(number: int = 0) -> Object:
    """A new pod as it is sent; so many belong to one owner."""
    made = copy.deepcopy(POD)
    default_pod(made)
    uid = f"5d4f8c7b-0000-4000-8000-{number // PODS_AN_OWNER:012}"
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": uid, "controller": True}
    made["metadata"] |= {"ownerReferences": [owner], "name": f"web-{number}"}
    return made


def running(made: Object, address: str, *, ready: bool = True) -> Object:
    """The same pod as its node agent tells of it."""
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": NOON} for kind in CONDITIONS]
    conditions[2]["status"] = str(ready)
    status: dict[str, Any] = {"phase": "Running", "conditions": conditions, "podIP": address}
    status |= {"podIPs": [{"ip": address}], "hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.1"}], "startTime": NOON}
    status["containerStatuses"] = [{"name": "main", "ready": ready, "restartCount": 0, "image": "i"}]
    return {**orjson.loads(orjson.dumps(made)), "status": status}


def bytes_a_pod(count: int) -> float:
    """The memory of the managers of so many running pods."""
    kept: list[Managed] = []
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for number in range(count):
        second = number // PODS_A_SECOND
        moment = f"2026-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
        new = pod(number)
        managed = created(KIND, new, MAKER._replace(time=moment), OBJECT)
        seen = running(new, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        kept.append(updated(KIND, managed, new, seen, KUBELET._replace(time=moment), STATUS))
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (after - before) / len(kept)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pods", type=int, default=20_000)
    count: int = parser.parse_args().pods
    new = pod()
    managed = created(KIND, new, MAKER, OBJECT)
    seen, later = running(new, "10.1.0.1"), running(new, "10.1.0.1", ready=False)
    both = updated(KIND, managed, new, seen, KUBELET, STATUS)
    documents = encoded(both)
    config = {"apiVersion": "v1", "kind": "Pod", **POD}
    applied = apply(KIND, {}, (), config, MAKER)
    for what, call in (
        ("a new pod, walked by its schema", lambda: compare(KIND.types["v1"], {}, new)),
        ("… that has the template of another", lambda: created(KIND, new, MAKER, OBJECT)),
        ("its first status", lambda: updated(KIND, managed, new, seen, KUBELET, STATUS)),
        ("its next status", lambda: updated(KIND, both, seen, later, KUBELET, STATUS)),
        ("managers that a client sends back", lambda: decode(documents, both)),
        ("managers in an answer", lambda: b"".join(pieces(both))),
        ("a pod applied again", lambda: apply(KIND, applied.obj, applied.managed, config, MAKER)),
    ):
        print(f"{what:<38} {microseconds(call):>8.1f} µs", flush=True)
    size = sum(map(len, pieces(both)))
    print(f"{'managers of a running pod, as sent':<38} {size:>8} bytes")
    print(f"{'… in memory, of ' + str(count) + ' pods':<38} {bytes_a_pod(count):>8.0f} bytes")


if __name__ == "__main__":
    main()
