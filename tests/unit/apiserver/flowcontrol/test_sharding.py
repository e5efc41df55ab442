"""Hands of queues."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from apiserver.flowcontrol.sharding import hand


@given(st.text(), st.integers(1, 300), st.integers(1, 10))
def test_a_hand_has_different_cards_of_the_deck(flow: str, deck: int, size: int) -> None:
    found = hand(flow, deck, size)
    assert len(set(found)) == len(found) == min(size, deck)
    assert all(0 <= card < deck for card in found)
    assert hand(flow, deck, size) == found


def test_all_hands_are_dealt_equally_often() -> None:
    dealt = Counter(tuple(sorted(hand(f"flow {n}", 6, 2))) for n in range(15_000))
    assert set(dealt) == set(combinations(range(6), 2))
    assert all(800 < count < 1200 for count in dealt.values())


def test_two_flows_hardly_ever_share_all_their_queues() -> None:
    elephant = set(hand("elephant", 128, 6))
    assert not any(elephant.issuperset(hand(f"mouse {n}", 128, 6)) for n in range(10_000))
