"""When a CronJob is due: its schedule, read by the clocks of its time zone. Pure, but for the system's time zones.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import lru_cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apimachinery import cron
from apimachinery.cron_times import next_after
from apimachinery.meta import Object, get_path
from apimachinery.time import parse_rfc3339

# A clock that is a little slow must not find that it is not time yet.
NEXT_DELAY_SECONDS = 0.1
MISSED_MAX = 100
_LOCAL_TIME = Path("/etc/localtime")


class UnknownTimeZone(Exception):
    """There is no time zone of this name, or no database of time zones on this machine."""


class BadSchedule(Exception):
    """A schedule that can be read, and yet makes no sense."""


@dataclass(frozen=True, slots=True)
class Times:
    """A schedule and the time zone that it is meant in."""

    schedule: cron.Schedule
    zone: tzinfo

    def next(self, moment: float) -> float | None:
        """When it is due after a moment; None if never."""
        return next_after(self.schedule, moment, self.zone)


@dataclass(frozen=True, slots=True)
class Due:
    """The latest time that has come and has had no Job, if there is one, and about how many have."""

    earliest: float
    latest: float | None = None
    missed: int = 0


def zone_of(cron_job: Object) -> tzinfo:
    """The time zone that `spec.timeZone` names, or an old schedule itself; without any, this process's.

    Raises UnknownTimeZone.
    """
    named = get_path(cron_job, "spec", "timeZone")
    schedule: str = get_path(cron_job, "spec", "schedule", default="")
    if schedule.startswith(("TZ=", "CRON_TZ=")):
        named = schedule.partition("=")[2].partition(" ")[0]
    return local_zone() if named is None else named_zone(named)


@lru_cache(maxsize=64)
def named_zone(name: str) -> tzinfo:
    """Raises UnknownTimeZone."""
    if name in ("", "UTC"):
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise UnknownTimeZone(f'invalid timeZone: "{name}": unknown time zone {name}') from error


@lru_cache(maxsize=1)
def local_zone() -> tzinfo:
    """What the clocks of this machine show."""
    name = os.environ.get("TZ", "").removeprefix(":")
    if name:
        return named_zone(name)
    if not _LOCAL_TIME.exists():
        return UTC
    with _LOCAL_TIME.open("rb") as rules:
        return ZoneInfo.from_file(rules)


def times_of(cron_job: Object, zone: tzinfo) -> Times:
    """Its schedule in this time zone. Raises ValueError for one that can't be read."""
    return Times(cron.parse(cron_job["spec"]["schedule"]), zone)


def due(cron_job: Object, times: Times, now: float, *, within_deadline: bool) -> Due:
    """What has come since the last Job, or since the CronJob is there. Raises BadSchedule.

    `within_deadline`: what has come too long ago to be started now does not count.
    """
    last = get_path(cron_job, "status", "lastScheduleTime") or cron_job["metadata"]["creationTimestamp"]
    earliest = parse_rfc3339(last)
    deadline = get_path(cron_job, "spec", "startingDeadlineSeconds")
    if within_deadline and deadline is not None:
        earliest = max(earliest, now - deadline)
    first = times.next(earliest)
    second = times.next(first) if first is not None else None
    if first is None or second is None:
        if first is not None and now < first:
            return Due(earliest)
        raise BadSchedule("time difference between two schedules is less than 1 second")
    if now < first:
        return Due(earliest)
    if now < second:
        return Due(earliest, first, 1)
    # The number is estimated, and the search begins close to its end: years of minutes are not walked through.
    period = max(1, round(second - first))
    missed = int(now - first) // period + 1
    latest = None
    candidate = times.next(first + (missed - 2) * period)
    while candidate is not None and candidate <= now:
        latest, candidate = candidate, times.next(candidate)
    return Due(earliest, latest, missed)


def seconds_to_next(cron_job: Object, times: Times, now: float) -> float | None:
    """How long until the CronJob has to be looked at; None if its schedule never comes."""
    try:
        found = due(cron_job, times, now, within_deadline=False)
    except BadSchedule:
        after = now
    else:
        after = found.latest if found.latest is not None else now if found.missed else found.earliest
    coming = times.next(after)
    return None if coming is None else max(0.0, coming + NEXT_DELAY_SECONDS - now)
