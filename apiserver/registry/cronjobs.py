"""CronJobs.

Source: kubernetes/pkg/apis/batch/v1/defaults.go, validation/validation.go and pkg/registry/batch/cronjob.
"""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apimachinery import cron
from apimachinery.field import invalid_value, not_supported, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import CRONJOBS
from apiserver.registry import checks, workloads
from apiserver.registry.checks import Errors
from apiserver.registry.job_spec import default_template_spec, validate_job_spec
from apiserver.registry.strategy import AGE, NAME, NONE, Cell, CellOf, Column, Since, Strategy, keep_spec

# Jobs are called after their CronJob with eleven characters more, and have 63 at most.
NAME_MAX = 63 - 11
SUCCESSFUL_KEPT, FAILED_KEPT = 3, 1
POLICIES = ("Allow", "Forbid", "Replace")
_ZONE_PART = re.compile(r"[A-Za-z.\-_0-9+]{1,14}")


def default(cron_job: Object) -> None:
    """Jobs may overlap, and a few that are done are kept to be looked at."""
    spec = cron_job.setdefault("spec", {})
    if not spec.get("concurrencyPolicy"):
        spec["concurrencyPolicy"] = "Allow"
    for field, value in (
        ("suspend", False),
        ("successfulJobsHistoryLimit", SUCCESSFUL_KEPT),
        ("failedJobsHistoryLimit", FAILED_KEPT),
    ):
        if spec.get(field) is None:
            spec[field] = value
    job = get_path(spec, "jobTemplate", "spec")
    if job is not None:
        default_template_spec(job)


def validate(cron_job: Object) -> Errors:
    """What is wrong with a CronJob in itself."""
    errors: Errors = []
    spec, metadata = cron_job.get("spec") or {}, cron_job["metadata"]
    schedule = spec.get("schedule") or ""
    if not schedule:
        errors.append(required("spec.schedule"))
    else:
        _validate_schedule(schedule, errors)
    checks.not_negative(spec.get("startingDeadlineSeconds"), "spec.startingDeadlineSeconds", errors)
    checks.choice(spec.get("concurrencyPolicy"), POLICIES, "spec.concurrencyPolicy", errors)
    job, path = get_path(spec, "jobTemplate", "spec", default={}), "spec.jobTemplate.spec"
    validate_job_spec(job, path, errors)
    if job.get("selector") is not None:
        errors.append(invalid_value(f"{path}.selector", job["selector"], "`selector` will be auto-generated"))
    if job.get("manualSelector"):
        errors.append(not_supported(f"{path}.manualSelector", True, ("nil", "false")))
    for field in ("successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
        checks.not_negative(spec.get(field), f"spec.{field}", errors)
    # One that is stored has a version; older ones may have what new ones may not.
    if not metadata.get("resourceVersion"):
        _validate_zone(spec.get("timeZone"), errors)
        _validate_zone_in_schedule(spec, schedule, errors, allowed=False)
        if len(metadata.get("name") or "") > NAME_MAX:
            why = f"must be no more than {NAME_MAX} characters"
            errors.append(invalid_value("metadata.name", metadata["name"], why))
    return errors


def _validate_schedule(schedule: str, errors: Errors) -> None:
    try:
        cron.parse(schedule)
    except ValueError as error:
        errors.append(invalid_value("spec.schedule", schedule, str(error)))


def _validate_zone_in_schedule(spec: checks.Fields, schedule: str, errors: Errors, *, allowed: bool) -> None:
    if "TZ" not in schedule:
        return
    if not allowed:
        why = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(invalid_value("spec.schedule", schedule, why))
    elif spec.get("timeZone") is not None:
        why = "cannot use both timeZone field and TZ or CRON_TZ in schedule"
        errors.append(invalid_value("spec.schedule", schedule, why))


def _validate_zone(zone: str | None, errors: Errors) -> None:
    if zone is None:
        return
    path, unknown = "spec.timeZone", f"unknown time zone {zone}"
    if not zone:
        errors.append(invalid_value(path, zone, "timeZone must be nil or non-empty string"))
        return
    for part in zone.split("/"):
        if part in (".", "..") or part.startswith("-") or not _ZONE_PART.fullmatch(part):
            errors.append(invalid_value(path, zone, unknown))
            return
    if zone.lower() == "local":
        why = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        errors.append(invalid_value(path, zone, why))
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        errors.append(invalid_value(path, zone, unknown))


def validate_update(cron_job: Object, old: Object) -> Errors:
    """A time zone that was allowed once may stay."""
    errors: Errors = []
    spec, before = cron_job.get("spec") or {}, old.get("spec") or {}
    if spec.get("timeZone") != before.get("timeZone"):
        _validate_zone(spec.get("timeZone"), errors)
    allowed = "TZ" in (before.get("schedule") or "")
    _validate_zone_in_schedule(spec, spec.get("schedule") or "", errors, allowed=allowed)
    return errors


def _text(field: str, otherwise: str = "") -> CellOf:
    def cell(cron_job: Object) -> Cell:
        found: str = get_path(cron_job, "spec", field, default=otherwise)
        return found

    return cell


def _suspended(cron_job: Object) -> Cell:
    found = get_path(cron_job, "spec", "suspend")
    return "<unset>" if found is None else str(found)


def _active(cron_job: Object) -> Cell:
    return len(get_path(cron_job, "status", "active", default=()))


def _last(cron_job: Object) -> Cell:
    time = get_path(cron_job, "status", "lastScheduleTime")
    return Since((time,)) if time else NONE


_CONTAINERS = ("spec", "jobTemplate", "spec", "template", "spec", "containers")
STRATEGY = Strategy(
    CRONJOBS,
    default=default,
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Schedule", _text("schedule"), description="When Jobs are made."),
        Column("Timezone", _text("timeZone", NONE), description="The time zone of the schedule."),
        Column("Suspend", _suspended, type="boolean", description="Whether no Jobs are made for now."),
        Column("Active", _active, type="integer", description="How many Jobs are running."),
        Column("Last Schedule", _last, description="When a Job was made last."),
        AGE,
        Column(
            "Containers",
            lambda cron_job: workloads.container_names(get_path(cron_job, *_CONTAINERS, default=())),
            priority=1,
            description="Names of each container in the template.",
        ),
        Column(
            "Images",
            lambda cron_job: workloads.container_images(get_path(cron_job, *_CONTAINERS, default=())),
            priority=1,
            description="Images referenced by each container in the template.",
        ),
        Column(
            "Selector",
            lambda cron_job: workloads.selector_text(get_path(cron_job, "spec", "jobTemplate", default={})),
            priority=1,
            description="The labels of the pods that belong to it.",
        ),
    ),
    counts_generations=True,
)
