"""Cron schedules, as Kubernetes reads them."""

from __future__ import annotations

import pytest

from apimachinery.cron import Schedule, parse


def test_a_schedule_is_the_minutes_that_are_in_all_of_its_fields() -> None:
    found = parse("0,30 8-10 */10 jan-mar mon")
    assert (found.minutes, found.hours, found.days) == ({0, 30}, {8, 9, 10}, {1, 11, 21, 31})
    assert (found.months, found.weekdays) == ({1, 2, 3}, {1})
    assert not found.any_day and not found.any_weekday


def test_a_star_says_nothing_of_a_day() -> None:
    found = parse("0 0 * * 5")
    assert found.any_day and not found.any_weekday
    assert parse("0 0 ? * ?").any_weekday


def test_a_step_without_an_end_goes_on_to_the_last() -> None:
    assert parse("50/3 * * * *").minutes == {50, 53, 56, 59}


@pytest.mark.parametrize(("name", "same"), [("@hourly", "0 * * * *"), ("@weekly", "0 0 * * 0")])
def test_some_schedules_have_names(name: str, same: str) -> None:
    assert parse(name) == parse(same)


def test_a_schedule_may_be_a_period() -> None:
    assert parse("@every 1h30m") == Schedule(every_seconds=5400)


def test_a_time_zone_inside_of_a_schedule_is_read_over() -> None:
    assert parse("CRON_TZ=Europe/Berlin 0 1 * * *") == parse("0 1 * * *")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("error", "expected exactly 5 fields, found 1: [error]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("10-5 * * * *", "beginning of range (10) beyond end of range (5): 10-5"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@often", "unrecognized descriptor: @often"),
        ("@every day", 'failed to parse duration @every day: time: invalid duration "day"'),
        ("TZ=0", "invalid schedule format: no schedule follows the time zone"),
    ],
)
def test_what_is_no_schedule_is_refused_with_the_reason(wrong: str, told: str) -> None:
    with pytest.raises(ValueError) as refused:
        parse(wrong)
    assert str(refused.value) == told
