"""What the status of a Job may say, and what it may not take back: others than our controller may write it.

Most rules hold of what an update changes only, so that a status that is wrong already can still be written.

Source: kubernetes/pkg/apis/batch/validation/validation.go (validateJobStatus), pkg/registry/batch/job/strategy.go.
"""

from __future__ import annotations

from apimachinery.field import OMITTED, duplicate, invalid_value, required
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.time import parse_rfc3339
from apiserver.registry import checks, job_indexes
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import equal
from apiserver.registry.metadata import IMMUTABLE

_COUNTS = ("active", "succeeded", "failed", "ready", "terminating")
_TERMINAL = ("Failed", "Complete", "FailureTarget")
_PATH = "status.conditions"


def has_condition(job: Object, kind: str) -> bool:
    """Whether a condition is true."""
    found = find_condition(job, kind)
    return found is not None and found.get("status") == "True"


def is_finished(job: Object) -> bool:
    """Whether it has succeeded or failed for good."""
    return has_condition(job, "Complete") or has_condition(job, "Failed")


def validate_job_status(job: Object, old: Object) -> Errors:
    """What is wrong with a new status."""
    errors: Errors = []
    status, before = job.get("status") or {}, old.get("status") or {}
    for field in _COUNTS:
        checks.not_negative(status.get(field), f"status.{field}", errors)
    _validate_uncounted(status.get("uncountedTerminatedPods") or {}, errors)
    _validate_conditions(job, old, errors)
    _validate_times(job, old, errors)
    _validate_finished(job, old, errors)
    _validate_indexes(job, old, errors)
    for field in ("failed", "succeeded"):
        decreased = (status.get(field) or 0) < (before.get(field) or 0)
        if decreased and not (field == "succeeded" and _is_elastic(job)):
            why = f"cannot decrease the {field} counter"
            errors.append(invalid_value(f"status.{field}", status.get(field) or 0, why))
    if _changed(job, old, "ready", "active") and (status.get("ready") or 0) > (status.get("active") or 0):
        errors.append(invalid_value("status.ready", status["ready"], "cannot set more ready pods than active"))
    return errors


def _is_elastic(job: Object) -> bool:
    """An indexed Job whose two numbers are one may be scaled down: what it had beyond does not count any more."""
    spec = job.get("spec") or {}
    return spec.get("completionMode") == "Indexed" and spec.get("completions") == spec.get("parallelism")


def _changed(job: Object, old: Object, *fields: str) -> bool:
    return any(not equal(get_path(job, "status", field), get_path(old, "status", field), field) for field in fields)


def _turned(job: Object, old: Object, *kinds: str) -> bool:
    return any(has_condition(job, kind) != has_condition(old, kind) for kind in kinds)


def _validate_uncounted(uncounted: Fields, errors: Errors) -> None:
    seen: set[str] = set()
    for field in ("succeeded", "failed"):
        for number, uid in enumerate(uncounted.get(field) or ()):
            path = f"status.uncountedTerminatedPods.{field}[{number}]"
            if not uid:
                errors.append(invalid_value(path, uid, "must not be empty"))
            elif uid in seen:
                errors.append(duplicate(path, uid))
            seen.add(uid)


def _validate_conditions(job: Object, old: Object, errors: Errors) -> None:
    complete, failed = has_condition(job, "Complete"), has_condition(job, "Failed")
    failing, succeeded = has_condition(job, "FailureTarget"), has_condition(job, "SuccessCriteriaMet")
    wrong: list[str] = []
    if _turned(job, old, "Complete", "Failed") and complete and failed:
        wrong.append("cannot set Complete=True and Failed=true conditions")
    if _turned(job, old, "Complete", "FailureTarget") and complete and failing:
        wrong.append("cannot set Complete=True and FailureTarget=true conditions")
    if (_turned(job, old, "Failed") or _changed(job, old, "failedIndexes")) and failed and not failing:
        wrong.append("cannot set Failed=True condition without the FailureTarget=true condition")
    if _turned(job, old, "Complete", "SuccessCriteriaMet") and complete and not succeeded:
        wrong.append("cannot set Complete=True condition without the SuccessCriteriaMet=true condition")
    if succeeded and failed:
        wrong.append("cannot set SuccessCriteriaMet=True and Failed=true conditions")
    if succeeded and failing:
        wrong.append("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions")
    if get_path(job, "spec", "successPolicy") is not None and complete and not succeeded:
        wrong.append("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True")
    for kind in _TERMINAL:
        if has_condition(old, kind) and not has_condition(job, kind):
            wrong.append(f"cannot disable the terminal {kind}=True condition")
    before = has_condition(old, "SuccessCriteriaMet")
    if before and not succeeded:
        wrong.append("cannot disable the SuccessCriteriaMet=True condition")
    if has_condition(old, "Complete") and not before and succeeded:
        wrong.append("cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions")
    errors += [invalid_value(_PATH, OMITTED, why) for why in wrong]


