"""What a Job's author says of failures and of success: podFailurePolicy and successPolicy, as pure functions.

Sources: https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy, #success-policy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apimachinery.meta import Object, get_path, name, namespace
from controllers.job_indexes import Indexes

COUNT, IGNORE, FAIL_JOB, FAIL_INDEX = "Count", "Ignore", "FailJob", "FailIndex"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a failed pod means: the rule's action, and the message if that ends the Job."""

    action: str | None = None
    message: str = ""

    @property
    def counts(self) -> bool:
        """True unless the failure is nobody's fault, as when the pod was evicted."""
        return self.action != IGNORE


def judge_failure(job: Object, pod: Object) -> Verdict:
    """What the first rule that a failed pod matches says of it; without one the failure counts."""
    for number, rule in enumerate(get_path(job, "spec", "podFailurePolicy", "rules", default=())):
        action = rule.get("action")
        if rule.get("onExitCodes") is not None:
            if (found := _failed_container(pod, rule["onExitCodes"])) is not None:
                code = found["state"]["terminated"]["exitCode"]
                told = f"Container {found['name']} for pod {namespace(pod)}/{name(pod)} failed with exit code {code}"
                return Verdict(action, f"{told} matching {action} rule at index {number}")
        elif (condition := _matched_condition(pod, rule.get("onPodConditions") or ())) is not None:
            told = f"Pod {namespace(pod)}/{name(pod)} has condition {condition['type']}"
            return Verdict(action, f"{told} matching {action} rule at index {number}")
    return Verdict()


def _failed_container(pod: Object, requirement: Object) -> dict[str, Any] | None:
    values, wanted = requirement.get("values") or (), requirement.get("containerName")
    for kind in ("containerStatuses", "initContainerStatuses"):
        for status in get_path(pod, "status", kind, default=()):
            code = get_path(status, "state", "terminated", "exitCode", default=0)
            # A container that has not ended, or not failed, has no exit code to be judged by.
            if not code or wanted not in (None, status["name"]):
                continue
            if (code in values) == (requirement.get("operator") == "In"):
                found: dict[str, Any] = status
                return found
    return None


def _matched_condition(pod: Object, patterns: Any) -> dict[str, Any] | None:
    wanted = {(pattern["type"], pattern.get("status") or "True") for pattern in patterns}
    for condition in get_path(pod, "status", "conditions", default=()):
        if (condition["type"], condition["status"]) in wanted:
            found: dict[str, Any] = condition
            return found
    return None


def success_rule(job: Object, succeeded: Indexes) -> int | None:
    """The number of the first rule that these indexes satisfy: the Job is done then, whatever the others do."""
    if not succeeded.intervals:
        return None
    completions = get_path(job, "spec", "completions", default=0)
    for number, rule in enumerate(get_path(job, "spec", "successPolicy", "rules", default=())):
        count = rule.get("succeededCount")
        if rule.get("succeededIndexes") is None:
            if count is not None and len(succeeded) >= count:
                return number
            continue
        required = Indexes.parse(rule["succeededIndexes"], completions)
        done = required.shared_with(succeeded)
        if required.intervals and (done == len(required) or (count is not None and done >= count)):
            return number
    return None
