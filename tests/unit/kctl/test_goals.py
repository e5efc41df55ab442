"""What `kctl wait --for` and `kctl rollout status` take for reached, and which words they use."""

from __future__ import annotations

from typing import Any

import pytest

from kctl.commands.wait import goal_check
from kctl.errors import CommandError
from kctl.rollouts import daemon_set_status, deployment_status, stateful_set_status


def item(status: dict[str, Any], generation: int = 1) -> dict[str, Any]:
    return {"metadata": {"name": "web", "generation": generation}, "spec": {"replicas": 3}, "status": status}


READY = item(
    {"phase": "Running", "containers": [{"ready": True}], "conditions": [{"type": "Ready", "status": "True"}]}
)


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        ("condition=Ready", True),
        ("condition=ready", True),
        ("condition=Ready=False", False),
        ("condition=Available", False),
        ("jsonpath={.status.phase}=Running", True),
        ("jsonpath={.status.phase}=Pending", False),
        ("jsonpath={.status.phase}", True),
        ("jsonpath={.status.nothing}", False),
        ("jsonpath={.status.containers[0].ready}=true", True),
        ("jsonpath={.status.containers[1].ready}=true", False),
        ("create", True),
        ("delete", False),
    ],
)
def test_a_goal_is_met_or_not(goal: str, met: bool) -> None:
    assert goal_check(goal)(READY) is met


def test_what_is_gone_meets_delete_alone() -> None:
    assert goal_check("delete")(None)
    assert not goal_check("condition=Ready")(None)
    assert not goal_check("create")(None)


def test_a_condition_of_an_earlier_generation_does_not_count() -> None:
    stale = item({"observedGeneration": 1, "conditions": [{"type": "Available", "status": "True"}]}, generation=2)
    assert not goal_check("condition=Available")(stale)


@pytest.mark.parametrize("goal", ["", "condition", "condition=", "jsonpath={}", "jsonpath={.a[x]}=b", "ready"])
def test_an_unknown_goal_says_which_there_are(goal: str) -> None:
    with pytest.raises(CommandError, match="must be condition=NAME"):
        goal_check(goal)


@pytest.mark.parametrize(
    ("status", "words", "over"),
    [
        ({}, "Waiting for deployment spec update to be observed...", False),
        ({"observedGeneration": 1, "updatedReplicas": 1}, "1 out of 3 new replicas have been updated", False),
        ({"observedGeneration": 1, "updatedReplicas": 3, "replicas": 4}, "1 old replicas are pending", False),
        (
            {"observedGeneration": 1, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 2},
            "2 of 3 updated replicas are available",
            False,
        ),
        (
            {"observedGeneration": 1, "updatedReplicas": 3, "replicas": 3, "availableReplicas": 3},
            'deployment "web" successfully rolled out',
            True,
        ),
    ],
)
def test_a_rollout_is_told_in_kubectls_words(status: dict[str, Any], words: str, over: bool) -> None:
    told, done = deployment_status(item(status))
    assert words in told
    assert done is over


def test_a_rollout_that_is_past_its_deadline_is_an_error() -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    with pytest.raises(CommandError, match="exceeded its progress deadline"):
        deployment_status(item({"observedGeneration": 1, "conditions": [late]}))


@pytest.mark.parametrize(
    ("status", "partition", "words", "over"),
    [
        ({}, 0, "Waiting for statefulset spec update to be observed...", False),
        ({"readyReplicas": 1}, 0, "Waiting for 2 pods to be ready...", False),
        ({"readyReplicas": 3, "updatedReplicas": 1}, 1, "1 out of 2 new pods have been updated...", False),
        ({"readyReplicas": 3, "updatedReplicas": 2}, 1, "partitioned roll out complete: 2 new pods", True),
        (
            {"readyReplicas": 3, "updatedReplicas": 1, "updateRevision": "b", "currentRevision": "a"},
            None,
            "waiting for statefulset rolling update to complete 1 pods at revision b...",
            False,
        ),
        (
            {"readyReplicas": 3, "currentReplicas": 3, "updateRevision": "b", "currentRevision": "b"},
            None,
            "statefulset rolling update complete 3 pods at revision b...",
            True,
        ),
    ],
)
def test_a_stateful_sets_rollout_is_told_in_kubectls_words(
    status: dict[str, Any], partition: int | None, words: str, over: bool
) -> None:
    web = item({"observedGeneration": 1, **status} if status else {})
    if partition is not None:
        web["spec"]["updateStrategy"] = {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}
    told, done = stateful_set_status(web)
    assert words in told
    assert done is over


@pytest.mark.parametrize(
    ("updated", "available", "words", "over"),
    [
        (1, 2, "1 out of 2 new pods have been updated...", False),
        (2, 1, "1 of 2 updated pods are available...", False),
        (2, 2, 'daemon set "web" successfully rolled out', True),
    ],
)
def test_a_daemon_sets_rollout_is_told_in_kubectls_words(
    updated: int, available: int, words: str, over: bool
) -> None:
    counts = {"desiredNumberScheduled": 2, "updatedNumberScheduled": updated, "numberAvailable": available}
    told, done = daemon_set_status(item({"observedGeneration": 1, **counts}))
    assert words in told
    assert done is over


def test_a_rollout_that_waits_for_its_owner_can_not_be_followed() -> None:
    web = item({"observedGeneration": 1})
    web["spec"]["updateStrategy"] = {"type": "OnDelete"}
    with pytest.raises(CommandError, match="only available for RollingUpdate"):
        stateful_set_status(web)
