"""When a cron schedule is due next, by the clocks of a time zone.

A schedule names what clocks on the wall show. When they are put forward, what they skip does not happen that day;
when they are put back, what they show twice happens twice.

Source: github.com/robfig/cron (`SpecSchedule.Next`), which Kubernetes uses.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

from apimachinery.cron import Schedule

# What does not come within so many years, as the 31st of February, never comes.
YEARS_MAX = 5
_MINUTE, _HOUR = 60, 3600


def next_after(schedule: Schedule, moment: float, zone: tzinfo) -> float | None:
    """The first time after a moment, both in seconds since 1970; None if it never comes."""
    if schedule.every_seconds:
        return float(int(moment) + schedule.every_seconds)
    at = int(moment) // _MINUTE * _MINUTE + _MINUTE
    last_year = datetime.fromtimestamp(at, zone).year + YEARS_MAX
    while True:
        wall = datetime.fromtimestamp(at, zone)
        if wall.year > last_year:
            return None
        if wall.month not in schedule.months:
            at = _later(at, (wall.replace(day=1, hour=0, minute=0) + timedelta(days=31)).replace(day=1), zone)
        elif not _is_day(schedule, wall):
            at = _later(at, wall.replace(hour=0, minute=0) + timedelta(days=1), zone)
        elif wall.hour not in schedule.hours:
            # In time that passes, not in what clocks show: an hour that is skipped or doubled is no stumbling block.
            at += _HOUR - wall.minute * _MINUTE - wall.second
        elif wall.minute not in schedule.minutes or wall.second:
            at += _MINUTE - wall.second
        else:
            return float(at)


def _later(at: int, wall: datetime, zone: tzinfo) -> int:
    """When the clocks show this for the first time; always some progress."""
    return max(at + _MINUTE, int(wall.replace(tzinfo=zone, fold=0).timestamp()))


def _is_day(schedule: Schedule, wall: datetime) -> bool:
    of_month, of_week = wall.day in schedule.days, wall.isoweekday() % 7 in schedule.weekdays
    if schedule.any_day or schedule.any_weekday:
        return of_month and of_week
    return of_month or of_week
