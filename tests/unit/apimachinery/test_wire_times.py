"""Times as they are written down."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from apimachinery.time import parse_rfc3339, rfc3339, rfc3339_micro

MOMENTS = st.floats(min_value=-62_135_596_800, max_value=253_402_300_799) | st.floats(min_value=-3, max_value=3)


@given(MOMENTS)
def test_a_moment_is_written_as_the_library_for_dates_has_it(moment: float) -> None:
    assert rfc3339_micro(moment) == datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    assert rfc3339(moment) == datetime.fromtimestamp(int(moment), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_fraction_that_is_nearly_a_second_is_the_next_one() -> None:
    assert rfc3339_micro(59.9999996) == "1970-01-01T00:01:00.000000Z"
    assert rfc3339_micro(-0.25) == "1969-12-31T23:59:59.750000Z"
    assert parse_rfc3339(rfc3339_micro(1_800_000_000.123456)) == 1_800_000_000.123456
