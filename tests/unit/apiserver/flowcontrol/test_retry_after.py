"""How long refused clients are asked to stay away."""

from __future__ import annotations

from apiserver.flowcontrol.retry_after import SECONDS_MAX, RetryAfter


def refuse(found: RetryAfter, seconds: range, per_second: int) -> int:
    return [found.refused(float(second)) for second in seconds for _ in range(per_second)][-1]


def test_one_refusal_asks_for_a_second() -> None:
    assert RetryAfter().refused(100.0) == 1


def test_the_more_are_refused_the_longer_they_are_asked_to_stay_away() -> None:
    found = RetryAfter()
    assert refuse(found, range(100, 104), 10) == 4
    assert refuse(found, range(104, 200), 10) == SECONDS_MAX


def test_when_few_are_refused_it_gets_shorter_again() -> None:
    found = RetryAfter()
    refuse(found, range(100, 120), 10)
    longest = found.seconds
    refuse(found, range(200, 203), 1)
    assert longest - 3 <= found.seconds < longest
