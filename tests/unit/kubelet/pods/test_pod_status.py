"""What the API is told of a pod: phases, conditions and container states, as Kubernetes' documents have them."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object, find_condition
from apimachinery.time import rfc3339
from kubelet.containers.container_status import ContainerFacts, Waiting
from kubelet.pods.pod_status import PodFacts, Verdict, pod_status, rejected
from kubelet.runtime import ContainerState
from tests.support.pods import NOW, container, exited, pod, running

SETUP = container("setup")
SIDECAR = container("proxy", restartPolicy="Always")
EVERYBODY = frozenset({"web", "a", "b", "setup", "proxy"})


def facts(*runs: ContainerState, **more: Any) -> PodFacts:
    """What is known when these are the runs (newest first), all of them started and ready."""
    grouped: dict[str, list[ContainerState]] = {}
    for run in runs:
        grouped.setdefault(run.name, []).append(run)
    containers = {"started": EVERYBODY, "ready": EVERYBODY, **more.pop("containers", {})}
    return PodFacts(ContainerFacts(runs=grouped, **containers), **{"sandbox_ready": True, **more})


def status_of(obj: Object, known: PodFacts) -> dict[str, Any]:
    return pod_status(obj, known, NOW)


@pytest.mark.parametrize(
    ("policy", "runs", "phase"),
    [
        ("Always", [], "Pending"),
        ("Always", [running("a")], "Pending"),
        ("Always", [running("a"), running("b")], "Running"),
        ("Always", [running("a"), exited(1, "b")], "Running"),
        ("Always", [exited(0, "a"), exited(0, "b")], "Running"),
        ("OnFailure", [exited(0, "a"), exited(0, "b")], "Succeeded"),
        ("OnFailure", [exited(0, "a"), exited(1, "b")], "Running"),
        ("OnFailure", [running("a"), exited(0, "b")], "Running"),
        ("Never", [exited(0, "a"), exited(0, "b")], "Succeeded"),
        ("Never", [exited(0, "a"), exited(1, "b")], "Failed"),
        ("Never", [running("a"), exited(1, "b")], "Running"),
    ],
)
def test_the_phase_of_a_pod_of_two_containers(policy: str, runs: list[ContainerState], phase: str) -> None:
    pair = pod(container("a"), container("b"), restartPolicy=policy)
    assert status_of(pair, facts(*runs))["phase"] == phase


@pytest.mark.parametrize(
    ("policy", "runs", "phase"),
    [
        ("Always", [], "Pending"),
        ("Always", [running("setup")], "Pending"),
        ("Always", [exited(0, "setup")], "Pending"),
        ("Always", [exited(1, "setup")], "Pending"),
        ("Never", [exited(1, "setup")], "Failed"),
        ("Always", [exited(0, "setup"), running()], "Running"),
        ("Never", [exited(0, "setup"), exited(0)], "Succeeded"),
    ],
)
def test_the_phase_of_a_pod_with_an_init_container(policy: str, runs: list[ContainerState], phase: str) -> None:
    assert status_of(pod(initContainers=[SETUP], restartPolicy=policy), facts(*runs))["phase"] == phase


@pytest.mark.parametrize(
    ("runs", "phase"),
    [
        ([running("proxy")], "Pending"),
        ([running("proxy"), running()], "Running"),
        ([running("proxy"), exited(0)], "Running"),
        ([exited(0, "proxy"), exited(0)], "Succeeded"),
    ],
)
def test_a_pod_runs_until_its_sidecars_have_stopped(runs: list[ContainerState], phase: str) -> None:
    with_sidecar = pod(initContainers=[SIDECAR], restartPolicy="Never")
    assert status_of(with_sidecar, facts(*runs))["phase"] == phase


def test_an_ephemeral_container_is_told_of_and_changes_nothing_else() -> None:
    looked_into = pod(ephemeralContainers=[container("debugger")])
    ends = facts(running(), exited(3, "debugger"))
    (entry,) = status_of(looked_into, ends)["ephemeralContainerStatuses"]
    assert (entry["state"]["terminated"]["exitCode"], entry["ready"], "started" in entry) == (3, False, False)
    for known in (facts(running()), facts(running(), running("debugger")), ends):
        status = status_of(looked_into, known)
        ready = find_condition(status["conditions"], "Ready")
        assert ready is not None and (status["phase"], ready["status"]) == ("Running", "True")


def test_a_crash_looping_container_waits_with_its_last_end_beside_and_the_pod_still_runs() -> None:
    held = {"waiting": {"web": Waiting("CrashLoopBackOff", "back-off 10s restarting")}}
    status = status_of(pod(), facts(exited(1, attempt=3), containers=held))
    entry = status["containerStatuses"][0]
    assert status["phase"] == "Running"
    assert entry["state"] == {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"}}
    assert entry["lastState"]["terminated"]["exitCode"] == 1
    assert (entry["restartCount"], entry["ready"], entry["started"]) == (3, False, False)


def test_a_container_that_has_not_been_started_waits_for_its_creation() -> None:
    entry = status_of(pod(), facts())["containerStatuses"][0]
    assert entry["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert (entry["restartCount"], entry["image"], entry["imageID"]) == (0, "localhost/host", "")
    assert "containerID" not in entry


def test_containers_of_a_pod_with_init_containers_wait_for_its_initialization() -> None:
    status = status_of(pod(initContainers=[SETUP]), facts(running("setup")))
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    assert find_condition(status["conditions"], "Initialized") == {
        "type": "Initialized",
        "status": "False",
        "reason": "ContainersNotInitialized",
        "message": "containers with incomplete status: [setup]",
        "lastTransitionTime": rfc3339(NOW),
        "observedGeneration": 1,
    }


def test_a_container_whose_image_is_missing_says_so() -> None:
    why = {"waiting": {"web": Waiting("ImagePullBackOff", 'Back-off pulling image "nope"')}}
    entry = status_of(pod(), facts(containers=why))["containerStatuses"][0]
    assert entry["state"]["waiting"] == {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "nope"'}


@pytest.mark.parametrize(
    ("run", "reason", "code"),
    [
        (exited(0), "Completed", 0),
        (exited(3), "Error", 3),
        (exited(137, oom_killed=True), "OOMKilled", 137),
    ],
)
def test_a_terminated_container_says_why(run: ContainerState, reason: str, code: int) -> None:
    said = {"messages": {"web-0": "that was that"}}
    entry = status_of(pod(restartPolicy="Never"), facts(run, containers=said))["containerStatuses"][0]
    assert entry["state"]["terminated"] == {
        "exitCode": code,
        "reason": reason,
        "message": "that was that",
        "startedAt": rfc3339(NOW - 60),
        "finishedAt": rfc3339(NOW - 1),
        "containerID": "wherry://web-0",
    }


def test_a_running_container_is_started_and_ready_and_shows_its_resources() -> None:
    resources = {"requests": {"cpu": "100m"}, "limits": {"cpu": "200m"}}
    mounted = container(resources=resources, volumeMounts=[{"name": "v", "mountPath": "/v"}])
    entry = status_of(pod(mounted), facts(running()))["containerStatuses"][0]
    assert entry["state"] == {"running": {"startedAt": rfc3339(NOW - 60)}}
    assert (entry["ready"], entry["started"], entry["containerID"]) == (True, True, "wherry://web-0")
    assert entry["resources"] == resources and entry["allocatedResources"] == {"cpu": "100m"}
    assert entry["volumeMounts"] == [{"name": "v", "mountPath": "/v"}]


def test_the_last_words_of_all_containers_share_what_a_pod_may_say() -> None:
    four = [container(name) for name in ("a", "b", "c", "d")]
    runs = [exited(1, entry["name"]) for entry in four]
    words = {run.id: "ä" * 2048 for run in runs}
    status = status_of(pod(*four, restartPolicy="Never"), facts(*runs, containers={"messages": words}))
    said = [entry["state"]["terminated"]["message"] for entry in status["containerStatuses"]]
    assert [len(text.encode()) for text in said] == [3072] * 4
    few = status_of(pod(four[0], restartPolicy="Never"), facts(runs[0], containers={"messages": words}))
    assert few["containerStatuses"][0]["state"]["terminated"]["message"] == words[runs[0].id]


def test_mounts_are_shown_whatever_the_container_does_and_the_user_once_it_has_run() -> None:
    mounted = pod(container(volumeMounts=[{"name": "v", "mountPath": "/v"}]), restartPolicy="Never")
    shown = [{"name": "v", "mountPath": "/v"}]
    users = {"users": {"web": {"linux": {"uid": 5, "gid": 6, "supplementalGroups": [6]}}}}
    assert status_of(mounted, facts())["containerStatuses"][0]["volumeMounts"] == shown
    for run in (running(), exited(0)):
        entry = status_of(mounted, facts(run, containers=users))["containerStatuses"][0]
        assert entry["volumeMounts"] == shown and entry["user"]["linux"]["uid"] == 5


def test_a_container_whose_post_start_hook_goes_on_still_waits() -> None:
    status = status_of(pod(), facts(running(), containers={"starting": frozenset({"web"})}))
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert status["phase"] == "Pending"


def test_the_run_before_shows_as_the_last_state() -> None:
    entry = status_of(pod(), facts(running(attempt=1), exited(7)))["containerStatuses"][0]
    assert entry["lastState"]["terminated"]["exitCode"] == 7


def test_a_restarted_node_agent_keeps_the_last_state_that_only_the_api_knows() -> None:
    known = pod()
    past = {"terminated": {"exitCode": 9}}
    known["status"]["containerStatuses"] = [
        {"name": "web", "state": {"running": {}}, "lastState": past, "containerID": "wherry://web-1"}
    ]
    assert status_of(known, facts(running(attempt=1)))["containerStatuses"][0]["lastState"] == past


def test_a_container_that_was_lost_while_running_counts_as_a_restart() -> None:
    known = pod()
    known["status"]["containerStatuses"] = [{"name": "web", "state": {"running": {}}, "restartCount": 2}]
    status = status_of(known, facts(sandbox_ready=False))
    entry = status["containerStatuses"][0]
    assert entry["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert entry["restartCount"] == 3
    assert status["phase"] == "Running"


def test_a_lost_pod_that_never_restarts_has_failed() -> None:
    known = pod(restartPolicy="Never")
    known["status"]["containerStatuses"] = [{"name": "web", "state": {"running": {}}, "restartCount": 0}]
    assert status_of(known, facts(sandbox_ready=False))["phase"] == "Failed"


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {entry["type"]: (entry["status"], entry.get("reason", "")) for entry in status["conditions"]}


def test_the_conditions_of_a_pod_on_its_way() -> None:
    assert conditions(status_of(pod(), facts(sandbox_ready=False))) == {
        "PodReadyToStartContainers": ("False", ""),
        "Initialized": ("True", ""),
        "Ready": ("False", "ContainersNotReady"),
        "ContainersReady": ("False", "ContainersNotReady"),
        "PodScheduled": ("True", ""),
    }
    assert set(conditions(status_of(pod(), facts(running()))).values()) == {("True", "")}


def test_the_conditions_of_a_pod_that_has_succeeded() -> None:
    assert conditions(status_of(pod(restartPolicy="Never"), facts(exited(0), sandbox_ready=False))) == {
        "PodReadyToStartContainers": ("False", ""),
        "Initialized": ("True", "PodCompleted"),
        "Ready": ("False", "PodCompleted"),
        "ContainersReady": ("False", "PodCompleted"),
        "PodScheduled": ("True", ""),
    }


def test_the_message_names_the_containers_that_are_not_ready() -> None:
    pair = pod(container("a"), container("b"))
    status = status_of(pair, facts(running("a"), running("b"), containers={"ready": frozenset({"a"})}))
    ready = find_condition(status["conditions"], "Ready")
    assert ready is not None and ready["message"] == "containers with unready status: [b]"


@pytest.mark.parametrize(
    ("listed", "expected"),
    [
        ([], ("False", 'corresponding condition of pod readiness gate "www" does not exist.')),
        (
            [{"type": "www", "status": "False"}],
            ("False", 'the status of pod readiness gate "www" is not "True", but False'),
        ),
        ([{"type": "www", "status": "True"}], ("True", None)),
    ],
)
def test_readiness_gates_hold_a_pod_back(listed: list[dict[str, str]], expected: tuple[str, str | None]) -> None:
    gated = pod(readinessGates=[{"conditionType": "www"}])
    gated["status"]["conditions"] = listed
    status = status_of(gated, facts(running()))
    ready = find_condition(status["conditions"], "Ready")
    assert ready is not None and (ready["status"], ready.get("message")) == expected
    assert conditions(status)["ContainersReady"] == ("True", "")


def test_conditions_of_others_are_left_to_them_and_times_move_only_with_the_status() -> None:
    known = pod()
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    old = {"type": "Initialized", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z"}
    known["status"]["conditions"] = [scheduled, old]
    listed = status_of(known, facts(running()))["conditions"]
    assert scheduled not in listed
    times = {entry["type"]: entry["lastTransitionTime"] for entry in listed}
    assert times["Initialized"] == "2020-01-01T00:00:00Z" and times["Ready"] == rfc3339(NOW)


def test_addresses_and_start_time() -> None:
    status = status_of(pod(), facts(running(), pod_ip="10.244.0.9", host_ip="10.88.0.2"))
    assert status["podIP"] == "10.244.0.9" and status["podIPs"] == [{"ip": "10.244.0.9"}]
    assert status["hostIP"] == "10.88.0.2" and status["hostIPs"] == [{"ip": "10.88.0.2"}]
    assert status["startTime"] == rfc3339(NOW)
    on_host = status_of(pod(hostNetwork=True), facts(running(), host_ip="10.88.0.2"))
    assert on_host["podIP"] == "10.88.0.2"


def test_the_start_time_never_changes() -> None:
    known = pod()
    known["status"]["startTime"] = "2020-01-01T00:00:00Z"
    assert status_of(known, facts(running()))["startTime"] == "2020-01-01T00:00:00Z"


def test_a_pod_past_its_deadline_has_failed_once_its_containers_have_ended() -> None:
    verdict = Verdict("DeadlineExceeded", "Pod was active on the node longer than the specified deadline")
    assert status_of(pod(), facts(running(), verdict=verdict))["phase"] == "Running"
    status = status_of(pod(), facts(running(), verdict=verdict, stopped=True))
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_a_deleted_pod_succeeds_only_if_all_its_containers_did() -> None:
    assert status_of(pod(), facts(exited(0), stopped=True))["phase"] == "Succeeded"
    assert status_of(pod(), facts(exited(143), stopped=True))["phase"] == "Failed"
    assert status_of(pod(), facts(stopped=True))["phase"] == "Failed"


def test_nothing_looks_as_if_it_ran_once_a_pod_has_been_stopped() -> None:
    pair = pod(container("a"), container("b"))
    entries = status_of(pair, facts(exited(0, "a"), stopped=True))["containerStatuses"]
    assert entries[1]["state"]["terminated"]["reason"] == "ContainerStatusUnknown"


def test_a_pod_never_leaves_a_final_phase() -> None:
    ended = pod()
    ended["status"]["phase"] = "Succeeded"
    assert status_of(ended, facts(running()))["phase"] == "Succeeded"


def test_a_rejected_pod_says_why() -> None:
    status = rejected(pod(), Verdict("OutOfcpu", "Node didn't have enough resource: cpu"), NOW)
    assert (status["phase"], status["reason"]) == ("Failed", "OutOfcpu")
    assert status["message"] == "Pod was rejected: Node didn't have enough resource: cpu"
