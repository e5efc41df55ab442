"""Which addresses hollow pods have: each another one of its node's network, for as long as it is there."""

from __future__ import annotations

from ipaddress import AddressValueError, IPv4Address, IPv4Network
from itertools import chain

FIRST_OFFSET = 2
POD_NETWORK_PREFIX = 24


def part_of(network: str, number: int) -> str:
    """The part of a network that is this node's, a /24; "" beyond its end."""
    whole = IPv4Network(network)
    parts = 1 << max(0, POD_NETWORK_PREFIX - whole.prefixlen)
    if number >= parts:
        return ""
    base = int(whole.network_address) + (number << (32 - POD_NETWORK_PREFIX))
    return str(IPv4Network((base, POD_NETWORK_PREFIX)))


class PodAddresses:
    """The addresses of one node's pods, by the pods' keys."""

    __slots__ = ("_base", "_by_key", "_last", "_next", "_used")

    def __init__(self, network: str) -> None:
        whole = IPv4Network(network)
        self._base = int(whole.network_address)
        self._last = whole.num_addresses - 1
        self._by_key: dict[str, int] = {}
        self._used: set[int] = set()
        self._next = FIRST_OFFSET

    def take(self, key: str) -> str:
        """The address of a pod, which keeps it until it is released; "" when there is none left."""
        offset = self._by_key.get(key)
        if offset is None:
            offset = self._free()
            if offset is None:
                return ""
            self._by_key[key] = offset
            self._used.add(offset)
            self._next = offset + 1
        return str(IPv4Address(self._base + offset))

    def keep(self, key: str, address: str) -> None:
        """A pod has this address already, from before this process."""
        try:
            offset = int(IPv4Address(address)) - self._base
        except AddressValueError:
            return  # somebody else has written it
        if FIRST_OFFSET <= offset < self._last and key not in self._by_key:
            self._by_key[key] = offset
            self._used.add(offset)

    def release(self, key: str) -> None:
        """The pod is gone."""
        self._used.discard(self._by_key.pop(key, -1))

    def _free(self) -> int | None:
        """The next free one after the last that was given away: those of pods that are gone rest for a while."""
        order = chain(range(self._next, self._last), range(FIRST_OFFSET, min(self._next, self._last)))
        return next((offset for offset in order if offset not in self._used), None)
