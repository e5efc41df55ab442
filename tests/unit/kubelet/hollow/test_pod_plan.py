"""What hollow pods would be doing, moment by moment."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from apimachinery.meta import Object, find_condition
from kubelet.hollow import pod_plan
from kubelet.hollow.pod_plan import HollowPod, Moment
from kubelet.hollow.settings import Behaviour
from kubelet.pods.status_writer import patch_for
from tests.support.pods import NOW, container, pod

IP, HOST_IP = "100.64.0.2", "198.18.0.1"


class Life:
    """One pod on one node, from one moment at which something happens by itself to the next."""

    def __init__(self, obj: Object, **behaviour: Any) -> None:
        self.pod = obj
        self.behaviour = Behaviour(**behaviour)
        self.time = 0.0
        self.wait = 0.0
        self.state: HollowPod | None = None
        self.look()

    @property
    def now(self) -> Moment:
        return Moment(NOW + self.time, 1000.0 + self.time)

    def look(self) -> None:
        """Bring the pod to the present, and have the API know its status."""
        state = self.state or pod_plan.taken_on(self.pod, self.behaviour, self.now)
        self.state, self.wait = pod_plan.advance(self.pod, state, self.now)
        status = pod_plan.status_of(self.pod, self.state, pod_ip=IP, host_ip=HOST_IP, now=self.now)
        told = {condition["type"] for condition in status["conditions"]}
        known = self.pod["status"].get("conditions") or []
        status["conditions"] += [condition for condition in known if condition["type"] not in told]
        self.pod = {**self.pod, "status": {**self.pod["status"], **status}}

    def pass_(self, seconds: float) -> None:
        """Let time go by."""
        self.time += seconds
        self.look()

    def moments(self) -> Iterator[float]:
        """Go on from event to event, as long as there are any."""
        while self.wait < math.inf:
            self.pass_(self.wait)
            yield self.time

    def delete(self, grace_seconds: int = 30) -> None:
        """Somebody deletes the pod."""
        asked = {"deletionTimestamp": "2027-01-15T08:00:00Z", "deletionGracePeriodSeconds": grace_seconds}
        self.pod = {**self.pod, "metadata": {**self.pod["metadata"], **asked}}
        self.look()

    @property
    def phase(self) -> str:
        return str(self.pod["status"]["phase"])

    @property
    def ready(self) -> bool:
        return (find_condition(self.pod, "Ready") or {})["status"] == "True"

    def container(self, number: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = self.pod["status"]["containerStatuses"][number]
        return found


def test_a_pod_is_created_then_runs_then_is_ready() -> None:
    life = Life(pod(), start_seconds=2, ready_seconds=3)
    assert life.phase == "Pending" and "podIP" not in life.pod["status"]
    assert life.container()["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert life.pod["status"]["hostIP"] == HOST_IP
    moments = life.moments()
    assert next(moments) == 2
    assert life.phase == "Running" and not life.ready and life.pod["status"]["podIP"] == IP
    assert next(moments) == 5
    assert life.ready and life.wait == math.inf and pod_plan.is_settled(life.pod)


def test_without_delays_a_pod_runs_and_is_ready_at_once() -> None:
    life = Life(pod(container("web"), container("log")))
    assert life.ready and [entry["name"] for entry in life.pod["status"]["containerStatuses"]] == ["web", "log"]
    assert life.wait == math.inf


def test_init_containers_have_succeeded_and_sidecars_run_on() -> None:
    inits = [container("setup"), container("proxy", restartPolicy="Always")]
    life = Life(pod(initContainers=inits, restartPolicy="Never"), run_seconds=5)
    setup, proxy = life.pod["status"]["initContainerStatuses"]
    assert setup["state"]["terminated"]["reason"] == "Completed" and "running" in proxy["state"]
    assert life.phase == "Running" and life.ready
    assert list(life.moments()) == [5]
    assert life.phase == "Succeeded"


def test_a_jobs_pod_ends_after_its_time_with_its_code() -> None:
    for code, phase in ((0, "Succeeded"), (3, "Failed")):
        life = Life(pod(restartPolicy="Never"), run_seconds=4, exit_code=code)
        assert not pod_plan.is_settled(life.pod)
        assert list(life.moments()) == [4]
        assert life.phase == phase and life.container()["state"]["terminated"]["exitCode"] == code
        assert pod_plan.is_settled(life.pod)


def test_a_container_that_fails_comes_again_and_is_held_back_longer_each_time() -> None:
    life = Life(pod(restartPolicy="OnFailure"), run_seconds=1, exit_code=1)
    starts = []
    for moment in life.moments():
        if "running" in life.container()["state"]:
            starts.append((moment, life.container()["restartCount"]))
        if len(starts) == 3:
            break
        if life.container()["restartCount"] and "waiting" in life.container()["state"]:
            assert life.container()["state"]["waiting"]["reason"] == "CrashLoopBackOff"
            assert life.container()["lastState"]["terminated"]["exitCode"] == 1
    assert starts == [(1, 1), (12, 2), (33, 3)]


def test_a_deleted_pod_takes_its_time_but_not_more_than_its_grace() -> None:
    for stop_seconds, grace_seconds, ends, code in ((5, 30, 5, 0), (60, 30, 30, 137), (0, 30, 0, 0)):
        life = Life(pod(), stop_seconds=stop_seconds)
        life.delete(grace_seconds)
        assert [*life.moments()][-1:] == ([ends] if ends else [])
        assert life.state is not None and life.state.stopped
        assert life.container()["state"]["terminated"]["exitCode"] == code
        assert life.phase == "Failed" if code else life.phase == "Succeeded"


def test_a_shorter_grace_counts_from_when_the_deletion_was_first_seen() -> None:
    life = Life(pod(), stop_seconds=60)
    life.delete(30)
    life.pass_(8)
    life.delete(10)
    assert [*life.moments()] == [10]


def test_a_pod_that_never_started_is_given_up_at_once() -> None:
    life = Life(pod(), start_seconds=math.inf, stop_seconds=5)
    assert life.wait == math.inf and not pod_plan.is_settled(life.pod)
    life.delete()
    assert life.state is not None and life.state.stopped and life.phase == "Failed"


def test_another_process_takes_over_what_the_first_one_has_told() -> None:
    life = Life(pod(restartPolicy="Never"), run_seconds=10)
    life.pass_(4)
    life.state = None
    before = life.pod["status"]
    life.look()
    assert patch_for(before, life.pod["status"]) is None
    assert [*life.moments()] == [10]
    assert life.phase == "Succeeded"


def test_a_pod_that_others_call_not_ready_or_change_is_not_settled() -> None:
    life = Life(pod())
    conditions = [
        {**condition, "status": "False"} if condition["type"] == "Ready" else condition
        for condition in life.pod["status"]["conditions"]
    ]
    assert not pod_plan.is_settled({**life.pod, "status": {**life.pod["status"], "conditions": conditions}})
    assert not pod_plan.is_settled({**life.pod, "metadata": {**life.pod["metadata"], "generation": 2}})
    gated = pod(readinessGates=[{"conditionType": "example.com/gate"}])
    assert not Life(gated).ready and not pod_plan.is_settled(Life(gated).pod)
