"""When a CronJob starts a Job, under which name, and what it tells."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import available_timezones

import pytest

from apimachinery.meta import Object, name, uid
from apimachinery.time import parse_rfc3339
from controllers.cron_job_plan import (
    SCHEDULED_AT,
    Plan,
    finished_as,
    new_job,
    plan,
    reference_to,
    status_of,
    surplus,
)
from controllers.cron_job_times import due, seconds_to_next, times_of, zone_of
from tests.support.jobs import job
from tests.support.workloads import metadata, owned_by

CREATED = "2026-05-19T10:00:00Z"
HOURLY = "0 * * * *"
needs_zones = pytest.mark.skipif("Europe/Berlin" not in available_timezones(), reason="no database of time zones")


def at(text: str) -> float:
    """A moment of the day of all these tests."""
    return parse_rfc3339(f"2026-05-19T{text}Z" if "T" not in text else text)


def cron_job(schedule: str = HOURLY, *, last: str | None = None, active: Any = (), **spec: Any) -> Object:
    kept = {"successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1}
    template = {"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": job()["spec"]}
    made: Object = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata("tick", creationTimestamp=CREATED),
        "spec": {"schedule": schedule, "timeZone": "UTC", "concurrencyPolicy": "Allow", "suspend": False}
        | kept
        | {"jobTemplate": template}
        | spec,
        "status": {},
    }
    if last is not None:
        made["status"]["lastScheduleTime"] = f"2026-05-19T{last}Z" if "T" not in last else last
    if active:
        made["status"]["active"] = [reference_to(one) for one in active]
    return made


def child(which: str, end: str | None = None, *, done: str = "2026-05-19T10:30:00Z", **status: Any) -> Object:
    made = job(which)
    made["status"] = dict(status)
    if end is not None:
        made["status"]["conditions"] = [{"type": end, "status": "True", "lastTransitionTime": done}]
        if end == "Complete":
            made["status"]["completionTime"] = done
    return made


def reasons(found: Plan) -> list[str]:
    return [one.reason for one in found.events]


def decide(owner: Object, now: str, *jobs: Object, missing: tuple[str, ...] = ()) -> Plan:
    return plan(owner, [owned_by(one, owner) for one in jobs], set(missing), at(now))


def test_nothing_starts_before_its_time_and_the_next_time_is_waited_for() -> None:
    found = decide(cron_job(), "10:59:00")
    assert found.start is None and found.wait_seconds == pytest.approx(60.1)


def test_a_job_starts_when_its_time_has_come() -> None:
    found = decide(cron_job(), "11:00:00")
    assert found.start == at("11:00:00") and found.wait_seconds == pytest.approx(3600.1)


def test_a_time_that_has_had_its_job_is_over() -> None:
    assert decide(cron_job(last="11:00:00"), "11:00:05").start is None
    running = job(f"tick-{int(at('11:00:00')) // 60}")
    assert decide(cron_job(active=[running]), "11:00:05", running).start is None


def test_of_several_times_that_were_missed_the_latest_counts() -> None:
    found = decide(cron_job(last="10:00:00"), "14:20:00")
    assert found.start == at("14:00:00") and reasons(found) == []


def test_more_than_a_hundred_missed_times_are_told_of_and_the_latest_still_starts() -> None:
    found = decide(cron_job("* * * * *"), "11:41:00")
    assert reasons(found) == ["TooManyMissedTimes"] and found.start == at("11:41:00")
    assert "Set or decrease .spec.startingDeadlineSeconds" in found.events[0].message
    assert reasons(decide(cron_job("* * * * *"), "11:40:00")) == []


def test_years_of_missed_times_are_not_walked_through() -> None:
    found = decide(cron_job("* * * * *", last="1990-01-01T00:00:00Z"), "11:40:30")
    assert found.start == at("11:40:00")


def test_with_a_deadline_only_what_is_not_too_late_counts_as_missed() -> None:
    owner = cron_job("* * * * *", last="2026-01-01T00:00:00Z", startingDeadlineSeconds=300)
    found = decide(owner, "11:40:30")
    assert found.start == at("11:40:00") and reasons(found) == []


def test_what_is_too_late_is_not_started() -> None:
    owner = cron_job(startingDeadlineSeconds=60)
    assert decide(owner, "11:00:30").start == at("11:00:00")
    late = decide(owner, "11:02:00")
    assert late.start is None and late.wait_seconds == pytest.approx(58 * 60 + 0.1)


def test_a_suspended_cron_job_starts_nothing() -> None:
    found = decide(cron_job(suspend=True), "11:00:00")
    assert found.start is None and found.wait_seconds is None


@pytest.mark.parametrize(
    ("policy", "starts", "replaces", "told"),
    [("Allow", True, False, []), ("Forbid", False, False, ["JobAlreadyActive"]), ("Replace", True, True, [])],
)
def test_a_job_that_still_runs_is_let_be_waited_for_or_replaced(
    policy: str, starts: bool, replaces: bool, told: list[str]
) -> None:
    running = child("tick-1")
    found = decide(cron_job(active=[running], concurrencyPolicy=policy), "11:00:00", running)
    assert (found.start is not None, bool(found.replace), reasons(found)) == (starts, replaces, told)


def test_a_job_that_is_over_makes_room_for_the_next() -> None:
    ended = child("tick-1", "Complete")
    found = decide(cron_job(active=[ended], concurrencyPolicy="Forbid"), "11:00:00", ended)
    assert reasons(found) == ["SawCompletedJob"] and found.active == [] and found.start is not None
    assert found.events[0].message == "Saw completed job: tick-1, condition: Complete"
    assert found.last_successful == "2026-05-19T10:30:00Z"


def test_the_latest_success_is_remembered_and_failures_are_not() -> None:
    owner = cron_job()
    owner["status"]["lastSuccessfulTime"] = "2026-05-19T10:40:00Z"
    earlier = child("a", "Complete", done="2026-05-19T10:20:00Z")
    assert decide(owner, "10:50:00", earlier, child("b", "Failed")).last_successful == "2026-05-19T10:40:00Z"
    later = child("c", "Complete", done="2026-05-19T10:45:00Z")
    assert decide(owner, "10:50:00", later, earlier).last_successful == "2026-05-19T10:45:00Z"


def test_a_job_that_is_gone_is_no_longer_active() -> None:
    gone = child("tick-1")
    found = decide(cron_job(active=[gone], concurrencyPolicy="Forbid"), "11:00:00", missing=(uid(gone),))
    assert reasons(found) == ["MissingJob"] and found.start is not None
    # One that merely is not in the cache yet still counts.
    assert decide(cron_job(active=[gone], concurrencyPolicy="Forbid"), "11:00:00").start is None


def test_a_job_that_nobody_has_noted_down_is_told_of_while_it_runs() -> None:
    assert reasons(decide(cron_job(), "10:30:00", child("by-hand"))) == ["UnexpectedJob"]
    assert reasons(decide(cron_job(), "10:30:00", child("by-hand", "Complete"))) == []


def test_a_cron_job_that_is_being_deleted_only_counts() -> None:
    owner = cron_job()
    owner["metadata"]["deletionTimestamp"] = CREATED
    assert decide(owner, "11:00:00").start is None


@pytest.mark.parametrize(
    ("schedule", "spec", "reason"),
    [
        ("59 23 31 2 *", {}, "InvalidSchedule"),
        ("not a schedule", {}, "UnparseableSchedule"),
        (HOURLY, {"timeZone": "Bielefeld"}, "UnknownTimeZone"),
        (HOURLY, {"timeZone": "../etc/passwd"}, "UnknownTimeZone"),
    ],
)
def test_what_can_not_be_understood_is_told_of(schedule: str, spec: Object, reason: str) -> None:
    found = decide(cron_job(schedule, **spec), "11:00:00")
    assert reasons(found) == [reason] and found.start is None and found.wait_seconds is None


def test_an_unknown_time_zone_is_named() -> None:
    [told] = decide(cron_job(timeZone="Bielefeld"), "11:00:00").events
    assert told.message == 'invalid timeZone: "Bielefeld": unknown time zone Bielefeld'


@needs_zones
def test_a_schedule_is_read_by_the_clocks_of_its_time_zone() -> None:
    owner = cron_job("30 13 * * *", timeZone="Europe/Berlin")
    found = decide(owner, "11:30:00")
    assert found.start == at("11:30:00") and found.zone is not None
    made = new_job(owner, found.start, found.zone)
    assert made["metadata"]["annotations"][SCHEDULED_AT] == "2026-05-19T13:30:00+02:00"


@needs_zones
def test_a_time_zone_in_an_old_schedule_still_counts_and_is_warned_of() -> None:
    found = decide(cron_job("CRON_TZ=Europe/Berlin 30 13 * * *", timeZone=None), "11:30:00")
    assert reasons(found) == ["UnsupportedSchedule"] and found.start == at("11:30:00")


def test_a_job_is_called_after_its_minute_and_made_of_the_template() -> None:
    owner = cron_job()
    made = new_job(owner, at("11:00:00"), UTC)
    expected = int(datetime(2026, 5, 19, 11, tzinfo=UTC).timestamp()) // 60
    assert name(made) == f"tick-{expected}"
    assert made["metadata"]["labels"] == {"a": "b"} and made["spec"] == owner["spec"]["jobTemplate"]["spec"]
    assert made["metadata"]["annotations"] == {"c": "d", SCHEDULED_AT: "2026-05-19T11:00:00Z"}
    [reference] = made["metadata"]["ownerReferences"]
    assert (reference["kind"], reference["controller"], reference["uid"]) == ("CronJob", True, uid(owner))


def test_old_jobs_go_those_first_that_started_first() -> None:
    owner = cron_job(successfulJobsHistoryLimit=1, failedJobsHistoryLimit=0)
    starts = {"a": "2026-05-19T10:02:00Z", "b": "2026-05-19T10:01:00Z", "c": "2026-05-19T10:03:00Z"}
    complete = [child(which, "Complete", startTime=start) for which, start in starts.items()]
    gone = surplus(owner, [*complete, child("d", "Failed", startTime=CREATED), child("running")])
    assert [name(one) for one in gone] == ["b", "a", "d"]
    del owner["spec"]["successfulJobsHistoryLimit"], owner["spec"]["failedJobsHistoryLimit"]
    assert surplus(owner, complete) == []


def test_the_status_names_what_runs_and_when_it_was_due() -> None:
    owner, running = cron_job(), child("tick-1")
    status = status_of(owner, [reference_to(running)], at("11:00:00"), None)
    assert status["lastScheduleTime"] == "2026-05-19T11:00:00Z"
    assert status["active"][0]["uid"] == uid(running) and status["active"][0]["kind"] == "Job"
    assert status_of({**owner, "status": status}, [], None, None) == {"lastScheduleTime": "2026-05-19T11:00:00Z"}


@pytest.mark.parametrize(
    ("schedule", "last", "now", "latest", "missed"),
    [
        (HOURLY, "10:00:00", "10:30:00", None, 0),
        (HOURLY, "10:00:00", "11:30:00", "11:00:00", 1),
        (HOURLY, "10:00:00", "13:30:00", "13:00:00", 3),
        ("@every 1h", "10:00:10", "12:10:10", "12:00:10", 2),
        # Where times are not evenly spaced the estimate must not miss the latest.
        ("30 6-16/4 * * 1-5", "2026-05-15T06:30:00Z", "09:00:00", "06:30:00", 24),
    ],
)
def test_the_latest_time_is_found(schedule: str, last: str, now: str, latest: str | None, missed: int) -> None:
    owner = cron_job(schedule, last=last)
    found = due(owner, times_of(owner, zone_of(owner)), at(now), within_deadline=True)
    assert (found.latest, found.missed) == (at(latest) if latest else None, missed)


def test_after_a_missed_time_the_next_one_is_waited_for() -> None:
    owner = cron_job(last="10:00:00")
    assert seconds_to_next(owner, times_of(owner, UTC), at("13:30:00")) == pytest.approx(1800.1)


def test_a_job_is_over_when_a_condition_says_so() -> None:
    assert finished_as(child("a", "Failed")) == "Failed" and finished_as(child("a")) is None
