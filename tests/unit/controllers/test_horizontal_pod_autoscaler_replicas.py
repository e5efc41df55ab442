"""How many pods a metric asks for: the cases of Kubernetes' replica calculator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from apimachinery.meta import Object, name
from apimachinery.time import rfc3339
from controllers.horizontal_pod_autoscaler_replicas import (
    CPU,
    REPLICAS_MAX,
    NoReplicas,
    Proposal,
    Sample,
    Tolerance,
    Windows,
    by_average,
    by_share,
    by_utilization,
    by_value,
    group_pods,
    requests_of,
)

NOW = 1_800_000_000.0
WINDOWS = Windows(cpu_initialization=120.0, initial_readiness_delay=10.0)
TENTH = Tolerance(0.1, 0.1)


def pod(
    number: int,
    *,
    ready: bool = True,
    phase: str = "Running",
    started: float = 3600.0,
    changed: float = 3600.0,
    request: str | None = "1",
    **metadata: Any,
) -> Object:
    """A pod that started, and became ready or not, so many seconds ago."""
    condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": rfc3339(NOW - changed)}
    requests = {"requests": {"cpu": request}} if request else {}
    return {
        "metadata": {"name": f"pod-{number}", **metadata},
        "spec": {"containers": [{"name": "app", "resources": requests}]},
        "status": {"phase": phase, "startTime": rfc3339(NOW - started), "conditions": [condition]},
    }


def pods(count: int, *, unready: Sequence[int] = (), hot: Sequence[int] = (), **more: Any) -> list[Object]:
    """Pods of which some never were ready, and some have just begun."""

    def one(number: int) -> Object:
        if number in hot:
            return pod(number, started=30, changed=5, **more)
        return pod(number, ready=number not in unready, **more)

    return [one(number) for number in range(count)]


def samples(*levels: int) -> dict[str, Sample]:
    """What the first pods use."""
    return {f"pod-{number}": Sample(level, NOW, 60.0) for number, level in enumerate(levels)}


def utilization(
    current: int, found: list[Object], levels: Sequence[int], target: int, tolerance: Tolerance = TENTH
) -> Proposal:
    known = samples(*levels)
    groups = group_pods(found, known, CPU, WINDOWS, NOW)
    return by_utilization(current, target, known, requests_of(found, "", CPU), groups, tolerance)


def average(
    current: int, found: list[Object], levels: Sequence[int], target: int, tolerance: Tolerance = TENTH
) -> Proposal:
    known = samples(*levels)
    return by_average(current, target, known, group_pods(found, known, "", WINDOWS, NOW), tolerance)


FAILED = [pod(2, phase="Failed", ready=False), pod(3, phase="Failed", ready=False)]
DELETED = [pod(number, deletionTimestamp=rfc3339(NOW)) for number in (2, 3)]


@pytest.mark.parametrize(
    ("current", "found", "levels", "target", "expected"),
    [
        pytest.param(3, pods(3), (300, 500, 700), 30, (5, 500, 50), id="more load, more pods"),
        pytest.param(3, pods(3, unready=[0]), (300, 500, 700), 30, (4, 600, 60), id="unready pods take part of it"),
        pytest.param(3, pods(3, hot=[0]), (300, 500, 700), 30, (4, 600, 60), id="so do those that have just begun"),
        pytest.param(3, pods(3, unready=[1, 2]), (400, 500, 700), 30, (3, 400, 40), id="unready pods may take all"),
        pytest.param(3, pods(3, hot=[1, 2]), (400, 500, 700), 30, (3, 400, 40), id="and so may new ones"),
        pytest.param(2, pods(2) + FAILED, (500, 700), 30, (4, 600, 60), id="pods that failed take none"),
        pytest.param(2, pods(2) + DELETED, (500, 700), 30, (4, 600, 60), id="nor do pods that go"),
        pytest.param(5, pods(5), (100, 300, 500, 250, 250), 50, (3, 280, 28), id="less load, fewer pods"),
        pytest.param(
            5, pods(5, unready=[3, 4]), (100, 300, 500, 250, 250), 50, (2, 300, 30), id="unready pods don't count"
        ),
        pytest.param(
            5, pods(5, hot=[3, 4]), (100, 300, 500, 250, 250), 50, (2, 300, 30), id="nor do those that begin"
        ),
        pytest.param(
            5,
            pods(1) + [pod(number, phase="Pending", ready=False) for number in (1, 2, 3, 4)],
            (100,),
            50,
            (1, 100, 10),
            id="pods that wait for nodes don't keep others",
        ),
        pytest.param(4, pods(4), (4000, 9500, 3000, 7000, 3200, 2000), 100, (24, 5875, 587), id="others' metrics"),
        pytest.param(4, pods(4), (400, 95), 100, (3, 247, 24), id="silent pods use all that they request"),
        pytest.param(2, pods(2), (1000,), 100, (2, 1000, 100), id="silent pods change nothing"),
        pytest.param(2, pods(2), (1900,), 100, (2, 1900, 190), id="silent pods may need nothing"),
        pytest.param(2, pods(2), (600,), 100, (2, 600, 60), id="silent pods may need much"),
        pytest.param(3, pods(3, unready=[0]), (100, 450), 50, (3, 450, 45), id="silent and unready pods"),
        pytest.param(3, pods(3, unready=[0]), (100, 2000), 50, (4, 2000, 200), id="more than silent pods can take"),
        pytest.param(4, pods(4, unready=[0]), (100, 100, 100), 50, (3, 100, 10), id="less than silent pods may need"),
        pytest.param(4, pods(4), (1000, 1000), 400, (3, 1000, 100), id="silent pods use what is wanted, if more"),
    ],
)
def test_pods_use_their_share_of_what_they_request(
    current: int, found: list[Object], levels: Sequence[int], target: int, expected: tuple[int, int, int]
) -> None:
    assert utilization(current, found, levels, target) == expected


def test_nothing_changes_within_the_tolerance() -> None:
    found = [pod(0, request="0.9"), pod(1, request="1.0"), pod(2, request="1.1")]
    assert utilization(3, found, (1010, 1030, 1020), 100) == (3, 1020, 102)


def test_each_direction_has_its_tolerance() -> None:
    assert utilization(10, pods(10), [1200] * 10, 100, Tolerance(down=0.1, up=0.3)).replicas == 10
    assert utilization(10, pods(10), [1200] * 10, 100, Tolerance(down=0.3, up=0.1)).replicas == 12
    assert utilization(10, pods(10), [800] * 10, 100, Tolerance(down=0.3, up=0.1)).replicas == 10
    assert utilization(10, pods(10), [1010] * 10, 100, Tolerance(down=0.0, up=0.0)).replicas == 11


def test_counting_unready_pods_never_turns_the_direction_around() -> None:
    # 8 pods are there, 10 are wanted; what 8 use asks for 9 and not for less than there are.
    assert utilization(10, pods(8, unready=[7]), [1300] * 8, 100).replicas == 10


@pytest.mark.parametrize(
    ("current", "found", "levels", "target", "expected"),
    [
        pytest.param(3, pods(3), (20000, 10000, 30000), 15000, (4, 20000), id="more"),
        pytest.param(3, pods(3, unready=[2]), (50000, 10000, 30000), 15000, (6, 30000), id="readiness is for CPU"),
        pytest.param(3, pods(3, hot=[0, 1]), (50000, 10000, 30000), 15000, (6, 30000), id="and so are beginnings"),
        pytest.param(
            3, pods(2) + [pod(2, phase="Pending")], (20000, 20000), 15000, (3, 20000), id="pods that wait take part"
        ),
        pytest.param(5, pods(5), (12000,) * 5, 20000, (3, 12000), id="less"),
        pytest.param(3, pods(3), (20000, 21000, 21000), 20000, (3, 20666), id="near enough"),
        pytest.param(4, pods(4), (4000, 4000), 8000, (3, 4000), id="silent pods have what is wanted"),
        pytest.param(2, pods(2), (9000,), 8000, (2, 9000), id="silent pods have nothing"),
    ],
)
def test_pods_have_so_much_on_average(
    current: int, found: list[Object], levels: Sequence[int], target: int, expected: tuple[int, int]
) -> None:
    assert average(current, found, levels, target)[:2] == expected


@pytest.mark.parametrize(
    ("current", "found", "used", "target", "expected"),
    [
        pytest.param(3, pods(3), 20000, 15000, 4, id="more"),
        pytest.param(5, pods(5, unready=[0, 1]), 50000, 10000, 15, id="ready pods are counted"),
        pytest.param(1, pods(1), 8600, 4400, 2, id="rounded up"),
        pytest.param(3, pods(3, unready=[0, 2]), 8600, 4400, 2, id="one is ready"),
        pytest.param(5, pods(5), 8600, 14334, 3, id="less"),
        pytest.param(3, pods(3), 8600, 8888, 3, id="near enough"),
        pytest.param(0, [], 8600, 4000, 3, id="from none"),
        pytest.param(3, pods(3), 10**30, 1, REPLICAS_MAX, id="no limit but that of numbers"),
    ],
)
def test_one_value_becomes_what_is_wanted(
    current: int, found: list[Object], used: int, target: int, expected: int
) -> None:
    assert by_value(current, target, used, found, TENTH) == (expected, used, None)


@pytest.mark.parametrize(
    ("current", "used", "target", "expected"),
    [(3, 8600, 2150, (4, 2867)), (5, 8600, 2867, (3, 1720)), (3, 8600, 2867, (3, 2867)), (0, 8600, 2150, (4, 8600))],
)
def test_one_value_is_shared_out(current: int, used: int, target: int, expected: tuple[int, int]) -> None:
    assert by_share(current, target, used, TENTH)[:2] == expected


def test_a_value_alone_does_not_say_how_many_pods_are_ready() -> None:
    with pytest.raises(NoReplicas, match="no pods returned by selector"):
        by_value(3, 1000, 8000, [], TENTH)


@pytest.mark.parametrize("level", [(), (500,)])
def test_nothing_follows_from_pods_that_say_nothing_yet(level: tuple[int, ...]) -> None:
    with pytest.raises(NoReplicas, match=r"did not receive metrics for targeted pods \(pods might be unready\)"):
        utilization(1, pods(1, unready=[0]), level, 50)


def test_nothing_follows_from_metrics_of_other_pods() -> None:
    known = {"other": Sample(100, NOW, 60.0)}
    found = pods(1)
    groups = group_pods(found, known, CPU, WINDOWS, NOW)
    with pytest.raises(NoReplicas, match="no metrics returned matched known pods"):
        by_utilization(1, 100, known, requests_of(found, "", CPU), groups, TENTH)


def grouped(one: Object, *, resource: str = CPU, sampled: float = 0.0) -> str:
    """The group of a pod whose metric is so many seconds old."""
    groups = group_pods([one], {name(one): Sample(100, NOW - sampled, 60.0)}, resource, WINDOWS, NOW)
    for group in ("unready", "missing", "ignored"):
        if getattr(groups, group):
            return group
    return "ready" if groups.ready else "none"


def test_the_cpu_of_a_pod_counts_once_a_window_has_passed_since_it_became_ready() -> None:
    assert grouped(pod(0, started=100, changed=61)) == "ready"
    assert grouped(pod(0, started=100, changed=61), sampled=10) == "unready"
    assert grouped(pod(0, ready=False, started=100, changed=61)) == "unready"


def test_after_the_initialisation_a_pod_counts_unless_it_was_never_ready() -> None:
    assert grouped(pod(0, ready=False, started=130, changed=125)) == "unready"
    assert grouped(pod(0, ready=False, started=130, changed=119)) == "ready"


def test_a_pod_that_does_not_say_when_it_started_does_not_count() -> None:
    silent = pod(0)
    del silent["status"]["startTime"]
    assert grouped(silent) == "unready"
    assert grouped({**silent, "status": {"phase": "Running"}}) == "unready"
    assert grouped({**silent, "status": {"phase": "Running"}}, resource="memory") == "ready"


def of_containers(*containers: Object, **spec: Any) -> Object:
    return {"metadata": {"name": "web"}, "spec": {"containers": list(containers), **spec}}


def container(called: str, cpu: str | None = None, **more: Any) -> Object:
    return {"name": called, "resources": {"requests": {"cpu": cpu} if cpu else {"memory": "1Gi"}}, **more}


def test_a_pod_requests_what_its_containers_and_sidecars_do() -> None:
    sidecar, first = container("proxy", "200m", restartPolicy="Always"), container("setup", "4")
    web = of_containers(container("app", "500m"), container("log", "100m"), initContainers=[first, sidecar])
    assert requests_of([web], "", CPU) == {"web": 800}
    assert requests_of([web], "app", CPU) == {"web": 500}
    assert requests_of([web], "proxy", CPU) == {"web": 200}


def test_what_a_pod_requests_as_a_whole_goes_before_what_its_containers_do() -> None:
    web = of_containers(container("app", "500m"), resources={"requests": {"cpu": "2"}})
    assert requests_of([web], "", CPU) == {"web": 2000}
    assert requests_of([web], "app", CPU) == {"web": 500}
    with pytest.raises(NoReplicas, match="missing pod-level request for memory in Pod web"):
        requests_of([web], "", "memory")


def test_a_share_of_what_is_not_requested_is_nothing() -> None:
    web = of_containers(container("app", "500m"), container("log"))
    with pytest.raises(NoReplicas, match="missing request for cpu in container log of Pod web"):
        requests_of([web], "", CPU)
    assert requests_of([web], "app", CPU) == {"web": 500}
    with pytest.raises(NoReplicas, match="container db not found in Pod web"):
        requests_of([web], "db", CPU)
