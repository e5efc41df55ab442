"""Sets of indexes as the status of a Job writes them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.job_indexes import Indexes

MANY = 60
SETS = st.sets(st.integers(0, MANY - 1))


def of(*indexes: int) -> Indexes:
    return Indexes().with_indexes(indexes)


@pytest.mark.parametrize(
    ("indexes", "text"),
    [((), ""), ((0,), "0"), ((0, 1), "0,1"), ((0, 1, 2), "0-2"), ((9, 1, 3, 4, 5, 7, 8), "1,3-5,7-9")],
)
def test_three_in_a_row_are_written_as_an_interval(indexes: tuple[int, ...], text: str) -> None:
    assert str(of(*indexes)) == text and Indexes.parse(text, MANY) == of(*indexes)


def test_what_a_job_has_no_more_is_left_out() -> None:
    assert str(Indexes.parse("0,2-8,12", 5)) == "0,2-4"


def test_what_is_no_interval_is_left_out() -> None:
    assert str(Indexes.parse("a,1-b,3,-5,4-2", MANY)) == "3"
    assert Indexes.parse(None, MANY) == Indexes()


@given(SETS, SETS, st.integers(0, 10))
def test_it_is_a_set(some: set[int], others: set[int], count: int) -> None:
    mine, theirs = of(*some), of(*others)
    assert len(mine) == len(some) and {index for index in range(MANY) if index in mine} == some
    assert Indexes.parse(str(mine), MANY) == mine
    assert mine.union(theirs) == of(*some, *others)
    assert mine.shared_with(theirs) == len(some & others)
    absent = [index for index in range(MANY) if index not in some]
    assert mine.first_absent(count, MANY) == absent[:count]


def test_indexes_beyond_the_end_are_never_absent() -> None:
    assert of(1, 7, 9).first_absent(10, 5) == [0, 2, 3, 4]
