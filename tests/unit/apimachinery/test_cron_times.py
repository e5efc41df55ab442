"""When a cron schedule is due, by the clocks of a place."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apimachinery.cron import parse
from apimachinery.cron_times import next_after

needs_zones = pytest.mark.skipif("Europe/Berlin" not in available_timezones(), reason="no database of time zones")


def due(schedule: str, after: str, zone: str | None = None, count: int = 1) -> list[str]:
    """The next times after one, all in the zone's own clocks."""
    place = ZoneInfo(zone) if zone else UTC
    moment: float | None = datetime.fromisoformat(after).replace(tzinfo=place).timestamp()
    found = []
    for _ in range(count):
        assert moment is not None
        moment = next_after(parse(schedule), moment, place)
        if moment is None:
            break
        found.append(datetime.fromtimestamp(moment, place).isoformat(timespec="minutes"))
    return [text.removesuffix("+00:00") for text in found]


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2026-01-01T00:00:00", "2026-01-01T00:01"),
        ("* * * * *", "2026-01-01T00:00:59", "2026-01-01T00:01"),
        ("*/15 * * * *", "2026-01-01T00:45:00", "2026-01-01T01:00"),
        ("0 3 * * *", "2026-01-01T03:00:00", "2026-01-02T03:00"),
        ("0 0 1 * *", "2026-01-31T12:00:00", "2026-02-01T00:00"),
        ("0 0 31 * *", "2026-01-31T12:00:00", "2026-03-31T00:00"),
        ("0 0 29 2 *", "2026-01-01T00:00:00", "2028-02-29T00:00"),
        ("30 6-16/4 * * 1-5", "2026-01-02T14:30:00", "2026-01-05T06:30"),
        ("0 0 * * sun", "2026-01-01T00:00:00", "2026-01-04T00:00"),
        ("0 0 13 * 5", "2026-01-03T00:00:00", "2026-01-09T00:00"),  # of two days that are named one is enough
        ("@yearly", "2026-01-01T00:00:00", "2027-01-01T00:00"),
        ("@every 90m", "2026-01-01T00:00:00", "2026-01-01T01:30"),
    ],
)
def test_the_next_time_is_the_first_that_all_fields_allow(schedule: str, after: str, expected: str) -> None:
    assert due(schedule, after) == [expected]


def test_a_day_that_no_month_has_never_comes() -> None:
    assert due("59 23 31 2 *", "2026-01-01T00:00:00") == []


@needs_zones
def test_what_clocks_skip_in_spring_does_not_happen() -> None:
    assert due("30 2 * * *", "2026-03-28T12:00:00", "Europe/Berlin") == ["2026-03-30T02:30+02:00"]
    hourly = due("0 * * * *", "2026-03-29T00:30:00", "Europe/Berlin", 3)
    assert hourly == ["2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00", "2026-03-29T04:00+02:00"]


@needs_zones
def test_what_clocks_show_twice_in_autumn_happens_twice() -> None:
    twice = due("30 2 * * *", "2026-10-24T12:00:00", "Europe/Berlin", 3)
    assert twice == ["2026-10-25T02:30+02:00", "2026-10-25T02:30+01:00", "2026-10-26T02:30+01:00"]


@needs_zones
def test_a_midnight_that_is_skipped_is_no_stumbling_block() -> None:
    # Clocks in Beirut go from 0:00 to 1:00.
    assert due("0 1 * * *", "2026-03-28T12:00:00", "Asia/Beirut") == ["2026-03-29T01:00+03:00"]
    assert due("0 0 * * *", "2026-03-28T12:00:00", "Asia/Beirut") == ["2026-03-30T00:00+03:00"]


@given(
    st.sampled_from(["*/7 3,17 * * *", "0 */5 1-10 * 2", "59 23 * 2,11 *", "5 4 * * 0"]),
    st.integers(1_700_000_000, 1_900_000_000),
    st.floats(0, 1, exclude_max=True),
)
def test_no_time_in_between_is_left_out(schedule: str, moment: int, part: float) -> None:
    parsed = parse(schedule)
    found = next_after(parsed, moment, UTC)
    assert found is not None and found > moment
    assert next_after(parsed, moment + int((found - moment) * part), UTC) == found