def _validate_times(job: Object, old: Object, errors: Errors) -> None:
    status, before = job.get("status") or {}, old.get("status") or {}
    started, ended = status.get("startTime"), status.get("completionTime")
    complete, path = has_condition(job, "Complete"), "status.completionTime"
    if _turned(job, old, "Complete") or _changed(job, old, "completionTime"):
        if ended and not complete:
            why = "cannot set completionTime when there is no Complete=True condition"
            errors.append(invalid_value(path, ended, why))
        if not ended and complete:
            errors.append(required(path, "completionTime is required for Complete jobs"))
    if _changed(job, old, "startTime", "completionTime") and started and ended and _before(ended, started):
        errors.append(invalid_value(path, ended, "must be equal to or after `startTime`"))
    if ended and before.get("completionTime") and ended != before["completionTime"]:
        errors.append(invalid_value(path, ended, IMMUTABLE))
    resuming = has_condition(old, "Suspended") and (find_condition(job, "Suspended") or {}).get("status") == "False"
    suspended = get_path(job, "spec", "suspend", default=False)
    if before.get("startTime") and started != before["startTime"] and not suspended and not resuming:
        errors.append(required("status.startTime", "startTime cannot be removed for unsuspended job"))


def _before(time: str, other: str) -> bool:
    try:
        return parse_rfc3339(time) < parse_rfc3339(other)
    except ValueError:
        return False


def _validate_finished(job: Object, old: Object, errors: Errors) -> None:
    if not is_finished(job):
        return
    status, spec = job.get("status") or {}, job.get("spec") or {}
    turned = is_finished(old) != is_finished(job)
    for field in ("active", "terminating"):
        if (turned or _changed(job, old, field)) and (status.get(field) or 0) > 0:
            why = f"{field}>0 is invalid for finished job"
            errors.append(invalid_value(f"status.{field}", status[field], why))
    never_ran = spec.get("suspend") is True and spec.get("completions") == 0
    if (turned or _changed(job, old, "startTime")) and not status.get("startTime") and not never_ran:
        errors.append(required("status.startTime", "startTime is required for finished job"))
    uncounted = status.get("uncountedTerminatedPods") or {}
    are_left = bool(uncounted.get("failed") or uncounted.get("succeeded"))
    if are_left and (turned or _changed(job, old, "uncountedTerminatedPods")):
        why = "must be empty for finished job"
        errors.append(invalid_value("status.uncountedTerminatedPods", uncounted, why))


def _validate_indexes(job: Object, old: Object, errors: Errors) -> None:
    status, spec = job.get("status") or {}, job.get("spec") or {}
    completions, per_index = spec.get("completions"), spec.get("backoffLimitPerIndex")
    completed, failed = status.get("completedIndexes") or "", status.get("failedIndexes")
    done = failures = None
    if completions is not None:
        done = _parsed(completed, completions, "completedIndexes", errors, _changed(job, old, "completedIndexes"))
        wanted = _changed(job, old, "failedIndexes") and per_index is not None
        failures = _parsed(failed or "", completions, "failedIndexes", errors, wanted)
    if _changed(job, old, "completedIndexes") and completed and spec.get("completionMode") != "Indexed":
        why = "cannot set non-empty completedIndexes when non-indexed completion mode"
        errors.append(invalid_value("status.completedIndexes", completed, why))
    if _changed(job, old, "failedIndexes") and failed is not None and per_index is None:
        why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        errors.append(invalid_value("status.failedIndexes", failed, why))
    if _changed(job, old, "failedIndexes", "completedIndexes") and done and failures:
        both = job_indexes.overlap(done, failures)
        if both is not None:
            why = f"failedIndexes and completedIndexes overlap at index: {both}"
            errors.append(invalid_value("status.failedIndexes", failed, why))


def _parsed(
    text: str, completions: int, field: str, errors: Errors, complain: bool
) -> list[job_indexes.Interval] | None:
    try:
        return job_indexes.intervals(text, completions)
    except ValueError as error:
        if complain:
            errors.append(invalid_value(f"status.{field}", text, f"error parsing {field}: {error}"))
        return None
