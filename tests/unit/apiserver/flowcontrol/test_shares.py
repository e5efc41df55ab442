"""How seats are divided and lent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pytest import approx

from apiserver.flowcontrol.shares import Bounds, Claim, Demand, Meter, allocate, bounds, claim


def test_seats_are_divided_by_shares_and_rounded_up() -> None:
    assert bounds({"nominalConcurrencyShares": 30, "lendablePercent": 33}, 600, 245) == Bounds(74, 50, 674)
    assert bounds({"nominalConcurrencyShares": 5, "borrowingLimitPercent": 100}, 600, 245) == Bounds(13, 13, 26)
    assert bounds({"nominalConcurrencyShares": 0}, 600, 0) == Bounds(0, 0, 600)


def test_who_needs_more_borrows_from_who_needs_less() -> None:
    idle, busy = Claim(5, 100, 5), Claim(10, 100, 80)
    given_, fraction = allocate(40, [idle, busy])
    assert given_ == approx([5, 35]) and fraction < 1


def test_borrowing_has_its_limit() -> None:
    given_, _ = allocate(40, [Claim(5, 100, 5), Claim(10, 20, 80)])
    assert given_ == approx([20, 20])


def test_without_room_everybody_keeps_what_is_theirs() -> None:
    assert allocate(10, [Claim(5, 9, 7), Claim(6, 9, 7)])[0] == [5, 6]
    assert allocate(10, [])[0] == []


_claims = st.lists(
    st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 200)).map(
        lambda found: Claim(found[0], found[0] + found[1], max(found[0], found[2]))
    ),
    min_size=1,
    max_size=8,
)


@given(_claims, st.floats(0, 1))
def test_all_seats_are_given_and_every_bound_is_kept(claims: list[Claim], where: float) -> None:
    low, high = sum(one.low for one in claims), sum(one.high for one in claims)
    seats = low + (high - low) * where
    found, fraction = allocate(seats, claims)
    assert sum(found) == approx(seats, abs=1e-6)
    for one, seats_given in zip(claims, found, strict=True):
        assert one.low - 1e-9 <= seats_given <= one.high + 1e-9
        # Whoever is kept back by no bound gets the common fraction of what they want.
        if one.low + 1e-6 < seats_given < one.high - 1e-6:
            assert seats_given == approx(fraction * max(one.target, 0.001))


def test_what_a_level_has_used_of_its_own_it_keeps() -> None:
    demand = Demand()
    demand.add(30, 20, 2)
    assert claim(Bounds(40, 10, 100), demand) == Claim(30, 100, 30)
    demand.add(60, 20, 2)
    assert claim(Bounds(40, 10, 100), demand).low == 40


def test_demand_rises_at_once_and_is_forgotten_slowly() -> None:
    demand = Demand()
    demand.add(100, 90, 10)
    assert demand.smoothed == 100
    for _ in range(30):
        demand.add(0, 0, 0)
    assert 45 < demand.smoothed < 55


def test_a_meter_weighs_by_time() -> None:
    meter = Meter(0.0)
    meter.set(4, 1.0)
    meter.set(0, 2.0)
    assert meter.read(4.0) == (4, 1.0, approx(3**0.5))
    assert meter.read(4.0) == (0, 0.0, 0.0)
