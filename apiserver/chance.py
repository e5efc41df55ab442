"""Where all that nobody shall be able to tell in advance comes from: uids, the ends of generated names, addresses.

One source for the whole process, so that a simulation has to replace but one: `seed`.
"""

from __future__ import annotations

import random

_source: random.Random = random.SystemRandom()


def seed(number: int) -> None:
    """Have everything come out of a seed from now on. For simulations alone: whoever knows it knows all names."""
    global _source
    _source = random.Random(number)


def characters(alphabet: str, count: int) -> str:
    """So many characters, any of an alphabet."""
    return "".join(_source.choices(alphabet, k=count))


def octets(count: int) -> bytes:
    """So many bytes."""
    return _source.randbytes(count)


def below(limit: int) -> int:
    """A number from 0 on that is smaller than a limit."""
    return _source.randrange(limit)


def between(low: float, high: float) -> float:
    """A number out of a range."""
    return _source.uniform(low, high)
