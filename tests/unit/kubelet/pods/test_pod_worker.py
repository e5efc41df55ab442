"""A pod's life on a node without a kernel, under a clock that the test moves."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from kubelet.pods.pod_worker import TRANSITIONS, State
from kubelet.runtime import RuntimeFailure
from kubelet.volumes import VolumeFailure
from tests.support.fake_node import FakeNode, fake_node
from tests.support.pods import UID, container, pod

SIDECAR = container("proxy", restartPolicy="Always")


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[FakeNode]:
    async with fake_node(tmp_path) as made:
        yield made


async def begin(node: FakeNode, *containers: dict[str, Any], **spec: Any) -> None:
    node.api.put(pod(*containers, **spec))
    await node.settle()


def kills(node: FakeNode) -> list[tuple[str, int]]:
    return [(name, signo) for name, signo, _ in node.runtime.signals]


async def test_a_pod_that_starts_at_once_is_reported_once(node: FakeNode) -> None:
    await begin(node, container("a"), container("b"))
    assert node.status()["phase"] == "Running" and node.status()["podIP"] == "10.244.0.2"
    assert len(node.api.writes) == 1
    assert node.recorder.reasons() == ["Pulled", "Pulled", "Created", "Started", "Created", "Started"] or (
        sorted(node.recorder.reasons()) == ["Created", "Created", "Pulled", "Pulled", "Started", "Started"]
    )


async def test_a_pod_that_takes_longer_is_first_reported_as_being_created(node: FakeNode) -> None:
    node.volumes.slow_seconds = 1.0
    await begin(node)
    assert node.api.writes == []
    await node.pass_(0.3)
    assert node.status()["phase"] == "Pending" and node.waiting() == "ContainerCreating"
    await node.pass_(1)
    assert [status["phase"] for _, status in node.api.writes if "phase" in status] == ["Running"]
    assert len(node.api.writes) <= 3


async def test_what_can_not_be_set_up_is_tried_again_ever_less_often(node: FakeNode) -> None:
    node.volumes.failure = VolumeFailure("FailedMount", "no")
    await begin(node)
    start = node.volumes.tries[0]
    await node.pass_(16)
    assert [round(at - start, 1) for at in node.volumes.tries] == [0, 0.5, 1.5, 3.5, 7.5, 15.5]
    node.volumes.failure = None
    await node.pass_(16)
    assert node.status()["phase"] == "Running"


async def test_a_secret_that_appears_is_not_waited_for_any_longer(node: FakeNode) -> None:
    node.volumes.failure = VolumeFailure("FailedMount", "no")
    await begin(node)
    await node.pass_(10)
    node.volumes.failure = None
    worker = node.worker(UID)
    assert worker is not None
    worker.objects_changed()
    await node.settle()
    assert node.runtime.running() == ["web"]


async def test_a_config_map_that_appears_lets_its_container_start(node: FakeNode) -> None:
    source = {"configMapKeyRef": {"name": "c", "key": "k"}}
    await begin(node, container(env=[{"name": "K", "valueFrom": source}]))
    assert node.waiting() == "CreateContainerConfigError"
    node.objects.config_maps["c"] = {"data": {"k": "v"}}
    worker = node.worker(UID)
    assert worker is not None
    worker.objects_changed()
    await node.settle()
    assert node.runtime.running() == ["web"] and "K=v" in node.runtime.specs[0].config["process"]["env"]


async def test_restarts_follow_at_once_then_after_10_20_and_40_seconds(node: FakeNode) -> None:
    await begin(node)
    waits = []
    for _ in range(7):
        node.runtime.end("web", 1)
        ended = node.clock.now()
        await node.pass_(301)
        waits.append(round(node.runtime.started[-1][2] - ended))
    assert waits == [0, 10, 20, 40, 80, 160, 300]


async def test_a_held_back_container_is_in_crash_loop_back_off_and_ten_quiet_minutes_end_it(node: FakeNode) -> None:
    await begin(node)
    node.runtime.end("web", 3)
    await node.settle()
    assert node.container()["restartCount"] == 1 and "running" in node.container()["state"]
    node.runtime.end("web", 3)
    await node.settle()
    assert node.waiting() == "CrashLoopBackOff"
    message = f"back-off 10s restarting failed container=web pod=web_default({UID})"
    assert node.container()["state"]["waiting"]["message"] == message
    assert node.container()["lastState"]["terminated"]["exitCode"] == 3
    assert node.recorder.reasons().count("BackOff") == 1
    await node.pass_(10)
    assert "running" in node.container()["state"]
    await node.pass_(601)
    node.runtime.end("web", 3)
    await node.settle()
    assert node.container()["restartCount"] == 3 and "running" in node.container()["state"]


async def test_a_restarted_agent_goes_on_holding_back(node: FakeNode) -> None:
    await begin(node)
    node.runtime.end("web", 1)
    await node.settle()
    node.runtime.end("web", 1)
    await node.pass_(1)
    node.restart()
    await node.pass_(1)
    assert node.waiting() == "CrashLoopBackOff" and node.container()["restartCount"] == 1
    await node.pass_(8.1)
    assert node.container()["restartCount"] == 2
    assert [attempt for _, attempt, _ in node.runtime.started] == [0, 1, 2]


async def test_only_the_last_two_runs_of_a_container_are_kept(node: FakeNode) -> None:
    await begin(node)
    for _ in range(4):
        node.runtime.end("web", 1)
        await node.pass_(100)
    assert [state.attempt for state in node.runtime.pods[UID].containers] == [3, 4]


async def test_an_image_is_tried_again_after_10_then_20_seconds(node: FakeNode) -> None:
    await begin(node, container(image="example.org/later"))
    assert node.waiting() == "ErrImagePull" and node.images.pulls == 1
    await node.pass_(5)
    assert node.waiting() == "ImagePullBackOff"
    assert node.recorder.reasons().count("BackOff") == 1
    await node.pass_(5)
    assert node.images.pulls == 2 and node.waiting() == "ErrImagePull"
    node.images.present.add("example.org/later")
    await node.pass_(20)
    assert node.status()["phase"] == "Running"


async def test_a_container_whose_command_is_missing_fails_like_one_that_ended(node: FakeNode) -> None:
    node.runtime.failures["web"] = RuntimeFailure("RunContainerError", "exec: no such file")
    await begin(node, restartPolicy="Never")
    assert node.status()["phase"] == "Failed"
    ended = node.container()["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"], ended["message"]) == ("StartError", 128, "exec: no such file")


async def test_a_command_that_is_missing_ends_in_crash_loop_back_off(node: FakeNode) -> None:
    node.runtime.failures["web"] = RuntimeFailure("RunContainerError", "exec: no such file")
    await begin(node)
    assert node.waiting() == "CrashLoopBackOff" and node.container()["restartCount"] == 1
    del node.runtime.failures["web"]
    await node.pass_(10)
    assert node.status()["phase"] == "Running" and node.container()["restartCount"] == 2


async def test_a_deleted_pod_has_its_grace_period_and_is_then_killed(node: FakeNode) -> None:
    node.runtime.stubborn.add("web")
    await begin(node)
    node.delete(grace_seconds=30)
    await node.pass_(29)
    assert kills(node) == [("web", signal.SIGTERM)] and "web" in node.api.pods
    await node.pass_(1)
    assert kills(node) == [("web", signal.SIGTERM), ("web", signal.SIGKILL)]
    assert "web" not in node.api.pods and node.runtime.pods == {} and node.network.attached == set()
    assert node.volumes.torn_down == [UID]
    final = [status for _, status in node.api.writes if status.get("phase") == "Failed"]
    assert final[-1]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
    assert ("Killing", "Stopping container web") in node.recorder.events
    assert node.worker(UID) is None


@pytest.mark.parametrize("step", [7200.0, -7200.0])
async def test_a_step_of_the_wall_clock_moves_no_grace_period(node: FakeNode, step: float) -> None:
    node.runtime.stubborn.add("web")
    await begin(node)
    node.delete(grace_seconds=30)
    await node.pass_(10)
    node.clock.step(step)
    await node.pass_(19)
    assert kills(node) == [("web", signal.SIGTERM)]
    await node.pass_(1)
    assert kills(node) == [("web", signal.SIGTERM), ("web", signal.SIGKILL)]


@pytest.mark.parametrize("step", [7200.0, -7200.0])
async def test_a_step_of_the_wall_clock_moves_no_back_off_and_no_deadline(node: FakeNode, step: float) -> None:
    await begin(node, activeDeadlineSeconds=60)
    for _ in range(2):
        node.runtime.end("web", 3)
        await node.settle()
    assert node.waiting() == "CrashLoopBackOff"
    node.clock.step(step)
    await node.pass_(9)
    assert node.waiting() == "CrashLoopBackOff"
    await node.pass_(1)
    assert "running" in node.container()["state"]
    node.clock.step(-2 * step)
    await node.pass_(49)
    assert node.status()["phase"] == "Running"
    await node.pass_(5)
    assert node.status()["reason"] == "DeadlineExceeded"


async def test_a_container_that_obeys_ends_its_pod_at_once(node: FakeNode) -> None:
    await begin(node)
    node.delete(grace_seconds=30)
    await node.settle()
    assert "web" not in node.api.pods
    assert [status["phase"] for _, status in node.api.writes] == ["Running", "Succeeded"]


async def test_a_second_deletion_shortens_the_grace_period_and_none_lengthens_it(node: FakeNode) -> None:
    node.runtime.stubborn.add("web")
    await begin(node)
    node.delete(grace_seconds=30)
    await node.pass_(5)
    node.delete(grace_seconds=60)
    await node.pass_(5)
    node.delete(grace_seconds=3)
    await node.pass_(3)
    assert kills(node)[-1] == ("web", signal.SIGKILL)
    assert "web" not in node.api.pods


async def test_even_without_a_grace_period_two_seconds_are_given(node: FakeNode) -> None:
    node.runtime.stubborn.add("web")
    await begin(node)
    node.delete(grace_seconds=0)
    await node.pass_(1.9)
    assert kills(node) == [("web", signal.SIGTERM)]
    await node.pass_(0.1)
    assert kills(node)[-1] == ("web", signal.SIGKILL)


async def test_the_pre_stop_hook_runs_first_and_takes_from_the_grace_period(node: FakeNode) -> None:
    node.runtime.stubborn.add("web")
    await begin(node, container(lifecycle={"preStop": {"sleep": {"seconds": 8}}}))
    node.delete(grace_seconds=10)
    await node.pass_(7)
    assert kills(node) == []
    await node.pass_(1)
    assert kills(node) == [("web", signal.SIGTERM)]
    await node.pass_(2)
    assert kills(node)[-1] == ("web", signal.SIGKILL)


async def test_a_hook_that_hangs_is_cut_off_with_the_grace_period(node: FakeNode) -> None:
    await begin(node, container(lifecycle={"preStop": {"sleep": {"seconds": 1000}}}))
    node.delete(grace_seconds=10)
    await node.pass_(10)
    assert kills(node) == [("web", signal.SIGTERM)]


async def test_a_command_that_outlives_its_container_has_failed_as_a_hook(node: FakeNode) -> None:
    node.runtime.hangs = True
    node.runtime.stubborn.add("web")
    await begin(node, container(lifecycle={"preStop": {"exec": {"command": ["drain"]}}}))
    node.delete(grace_seconds=10)
    await node.pass_(11)
    assert kills(node) == [("web", signal.SIGTERM)] and "FailedPreStopHook" not in node.recorder.reasons()
    await node.pass_(1.1)
    assert kills(node)[-1] == ("web", signal.SIGKILL) and node.api.pods == {}
    assert node.recorder.reasons().count("FailedPreStopHook") == 1


async def test_a_hook_may_have_its_container_end_by_itself(node: FakeNode) -> None:
    await begin(node, container(lifecycle={"preStop": {"sleep": {"seconds": 5}}}))
    node.delete(grace_seconds=10)
    await node.pass_(1)
    node.runtime.end("web", 0)
    await node.settle()
    assert node.api.pods == {} and "FailedPreStopHook" not in node.recorder.reasons()


async def test_a_probe_may_say_how_long_its_container_is_given_to_end(node: FakeNode) -> None:
    node.runtime.answer = lambda argv: 1
    node.runtime.stubborn.add("web")
    probe = {"exec": {"command": ["check"]}, "failureThreshold": 1, "terminationGracePeriodSeconds": 5}
    await begin(node, container(livenessProbe=probe), terminationGracePeriodSeconds=500)
    await node.pass_(5.1)
    assert kills(node)[:2] == [("web", signal.SIGTERM), ("web", signal.SIGKILL)]
    assert node.container()["restartCount"] == 1


async def test_a_failing_startup_probe_restarts_the_container_and_says_so(node: FakeNode) -> None:
    node.runtime.answer = lambda argv: 1
    probe = {"exec": {"command": ["check"]}, "failureThreshold": 3, "periodSeconds": 2}
    await begin(node, container(startupProbe=probe))
    await node.pass_(3.9)
    assert node.container()["restartCount"] == 0 and node.container()["started"] is False
    await node.pass_(0.2)
    assert node.container()["restartCount"] == 1
    assert ("Killing", "Container web failed startup probe, will be restarted") in node.recorder.events


async def test_while_a_pod_ends_it_is_asked_for_its_readiness_and_not_whether_it_lives(node: FakeNode) -> None:
    node.runtime.stubborn.add("web")
    probes = {kind: {"exec": {"command": [kind]}, "periodSeconds": 1, "failureThreshold": 1} for kind in ("l", "r")}
    await begin(node, container(livenessProbe=probes["l"], readinessProbe=probes["r"]))
    assert node.container()["ready"] is True
    node.delete(grace_seconds=30)
    await node.settle()
    node.runtime.answer = lambda argv: 1
    await node.pass_(5)
    assert node.container()["ready"] is False
    said = [message for reason, message in node.recorder.events if reason == "Unhealthy"]
    assert said and all(message.startswith("Readiness probe failed") for message in said)


async def test_a_deadline_may_be_set_and_come_nearer_while_the_pod_runs(node: FakeNode) -> None:
    await begin(node)
    await node.pass_(60)
    for seconds in (1000, 70):
        old = node.api.pods["web"]
        node.api.put({**old, "spec": {**old["spec"], "activeDeadlineSeconds": seconds}})
        await node.settle()
        assert node.status()["phase"] == "Running"
    await node.pass_(10.1)
    assert node.status()["phase"] == "Failed" and node.status()["reason"] == "DeadlineExceeded"


async def test_a_container_that_had_started_need_not_start_again_for_a_new_node_agent(node: FakeNode) -> None:
    ready = {"exec": {"command": ["ready"]}, "periodSeconds": 1}
    started = {"exec": {"command": ["started"]}, "periodSeconds": 1, "failureThreshold": 1}
    node.runtime.answer = lambda argv: int(argv[0] == "ready")
    await begin(node, container(startupProbe=started, readinessProbe=ready))
    await node.pass_(5)
    assert node.container()["started"] is True and node.container()["ready"] is False
    node.runtime.answer = lambda argv: 1
    node.restart()
    await node.pass_(5)
    assert node.container()["started"] is True and node.container()["restartCount"] == 0


async def test_sidecars_end_last_and_in_reverse_order(node: FakeNode) -> None:
    first, second = SIDECAR, container("log", restartPolicy="Always")
    await begin(node, container(), initContainers=[first, second])
    assert node.runtime.running() == ["proxy", "log", "web"]
    node.runtime.stubborn.add("web")
    node.delete(grace_seconds=30)
    await node.pass_(20)
    assert kills(node) == [("web", signal.SIGTERM)]
    node.runtime.end("web", 0)
    await node.settle()
    assert [name for name, _ in kills(node)] == ["web", "log", "proxy"]


async def test_a_pod_without_a_name_in_the_api_any_more_is_killed_and_not_reported(node: FakeNode) -> None:
    await begin(node)
    writes = len(node.api.writes)
    node.api.remove("web")
    await node.settle()
    assert node.runtime.pods == {} and node.worker(UID) is None and len(node.api.writes) == writes


async def test_a_pod_that_is_deleted_before_it_could_start_goes_at_once(node: FakeNode) -> None:
    node.volumes.failure = VolumeFailure("FailedMount", "no")
    await begin(node)
    await node.pass_(1)
    node.delete(grace_seconds=30)
    await node.settle()
    assert "web" not in node.api.pods and node.runtime.pods == {}


async def test_a_pull_is_called_off_by_the_deletion_of_its_pod(node: FakeNode) -> None:
    await begin(node, container(image="example.org/later"))
    node.delete(grace_seconds=30)
    await node.settle()
    assert "web" not in node.api.pods


async def test_a_finished_pod_gives_everything_back_and_stays_in_the_api(node: FakeNode) -> None:
    await begin(node, restartPolicy="OnFailure")
    node.runtime.end("web", 0)
    await node.settle()
    assert node.status()["phase"] == "Succeeded"
    assert node.runtime.pods == {} and node.network.attached == set() and node.volumes.torn_down == [UID]
    node.restart()
    await node.pass_(5)
    assert node.status()["phase"] == "Succeeded" and node.runtime.started[1:] == []


async def test_a_pod_may_be_active_only_as_long_as_it_says(node: FakeNode) -> None:
    await begin(node, activeDeadlineSeconds=60)
    await node.pass_(59)
    assert node.status()["phase"] == "Running"
    await node.pass_(2)
    assert (node.status()["phase"], node.status()["reason"]) == ("Failed", "DeadlineExceeded")
    assert node.runtime.pods == {}


async def test_a_pod_that_does_not_fit_beside_the_others_is_refused(node: FakeNode) -> None:
    large = container(resources={"requests": {"cpu": "3"}})
    await begin(node, large)
    node.api.put(pod(large, name="second", uid=UID.replace("1", "2")))
    await node.settle()
    assert node.status("second")["phase"] == "Failed" and node.status("second")["reason"] == "OutOfcpu"
    assert "OutOfcpu" in node.recorder.reasons()
    assert node.runtime.running() == ["web"]


async def test_pods_wait_until_the_node_is_known_and_has_its_network(node: FakeNode) -> None:
    node.node, known = None, node.node
    node.network_ready = False
    await begin(node)
    assert node.runtime.pods == {}
    node.node = known
    node.workers.node_changed()
    await node.pass_(1)
    assert node.runtime.pods == {} and "NetworkNotReady" in node.recorder.reasons()
    node.network_ready = True
    node.workers.node_changed()
    await node.settle()
    assert node.runtime.running() == ["web"]


async def test_a_pod_on_the_nodes_own_network_does_not_wait_for_the_pods_network(node: FakeNode) -> None:
    node.network_ready = False
    await begin(node, hostNetwork=True)
    assert node.runtime.running() == ["web"] and node.status()["podIP"] == "10.88.0.2"


async def test_a_lost_sandbox_is_made_anew_with_its_init_containers(node: FakeNode) -> None:
    await begin(node, container(), initContainers=[container("setup")])
    node.runtime.end("setup", 0)
    await node.settle()
    node.runtime.lose_supervisor(UID)
    await node.settle()
    assert "SandboxChanged" in node.recorder.reasons()
    assert node.runtime.running() == ["setup"]
    node.runtime.end("setup", 0)
    await node.settle()
    assert node.container()["restartCount"] == 1
    assert node.container()["lastState"]["terminated"]["exitCode"] == 137


async def test_a_pod_whose_sandbox_was_lost_is_pending_until_it_is_initialized_again(node: FakeNode) -> None:
    await begin(node, initContainers=[container("setup"), SIDECAR, container("last")])
    node.runtime.end("setup", 0)
    await node.settle()
    node.runtime.end("last", 0)
    await node.pass_(1)
    assert node.status()["phase"] == "Running"
    node.runtime.lose_supervisor(UID)
    phases = []
    for name in ("setup", "last"):
        await node.pass_(1)
        phases.append(node.status()["phase"])
        node.runtime.end(name, 0)
    await node.pass_(1)
    assert phases == ["Pending", "Pending"] and node.status()["phase"] == "Running"
    assert [entry["restartCount"] for entry in node.status()["initContainerStatuses"]] == [1, 1, 1]


async def test_what_has_succeeded_is_not_run_again_in_a_new_sandbox(node: FakeNode) -> None:
    await begin(node, container("a"), container("b"), restartPolicy="OnFailure")
    node.runtime.end("a", 0)
    await node.settle()
    node.runtime.lose_supervisor(UID)
    await node.settle()
    assert node.runtime.running() == ["b"]
    node.runtime.end("b", 0)
    await node.settle()
    assert node.status()["phase"] == "Succeeded"


async def test_a_lost_pod_that_never_restarts_has_failed(node: FakeNode) -> None:
    await begin(node, restartPolicy="Never")
    node.runtime.lose_supervisor(UID)
    await node.settle()
    assert node.status()["phase"] == "Failed" and node.runtime.pods == {}


async def test_a_failing_liveness_probe_restarts_the_container_after_its_threshold(node: FakeNode) -> None:
    probe = {"exec": {"command": ["check"]}, "periodSeconds": 10, "failureThreshold": 3, "initialDelaySeconds": 5}
    node.runtime.answer = lambda argv: 1
    await begin(node, container(livenessProbe=probe))
    await node.pass_(24)
    assert kills(node) == []
    await node.pass_(2)
    assert kills(node) == [("web", signal.SIGTERM)] and node.container()["restartCount"] == 1
    assert ("Killing", "Container web failed liveness probe, will be restarted") in node.recorder.events
    assert node.recorder.reasons().count("Unhealthy") == 3


async def test_readiness_follows_its_probe_and_never_restarts(node: FakeNode) -> None:
    probe = {"exec": {"command": ["check"]}, "periodSeconds": 5, "failureThreshold": 2, "successThreshold": 2}
    await begin(node, container(readinessProbe=probe))
    assert node.container()["ready"] is False
    await node.pass_(5)
    assert node.container()["ready"] is True
    node.runtime.answer = lambda argv: 1
    await node.pass_(5)
    assert node.container()["ready"] is True
    await node.pass_(5)
    assert node.container()["ready"] is False and kills(node) == []


async def test_other_probes_wait_for_the_startup_probe(node: FakeNode) -> None:
    spec = {"periodSeconds": 1, "failureThreshold": 30}
    probes = {
        kind: {**spec, "exec": {"command": [kind]}} for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    node.runtime.answer = lambda argv: 1
    await begin(node, container(**probes))
    await node.pass_(5)
    assert {argv[0] for _, argv in node.runtime.commands} == {"startupProbe"}
    assert node.container()["started"] is False
    node.runtime.answer = lambda argv: 0
    await node.pass_(2)
    assert {argv[0] for _, argv in node.runtime.commands[-2:]} == {"livenessProbe", "readinessProbe"}
    assert node.container()["started"] is True and node.container()["ready"] is True


async def test_a_container_that_was_ready_stays_so_over_a_restart_of_the_agent(node: FakeNode) -> None:
    probe = {"exec": {"command": ["check"]}, "periodSeconds": 5, "failureThreshold": 1}
    await begin(node, container(readinessProbe=probe))
    await node.pass_(5)
    writes = len(node.api.writes)
    node.restart()
    await node.pass_(1)
    assert node.container()["ready"] is True and len(node.api.writes) == writes


async def test_a_changed_image_restarts_its_container(node: FakeNode) -> None:
    await begin(node)
    node.images.present.add("localhost/other")
    known = node.api.pods["web"]
    spec = {**known["spec"], "containers": [container(image="localhost/other")]}
    node.api.put({**known, "spec": spec})
    await node.settle()
    assert node.container()["image"] == "localhost/other:latest" and node.container()["restartCount"] == 1


async def test_a_changed_image_restarts_its_container_even_in_a_pod_that_never_restarts(node: FakeNode) -> None:
    node.images.present.add("localhost/other")
    await begin(node, restartPolicy="Never")
    await node.pass_(60)
    changed = node.api.pods["web"]
    node.api.put({**changed, "spec": {**changed["spec"], "containers": [container(image="localhost/other")]}})
    await node.settle()
    assert ("Killing", "Container web definition changed, will be restarted") in node.recorder.events
    assert node.runtime.running() == ["web"] and node.container()["restartCount"] == 1
    assert "terminated" in node.container()["lastState"]
    assert {status["phase"] for _, status in node.api.writes if "phase" in status} == {"Running"}
    node.runtime.end("web", 0)
    await node.settle()
    assert node.status()["phase"] == "Succeeded"


async def test_a_changed_image_is_tried_at_once_however_long_the_container_was_held_back(node: FakeNode) -> None:
    node.images.present.add("localhost/other")
    await begin(node)
    for _ in range(3):
        node.runtime.end("web", 1)
        await node.pass_(20)
    node.runtime.end("web", 1)
    await node.pass_(1)
    assert node.waiting() == "CrashLoopBackOff" and node.runtime.running() == []
    changed = node.api.pods["web"]
    node.api.put({**changed, "spec": {**changed["spec"], "containers": [container(image="localhost/other")]}})
    await node.settle()
    assert node.runtime.running() == ["web"]
    node.runtime.end("web", 1)
    await node.pass_(1)
    assert "back-off 10s" in node.container()["state"]["waiting"]["message"]


async def test_an_image_that_is_changed_while_no_agent_looks_is_noticed_by_the_next(node: FakeNode) -> None:
    node.images.present.add("localhost/other")
    await begin(node, container("a"), container("b"))
    changed = node.api.pods["web"]
    mains = [container("a", image="localhost/other"), container("b")]
    node.api.pods["web"] = {**changed, "spec": {**changed["spec"], "containers": mains}}
    node.restart()
    await node.pass_(1)
    assert [(name, attempt) for name, attempt, _ in node.runtime.started] == [("a", 0), ("b", 0), ("a", 1)]
    assert node.runtime.specs[-1].image == "localhost/other"


async def test_an_init_container_ends_with_the_image_that_it_began_with(node: FakeNode) -> None:
    await begin(node, initContainers=[container("setup")])
    await node.pass_(60)
    changed = node.api.pods["web"]
    newer = [container("setup", image="localhost/other")]
    node.api.put({**changed, "spec": {**changed["spec"], "initContainers": newer}})
    await node.settle()
    node.runtime.end("setup", 0)
    await node.settle()
    assert node.runtime.running() == ["web"] and node.status()["phase"] == "Running"
    assert node.status()["initContainerStatuses"][0]["restartCount"] == 0


async def test_a_pod_of_containers_with_policies_of_their_own_runs_until_none_is_restarted(node: FakeNode) -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    ruled = container("ruled", restartPolicy="Never", restartPolicyRules=rules)
    await begin(node, ruled, container("once", restartPolicy="Never"))
    node.runtime.end("once", 1)
    node.runtime.end("ruled", 42)
    await node.settle()
    assert node.runtime.running() == ["ruled"] and node.status()["phase"] == "Running"
    node.runtime.end("ruled", 0)
    await node.settle()
    assert node.status()["phase"] == "Failed"


async def test_orphans_are_ended(node: FakeNode) -> None:
    await begin(node)
    sandboxes = await node.runtime.sandboxes()
    node.api.pods.clear()
    node.restart()
    await node.settle()
    node.runtime.stubborn.add("web")
    node.workers.end_orphans(sandboxes)
    await node.pass_(2)
    assert kills(node) == [("web", signal.SIGTERM), ("web", signal.SIGKILL)]
    assert node.runtime.pods == {} and node.volumes.torn_down == [UID]


async def test_a_step_that_fails_is_repeated_later_and_ends_nothing_else(node: FakeNode) -> None:
    async def refuse(uid: str) -> None:
        raise RuntimeFailure("RemoveError", "busy")

    remove, node.runtime.remove_sandbox = node.runtime.remove_sandbox, refuse  # type: ignore[method-assign]
    await begin(node)
    node.delete(grace_seconds=1)
    await node.pass_(1)
    assert "web" in node.api.pods
    node.runtime.remove_sandbox = remove  # type: ignore[method-assign]
    await node.pass_(60)
    assert "web" not in node.api.pods


def test_every_state_can_be_reached_and_left() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {aim for aims in TRANSITIONS.values() for aim in aims} == set(State) - {State.PENDING}
    assert [state for state in State if not TRANSITIONS[state]] == [State.GONE]
