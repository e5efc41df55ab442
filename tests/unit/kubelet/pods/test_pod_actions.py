"""Which containers are started and stopped, and when: the rules of Kubernetes' pod lifecycle page."""

from __future__ import annotations

from typing import Any

import pytest

from kubelet.containers.backoff import Backoff, after_try, resumed, shown
from kubelet.pods.pod_actions import Observed, backoff_message, next_actions, should_restart, will_restart
from kubelet.runtime import ContainerState
from tests.support.pods import NOW, UID, container, exited, pod, running

SIDECAR = container("proxy", restartPolicy="Always")


def seen(*runs: ContainerState, **facts: Any) -> Observed:
    ended = {run.id: run.finished_at for run in runs if run.finished_at is not None}
    return Observed(latest={run.name: run for run in runs}, ended=ended, **facts)


def test_all_containers_start_together() -> None:
    assert next_actions(pod(container("a"), container("b")), seen(), NOW).start == ["a", "b"]


def test_a_container_that_is_being_started_is_not_started_twice() -> None:
    assert next_actions(pod(container("a")), seen(busy=frozenset({"a"})), NOW).start == []


def test_init_containers_run_one_after_another_and_before_all_others() -> None:
    two_inits = pod(container(), initContainers=[container("first"), container("second")])
    assert next_actions(two_inits, seen(), NOW).start == ["first"]
    assert next_actions(two_inits, seen(running("first")), NOW).start == []
    assert next_actions(two_inits, seen(exited(0, "first")), NOW).start == ["second"]
    assert next_actions(two_inits, seen(exited(0, "first"), exited(0, "second")), NOW).start == ["web"]


def test_a_failed_init_container_is_repeated_but_for_a_pod_that_never_restarts() -> None:
    failed = seen(exited(1, "setup"))
    assert next_actions(pod(initContainers=[container("setup")]), failed, NOW).start == ["setup"]
    never = next_actions(pod(initContainers=[container("setup")], restartPolicy="Never"), failed, NOW)
    assert never.start == [] and never.finished


def test_init_containers_are_not_run_again_once_a_container_has_run() -> None:
    assert next_actions(pod(initContainers=[container("setup")]), seen(running()), NOW).start == []


def test_containers_wait_until_a_sidecar_has_started_but_not_until_it_ends() -> None:
    with_sidecar = pod(container(), initContainers=[SIDECAR, container("setup")])
    assert next_actions(with_sidecar, seen(), NOW).start == ["proxy"]
    assert next_actions(with_sidecar, seen(running("proxy")), NOW).start == []
    assert next_actions(with_sidecar, seen(running("proxy"), started=frozenset({"proxy"})), NOW).start == ["setup"]


def test_a_sidecar_is_restarted_whatever_the_pods_policy_while_a_container_runs() -> None:
    with_sidecar = pod(container(), initContainers=[SIDECAR], restartPolicy="Never")
    assert next_actions(with_sidecar, seen(exited(0, "proxy"), running()), NOW).start == ["proxy"]


def test_a_sidecar_does_not_keep_a_finished_pod_alive() -> None:
    with_sidecar = pod(container(), initContainers=[SIDECAR], restartPolicy="Never")
    actions = next_actions(with_sidecar, seen(exited(0, "proxy"), exited(0)), NOW)
    assert actions.finished and actions.start == []


def test_an_ephemeral_container_is_started_once_however_it_ends() -> None:
    looked_into = pod(container(), ephemeralContainers=[container("debugger")])
    assert next_actions(looked_into, seen(running()), NOW).start == ["debugger"]
    for nothing in (
        seen(running(), running("debugger")),
        seen(running(), exited(1, "debugger")),
        seen(running(), earlier={"debugger": exited(1, "debugger")}),
        seen(running(), done=frozenset({"debugger"})),
        seen(running(), busy=frozenset({"debugger"})),
    ):
        assert next_actions(looked_into, nothing, NOW).start == []


def test_an_ephemeral_container_can_look_into_a_pod_that_does_not_come_up() -> None:
    stuck = pod(container(), initContainers=[container("setup")], ephemeralContainers=[container("debugger")])
    assert next_actions(stuck, seen(running("setup")), NOW).start == ["debugger"]


