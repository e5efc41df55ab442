"""What the author of a Job says of failures and of success."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from controllers.job_indexes import Indexes
from controllers.job_policies import judge_failure, success_rule
from tests.support.jobs import NOW, Pass, indexed, job, job_pod


def on_codes(action: str, operator: str, *values: int, container: str | None = None) -> Object:
    codes: Object = {"operator": operator, "values": list(values)}
    return {"action": action, "onExitCodes": codes | ({"containerName": container} if container else {})}


def on_condition(action: str, kind: str, status: str = "True") -> Object:
    return {"action": action, "onPodConditions": [{"type": kind, "status": status}]}


def with_rules(*rules: Object, **spec: Any) -> Object:
    return job(podFailurePolicy={"rules": list(rules)}, podReplacementPolicy="Failed", **spec)


@pytest.mark.parametrize(
    ("rule", "code", "matches"),
    [
        (on_codes("Ignore", "In", 2, 3), 3, True),
        (on_codes("Ignore", "In", 2, 3), 4, False),
        (on_codes("Ignore", "NotIn", 2, 3), 4, True),
        (on_codes("Ignore", "NotIn", 2, 3), 3, False),
        (on_codes("Ignore", "NotIn", 2, 3), 0, False),  # what has succeeded has not failed otherwise
        (on_codes("Ignore", "In", 3, container="c"), 3, True),
        (on_codes("Ignore", "In", 3, container="other"), 3, False),
    ],
)
def test_a_rule_asks_for_the_exit_code_of_a_container(rule: Object, code: int, matches: bool) -> None:
    owner = with_rules(rule)
    assert judge_failure(owner, job_pod(owner, "Failed", code=code)).counts != matches


def test_init_containers_are_judged_too_and_running_ones_are_not() -> None:
    owner = with_rules(on_codes("Ignore", "In", 3))
    pod = job_pod(owner, "Failed", code=0)
    pod["status"]["initContainerStatuses"] = [{"name": "i", "state": {"terminated": {"exitCode": 3}}}]
    assert not judge_failure(owner, pod).counts
    pod["status"]["initContainerStatuses"] = [{"name": "i", "state": {"running": {}}}]
    assert judge_failure(owner, pod).counts


def test_the_first_rule_that_matches_decides() -> None:
    owner = with_rules(on_condition("Ignore", "DisruptionTarget"), on_codes("FailJob", "NotIn", 7))
    evicted = job_pod(owner, "Failed", conditions=[("DisruptionTarget", "True")])
    assert judge_failure(owner, evicted).action == "Ignore"
    assert judge_failure(owner, job_pod(owner, "Failed")).action == "FailJob"
    assert judge_failure(owner, job_pod(owner, "Failed", code=7)).action is None
    spared = job_pod(owner, "Failed", code=7, conditions=[("DisruptionTarget", "False")])
    assert judge_failure(owner, spared).action is None


def test_a_rule_may_end_the_job_at_once() -> None:
    owner = with_rules(on_codes("Count", "In", 1), on_codes("FailJob", "In", 42), parallelism=2, completions=2)
    bad = job_pod(owner, "Failed", name="bad", code=42)
    seen = Pass(owner, [bad, job_pod(owner, name="other")])
    told = "Container c for pod default/bad failed with exit code 42 matching FailJob rule at index 1"
    assert seen.condition("FailureTarget") == ("PodFailurePolicy", told)
    assert [pod["metadata"]["name"] for pod in seen.plan.delete] == ["other"]


def test_a_condition_may_end_the_job_as_well() -> None:
    owner = with_rules(on_condition("FailJob", "ConfigIssue"))
    seen = Pass(owner, [job_pod(owner, "Failed", name="bad", conditions=[("ConfigIssue", "True")])])
    told = "Pod default/bad has condition ConfigIssue matching FailJob rule at index 0"
    assert seen.condition("FailureTarget") == ("PodFailurePolicy", told)


def test_what_is_ignored_does_not_count_and_is_replaced() -> None:
    owner = with_rules(on_condition("Ignore", "DisruptionTarget"), backoffLimit=0)
    evicted = job_pod(owner, "Failed", ended=NOW - 60, conditions=[("DisruptionTarget", "True")])
    seen = Pass(owner, [evicted])
    assert seen.plan.ending is None and len(seen.plan.create) == 1
    assert seen.count("failed") == 0 and len(seen.booking.release) == 1


def test_one_exit_code_may_fail_an_index_alone() -> None:
    owner = indexed(3, per_index=5, podFailurePolicy={"rules": [on_codes("FailIndex", "In", 42)]})
    seen = Pass(
        owner, [job_pod(owner, "Failed", index=1, code=42), job_pod(owner, "Failed", index=2, ended=NOW - 99)]
    )
    assert seen.status["failedIndexes"] == "1" and seen.plan.create == (0, 2)


@pytest.mark.parametrize(
    ("rules", "done", "matched"),
    [
        ([{"succeededIndexes": "0,2"}], "0,2", 0),
        ([{"succeededIndexes": "0,2"}], "0,1,3", None),
        ([{"succeededIndexes": "0-3", "succeededCount": 2}], "1,3", 0),
        ([{"succeededIndexes": "0-3", "succeededCount": 2}], "1,4", None),
        ([{"succeededCount": 3}], "0,2", None),
        ([{"succeededCount": 3}], "0,2,4", 0),
        ([{"succeededIndexes": "4"}, {"succeededCount": 1}], "0", 1),
        ([{"succeededCount": 1}], "", None),
    ],
)
def test_a_success_policy_asks_for_some_indexes_or_for_so_many(
    rules: list[Object], done: str, matched: int | None
) -> None:
    owner = indexed(5, successPolicy={"rules": rules})
    assert success_rule(owner, Indexes.parse(done, 5)) == matched


def test_when_the_leader_has_succeeded_the_others_are_ended_and_not_counted() -> None:
    owner = indexed(3, successPolicy={"rules": [{"succeededIndexes": "0"}]})
    pods = [job_pod(owner, "Succeeded", index=0), job_pod(owner, index=1), job_pod(owner, index=2)]
    seen = Pass(owner, pods)
    assert seen.condition("SuccessCriteriaMet") == ("SuccessPolicy", "Matched rules at index 0")
    assert len(seen.plan.delete) == 2 and not seen.over and len(seen.booking.release) == 3
    after = Pass({**owner, "status": seen.status}, [job_pod(owner, "Succeeded", index=0, tracked=False)])
    assert after.over and after.condition("Complete") == ("SuccessPolicy", "Matched rules at index 0")
    assert (after.count("succeeded"), after.count("failed")) == (1, 0)
