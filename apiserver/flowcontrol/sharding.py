"""Shuffle sharding: each flow is dealt a small hand of the queues, so that two flows hardly ever share all of theirs.

A flow that floods fills the queues of its own hand; another one finds, with a probability that the sizes of deck and
hand decide on, at least one queue in its hand that is not among them. Pure.

Source: k8s.io/apiserver/pkg/util/shufflesharding.
"""

from __future__ import annotations

from hashlib import blake2b


def hand(flow: str, deck: int, size: int) -> tuple[int, ...]:
    """The queues of a flow: `size` different numbers below `deck`, always the same ones."""
    entropy = int.from_bytes(blake2b(flow.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")
    dealt: list[int] = []
    for left in range(deck, deck - min(size, deck), -1):
        entropy, card = divmod(entropy, left)
        # The number counts those cards only that are still in the deck.
        for other in sorted(dealt):
            card += card >= other
        dealt.append(card)
    return tuple(dealt)