def test_an_ephemeral_container_does_not_keep_a_finished_pod_alive() -> None:
    looked_into = pod(container(), ephemeralContainers=[container("debugger")], restartPolicy="Never")
    actions = next_actions(looked_into, seen(exited(0), running("debugger")), NOW)
    assert actions.finished and actions.start == []


@pytest.mark.parametrize(
    ("policy", "code", "restarts"),
    [
        ("Always", 0, True),
        ("Always", 1, True),
        ("OnFailure", 0, False),
        ("OnFailure", 1, True),
        ("Never", 0, False),
        ("Never", 137, False),
    ],
)
def test_the_restart_policy_decides_what_follows_an_exit(policy: str, code: int, restarts: bool) -> None:
    actions = next_actions(pod(restartPolicy=policy), seen(exited(code)), NOW)
    assert actions.start == (["web"] if restarts else [])
    assert actions.finished is not restarts


def test_a_pod_has_finished_only_when_all_its_containers_have() -> None:
    pair = pod(container("a"), container("b"), restartPolicy="Never")
    assert not next_actions(pair, seen(exited(0, "a"), running("b")), NOW).finished
    assert next_actions(pair, seen(exited(0, "a"), exited(1, "b")), NOW).finished


def test_a_containers_own_restart_policy_goes_before_the_pods() -> None:
    own = container(restartPolicy="Never")
    assert not should_restart(pod(own), own, 1)


@pytest.mark.parametrize(
    ("operator", "code", "restarts"), [("In", 42, True), ("In", 1, False), ("NotIn", 1, True), ("NotIn", 42, False)]
)
def test_restart_rules_by_exit_code_go_before_the_policy(operator: str, code: int, restarts: bool) -> None:
    rules = [{"action": "Restart", "exitCodes": {"operator": operator, "values": [42]}}]
    ruled = container(restartPolicy="Never", restartPolicyRules=rules)
    assert should_restart(pod(ruled), ruled, code) is restarts


def test_an_init_container_that_succeeded_is_never_restarted() -> None:
    with_init = pod(initContainers=[container("setup")])
    assert not will_restart(with_init, with_init["spec"]["initContainers"][0], exited(0, "setup"))


def test_an_unhealthy_container_is_stopped_and_the_message_says_what_follows() -> None:
    bad = {"web": "failed liveness probe"}
    always = next_actions(pod(), seen(running(), unhealthy=bad), NOW)
    assert always.stop == {"web": "Container web failed liveness probe, will be restarted"}
    never = next_actions(pod(restartPolicy="Never"), seen(running(), unhealthy=bad), NOW)
    assert never.stop == {"web": "Container web failed liveness probe"}


def test_a_sidecar_that_is_not_healthy_is_named_as_what_it_is() -> None:
    with_sidecar = pod(container(), initContainers=[SIDECAR], restartPolicy="Never")
    sick = seen(running("proxy"), running(), unhealthy={"proxy": "failed startup probe"})
    assert next_actions(with_sidecar, sick, NOW).stop == {"proxy": "Init container proxy failed startup probe"}


@pytest.mark.parametrize("policy", ["Always", "OnFailure", "Never"])
def test_a_container_that_was_changed_is_started_anew_whatever_its_policy(policy: str) -> None:
    changed = {"outdated": frozenset({"web"})}
    actions = next_actions(pod(restartPolicy=policy), seen(running(), **changed), NOW)
    assert actions.stop == {"web": "Container web definition changed, will be restarted"}
    assert next_actions(pod(restartPolicy=policy), seen(exited(0), **changed), NOW).start == ["web"]


def test_containers_wait_for_the_hook_of_one_before_them_and_only_at_its_first_start() -> None:
    hooked = container("proxy", lifecycle={"postStart": {"exec": {"command": ["wait"]}}})
    pair = pod(container("early"), hooked, container("late"))
    assert next_actions(pair, seen(), NOW).start == ["early", "proxy"]
    assert next_actions(pair, seen(running("early"), busy=frozenset({"proxy"})), NOW).start == []
    hook_goes_on = seen(running("early"), running("proxy"), busy=frozenset({"proxy"}))
    assert next_actions(pair, hook_goes_on, NOW).start == []
    past = {"earlier": {"proxy": exited(137, "proxy", 2)}}
    again = seen(running("early", 1), running("proxy", 3), busy=frozenset({"proxy"}), **past)
    assert next_actions(pair, again, NOW).start == []
    assert next_actions(pair, seen(running("early"), running("proxy")), NOW).start == ["late"]
    for elsewhere in (
        seen(running("early"), exited(1, "proxy")),
        seen(running("early"), not_before={"proxy": NOW + 9}),
        seen(running("early"), running("proxy", 1), busy=frozenset({"proxy"})),
    ):
        assert "late" in next_actions(pair, elsewhere, NOW).start


