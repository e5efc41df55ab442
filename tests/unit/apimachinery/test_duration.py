"""Durations: as Go writes them, and as command lines take them."""

from __future__ import annotations

import pytest

from apimachinery.duration import duration_text, parse_duration, parse_seconds

BOTH = [
    ("60s", 60),
    ("1m30s", 90),
    ("1h", 3600),
    ("250ms", 0.25),
    ("0", 0),
    ("1.5h", 5400),
    (".5s", 0.5),
    ("2us", 2e-6),
]


@pytest.mark.parametrize(("text", "seconds"), [*BOTH, ("-1m", -60), ("+1m", 60)])
def test_durations_are_written_as_in_go(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "5", "1.5", "soon", "5 minutes", "s", "1d", "-", "1m5", "1e3s", "--1s", "nans"])
def test_a_duration_has_units_that_go_knows(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(("text", "seconds"), [*BOTH, ("7", 7), ("0.5", 0.5)])
def test_a_command_line_takes_durations_and_plain_seconds(text: str, seconds: float) -> None:
    assert parse_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "5 minutes", "s", "1d", "-", "-1s", "-5", "1e3", "nan", "inf", "5_0"])
def test_a_command_line_takes_nothing_else(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration such as"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"),
        (0.3, "300ms"),
        (1.5, "1.5s"),
        (120, "2m0s"),
        (14400, "4h0m0s"),
        (-90, "-1m30s"),
        (3661.25, "1h1m1.25s"),
    ],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
    assert parse_duration(text) == pytest.approx(seconds)
