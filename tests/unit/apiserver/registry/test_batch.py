"""Jobs and CronJobs."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import CRONJOBS, JOBS
from apimachinery.selectors import parse_field_selector
from apiserver.registry import strategy
from tests.unit.apiserver.registry.factories import (
    created,
    problems,
    shown,
    status_problems,
    template,
    update_problems,
)

UID = "6d3a4c0e-0000-4000-8000-000000000001"
LABELS = {
    "app": "web",
    "job-name": "sum",
    "batch.kubernetes.io/job-name": "sum",
    "controller-uid": UID,
    "batch.kubernetes.io/controller-uid": UID,
}


def job(**spec: Any) -> Object:
    return {
        "metadata": {"name": "sum", "namespace": "default", "uid": UID},
        "spec": {"template": template(restartPolicy="Never"), **spec},
    }


def indexed(**spec: Any) -> Object:
    return job(completionMode="Indexed", **{"completions": 5, "parallelism": 2, **spec})


def cron_job(schedule: str = "*/5 * * * *", **spec: Any) -> Object:
    inner = {"spec": {"template": template(restartPolicy="OnFailure")}}
    return {
        "metadata": {"name": "report", "namespace": "default"},
        "spec": {"schedule": schedule, "jobTemplate": inner, **spec},
    }


def condition(kind: str, status: str = "True") -> dict[str, str]:
    return {"type": kind, "status": status}


def finished(kind: str = "Complete", **status: Any) -> Object:
    reason = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[kind]
    times = {"startTime": "2026-01-02T03:00:00Z"}
    if kind == "Complete":
        times["completionTime"] = "2026-01-02T03:04:05Z"
    return {**times, "conditions": [condition(reason), condition(kind)], **status}


def test_a_job_is_one_pod_that_must_succeed_once():
    spec = created(JOBS, job())["spec"]
    assert {key: value for key, value in spec.items() if key not in ("template", "selector")} == {
        "completions": 1,
        "parallelism": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
        "manualSelector": False,
    }


def test_a_job_with_parallelism_alone_is_a_work_queue():
    assert "completions" not in created(JOBS, job(parallelism=3))["spec"]
    assert created(JOBS, job(completions=3))["spec"]["parallelism"] == 1


def test_failures_per_index_take_the_place_of_failures_of_all():
    assert created(JOBS, indexed(backoffLimitPerIndex=1))["spec"]["backoffLimit"] == 2**31 - 1


def test_pods_of_a_job_are_found_by_its_uid():
    stored = created(JOBS, job())
    assert stored["spec"]["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": UID}}
    assert stored["spec"]["template"]["metadata"]["labels"] == LABELS
    assert stored["metadata"]["labels"] == {"app": "web"}
    assert created(JOBS, job(template={"spec": job()["spec"]["template"]["spec"]}))["metadata"]["labels"] == {
        key: value for key, value in LABELS.items() if key != "app"
    }
    assert problems(JOBS, job()) == []


def test_a_selector_may_be_the_authors_own():
    own = job(manualSelector=True, selector={"matchLabels": {"app": "web"}})
    assert created(JOBS, own)["spec"]["template"]["metadata"]["labels"] == {"app": "web"}
    assert problems(JOBS, own) == []
    assert problems(JOBS, job(manualSelector=True)) == ["spec.selector: Required value"]


def test_labels_of_a_selector_that_is_made_can_not_be_others():
    wrong = job()
    wrong["spec"]["template"]["metadata"]["labels"]["job-name"] = "other"
    (told,) = problems(JOBS, wrong)
    assert told.startswith("spec.template.metadata.labels[job-name]: Invalid value: {")
    assert told.endswith("}: must be 'sum'")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            job(template=template()),
            ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
        ),
        (job(completions=-1), ["spec.completions: Invalid value: -1: must be greater than or equal to 0"]),
        (
            job(backoffLimitPerIndex=1),
            ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
        ),
        (indexed(completions=None), ["spec.completions: Required value: when completion mode is Indexed"]),
        (
            indexed(maxFailedIndexes=9, backoffLimitPerIndex=1),
            ["spec.maxFailedIndexes: Invalid value: 9: must be less than or equal to completions"],
        ),
        (
            indexed(maxFailedIndexes=1),
            ["spec.backoffLimitPerIndex: Required value: when maxFailedIndexes is specified"],
        ),
        (
            indexed(parallelism=200_000),
            [
                "spec.parallelism: Invalid value: 200000: must be less than or equal to 100000 when completion mode "
                "is Indexed"
            ],
        ),
        (
            job(managedBy="me"),
            ['spec.managedBy: Invalid value: "me": must be a domain-prefixed path (such as "acme.io/foo")'],
        ),
        (
            job(podReplacementPolicy="Later"),
            [
                'spec.podReplacementPolicy: Unsupported value: "Later": supported values: "Failed", '
                '"TerminatingOrFailed"'
            ],
        ),
        (
            job(podFailurePolicy={"rules": [{"action": "FailJob"}]}),
            [
                "spec.podFailurePolicy.rules[0]: Invalid value: specifying one of OnExitCodes and OnPodConditions "
                "is required"
            ],
        ),
        (
            job(
                podFailurePolicy={
                    "rules": [{"action": "Count", "onExitCodes": {"operator": "In", "values": [3, 0, 3]}}]
                }
            ),
            [
                "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for the In "
                "operator",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3",
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,0,3]: must be ordered",
            ],
        ),
        (
            indexed(successPolicy={"rules": [{"succeededIndexes": "1,3-9", "succeededCount": 3}]}),
            [
                'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "1,3-9": error parsing '
                'succeededIndexes: too large index: "9"',
                "spec.successPolicy.rules[0].succeededCount: Invalid value: 3: must be less than or equal to 0 (the "
                "number of indexes in the specified succeededIndexes field)",
            ],
        ),
        (
            job(successPolicy={"rules": []}),
            ['spec.successPolicy: Invalid value: {"rules":[]}: requires indexed completion mode'],
        ),
    ],
)
def test_what_is_wrong_with_a_job_is_told(wrong, told):
    assert problems(JOBS, wrong) == told


def test_pods_of_an_indexed_job_need_host_names():
    wrong = indexed()
    wrong["metadata"]["name"] = "n" * 62
    (told,) = problems(JOBS, wrong)
    assert told.endswith(f": will not able to create pod with invalid DNS label: {'n' * 62}-4")


def test_a_rule_on_a_condition_means_that_it_is_true():
    rule = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    spec = created(JOBS, job(podFailurePolicy={"rules": [rule]}))["spec"]
    assert spec["podFailurePolicy"]["rules"][0]["onPodConditions"][0]["status"] == "True"
    assert spec["podReplacementPolicy"] == "Failed"


def changed(old: Object, **spec: Any) -> list[str]:
    new = copy.deepcopy(created(JOBS, old))
    new["spec"].update(spec)
    return update_problems(JOBS, new, old)


def test_what_a_job_does_stays_and_how_many_do_it_may_change():
    assert changed(job(completions=2), parallelism=5, suspend=True, backoffLimit=1) == []
    assert changed(job(completions=2), completions=3) == ["spec.completions: Invalid value: 3: field is immutable"]
    assert changed(job(), completionMode="Indexed") == [
        'spec.completionMode: Invalid value: "Indexed": field is immutable'
    ]


def test_an_indexed_job_is_scaled_by_both_numbers_at_once():
    old = indexed(completions=3, parallelism=3)
    assert changed(old, completions=4, parallelism=4) == []
    assert changed(old, completions=4) == [
        "spec.completions: Invalid value: 4: can only be modified in tandem with spec.parallelism"
    ]


def test_where_pods_may_run_is_open_until_a_suspended_job_begins():
    def with_node(old: Object) -> list[str]:
        new = copy.deepcopy(created(JOBS, old))
        new["spec"]["template"]["spec"]["nodeSelector"] = {"disk": "ssd"}
        affinity = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": []}]}}
        new["spec"]["template"]["spec"]["affinity"] = {"nodeAffinity": affinity}
        return [told for told in update_problems(JOBS, new, old) if "immutable" in told]

    assert with_node(job(suspend=True)) == []
    assert len(with_node(job())) == 1


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (finished(), []),
        (finished("Failed"), []),
        (finished(conditions=[condition("Complete")]), ["without the SuccessCriteriaMet=true condition"]),
        (finished(active=1), ["status.active: Invalid value: 1: active>0 is invalid for finished job"]),
        (finished(completionTime=None), ["status.completionTime: Required value: completionTime is required"]),
        (finished(completionTime="2026-01-01T00:00:00Z"), ["must be equal to or after `startTime`"]),
        (finished("Failed", conditions=[condition("Failed")]), ["without the FailureTarget=true condition"]),
        ({"ready": 2, "active": 1}, ["status.ready: Invalid value: 2: cannot set more ready pods than active"]),
        ({"completedIndexes": "1"}, ["cannot set non-empty completedIndexes when non-indexed completion mode"]),
        (
            {"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["a"]}},
            ['status.uncountedTerminatedPods.failed[0]: Duplicate value: "a"'],
        ),
    ],
)
def test_the_status_of_a_job_does_not_contradict_itself(status, told):
    found = status_problems(JOBS, status, created(JOBS, job(completions=2)))
    assert len(found) == len(told)
    assert all(part in whole for part, whole in zip(told, found, strict=True))


def test_the_status_of_a_job_does_not_go_back():
    old = {**created(JOBS, job()), "status": {**finished(), "succeeded": 2}}
    assert status_problems(JOBS, {**finished(), "succeeded": 1}, old) == [
        "status.succeeded: Invalid value: 1: cannot decrease the succeeded counter"
    ]
    assert "status.conditions: Invalid value: cannot disable the terminal Complete=True condition" in status_problems(
        JOBS, {"succeeded": 2, "startTime": "2026-01-02T03:00:00Z"}, old
    )


def test_indexes_that_failed_have_not_succeeded():
    old = created(JOBS, indexed(backoffLimitPerIndex=1))
    assert status_problems(JOBS, {"completedIndexes": "0,2-3", "failedIndexes": "3-4"}, old) == [
        'status.failedIndexes: Invalid value: "3-4": failedIndexes and completedIndexes overlap at index: 3'
    ]


def test_jobs_are_selected_by_how_many_pods_have_succeeded():
    rules = strategy(JOBS)
    done = parse_field_selector("status.successful=2", rules.selectable)
    none = parse_field_selector("status.successful=0", rules.selectable)
    assert done.matches({**job(), "status": {"succeeded": 2}}) and none.matches(job())


def test_the_columns_of_a_job():
    assert shown(JOBS, {**job(completions=2), "status": finished(succeeded=2)}) == {
        "Name": "sum",
        "Status": "Complete",
        "Completions": "2/2",
        "Duration": "4m5s",
        "Age": "<unknown>",
        "Containers": "web",
        "Images": "nginx:1.27",
        "Selector": "<none>",
    }
    running = shown(JOBS, {**job(parallelism=3), "status": {"startTime": "2026-01-02T03:03:05Z"}})
    assert (running["Status"], running["Completions"], running["Duration"]) == ("Running", "0/1 of 3", "60s")


def test_a_cron_job_keeps_a_few_jobs_that_are_done():
    spec = created(CRONJOBS, cron_job())["spec"]
    assert {key: value for key, value in spec.items() if key != "jobTemplate"} == {
        "schedule": "*/5 * * * *",
        "concurrencyPolicy": "Allow",
        "suspend": False,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    }
    assert "completions" not in spec["jobTemplate"]["spec"]
    assert spec["jobTemplate"]["spec"]["template"]["spec"]["dnsPolicy"] == "ClusterFirst"
    assert problems(CRONJOBS, cron_job()) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (cron_job(""), ["spec.schedule: Required value"]),
        (
            cron_job("* * * *"),
            ['spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]'],
        ),
        (
            cron_job("TZ=UTC * * * * *"),
            [
                'spec.schedule: Invalid value: "TZ=UTC * * * * *": cannot use TZ or CRON_TZ in schedule, use '
                "timeZone field instead"
            ],
        ),
        (
            cron_job(timeZone="Mars/Olympus"),
            ['spec.timeZone: Invalid value: "Mars/Olympus": unknown time zone Mars/Olympus'],
        ),
        (
            cron_job(concurrencyPolicy="Maybe"),
            ['spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", "Replace"'],
        ),
    ],
)
def test_what_is_wrong_with_a_cron_job_is_told(wrong, told):
    assert problems(CRONJOBS, wrong) == told


def test_names_of_jobs_leave_room_for_the_time():
    wrong = cron_job()
    wrong["metadata"]["name"] = "n" * 53
    assert problems(CRONJOBS, wrong) == [
        f'metadata.name: Invalid value: "{"n" * 53}": must be no more than 52 characters'
    ]
    assert update_problems(CRONJOBS, wrong, wrong) == []


def test_an_old_schedule_may_keep_its_time_zone():
    old = cron_job("TZ=UTC 0 * * * *")
    assert update_problems(CRONJOBS, old, old) == []
    (told,) = update_problems(CRONJOBS, cron_job("TZ=UTC 0 * * * *", timeZone="UTC"), old)
    assert told.endswith(": cannot use both timeZone field and TZ or CRON_TZ in schedule")


def test_the_columns_of_a_cron_job():
    status = {"active": [{"name": "a"}], "lastScheduleTime": "2026-01-02T03:00:05Z"}
    assert shown(CRONJOBS, {**created(CRONJOBS, cron_job()), "status": status}) == {
        "Name": "report",
        "Schedule": "*/5 * * * *",
        "Timezone": "<none>",
        "Suspend": "False",
        "Active": 1,
        "Last Schedule": "4m",
        "Age": "<unknown>",
        "Containers": "web",
        "Images": "nginx:1.27",
        "Selector": "<none>",
    }