def test_init_containers_go_on_after_a_sidecar_that_has_started_once_and_died() -> None:
    trio = pod(container(), initContainers=[SIDECAR, container("setup"), container("last")])
    assert next_actions(trio, seen(exited(1, "proxy"), running("setup")), NOW).start == ["proxy"]
    held = {"backoffs": {"proxy": Backoff(20.0, NOW)}}
    assert next_actions(trio, seen(exited(1, "proxy"), exited(0, "setup"), **held), NOW).start == ["last"]
    done = seen(exited(1, "proxy"), exited(0, "setup"), exited(0, "last"), **held)
    assert next_actions(trio, done, NOW).start == ["web"]


def test_a_sidecar_that_has_never_started_is_waited_for() -> None:
    pair = pod(container(), initContainers=[container("setup"), SIDECAR])
    assert next_actions(pair, seen(exited(0, "setup"), exited(1, "proxy")), NOW).start == ["proxy"]
    held = seen(exited(0, "setup"), not_before={"proxy": NOW + 5})
    assert next_actions(pair, held, NOW).start == []


def test_an_init_container_is_repeated_by_its_own_policy_and_rules() -> None:
    own = pod(initContainers=[container("setup", restartPolicy="Never")])
    assert next_actions(own, seen(exited(1, "setup")), NOW).finished
    other = pod(initContainers=[container("setup", restartPolicy="OnFailure")], restartPolicy="Never")
    assert next_actions(other, seen(exited(1, "setup")), NOW).start == ["setup"]
    rules = [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]
    ruled = pod(initContainers=[container("setup", restartPolicy="Never", restartPolicyRules=rules)])
    assert next_actions(ruled, seen(exited(42, "setup")), NOW).start == ["setup"]
    assert next_actions(ruled, seen(exited(41, "setup")), NOW).finished
    assert next_actions(ruled, seen(exited(0, "setup")), NOW).start == ["web"]


def test_a_container_that_crashes_again_is_held_back_until_its_delay_is_over() -> None:
    crashed = {"backoffs": {"web": Backoff(20.0, NOW - 30)}}
    held = next_actions(pod(), seen(exited(1, attempt=2, at=NOW - 5), **crashed), NOW)
    assert held.start == [] and held.backing_off == {"web": NOW + 15}
    assert not held.finished
    assert next_actions(pod(), seen(exited(1, attempt=2, at=NOW - 20), **crashed), NOW).start == ["web"]


def test_a_container_that_could_not_be_started_is_not_tried_again_before_its_time() -> None:
    held = next_actions(pod(), seen(not_before={"web": NOW + 3}), NOW)
    assert held.start == [] and held.backing_off == {"web": NOW + 3}


def test_the_first_restart_is_at_once_then_delays_double_up_to_five_minutes() -> None:
    delay, delays = None, []
    for _ in range(7):
        delay = after_try(delay, NOW, NOW)
        delays.append(delay.seconds)
    assert delays == [10, 20, 40, 80, 160, 300, 300]


def test_ten_minutes_without_a_crash_reset_the_delay() -> None:
    assert after_try(Backoff(300.0, NOW - 601), NOW, NOW).seconds == 10
    assert Backoff(300.0, NOW - 601).until(NOW) == NOW
    assert Backoff(300.0, NOW - 599).until(NOW) == NOW + 300


def test_a_restarted_node_agent_goes_on_with_the_delay_that_the_restarts_so_far_make() -> None:
    assert resumed(0, NOW) is None
    assert [resumed(attempt, NOW).seconds for attempt in (1, 2, 3, 6, 60)] == [10, 20, 40, 300, 300]


def test_the_waiting_message_names_delay_container_and_pod() -> None:
    message = backoff_message(pod(), "web", Backoff(80.0, NOW))
    assert message == f"back-off 1m20s restarting failed container=web pod=web_default({UID})"
    assert [shown(10), shown(300)] == ["10s", "5m0s"]
