"""Addresses of the node's podCIDR: given out in turn, kept over restarts, never twice."""

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from kubelet.network.ipam import AddressBook, AddressesExhausted, next_address

NETWORK = IPv4Network("10.1.2.0/29")


def test_the_network_gateway_and_broadcast_addresses_are_never_given_out() -> None:
    taken: set[IPv4Address] = set()
    last = None
    for _ in range(5):
        last = next_address(NETWORK, taken, last)
        taken.add(last)
    assert sorted(map(str, taken)) == [f"10.1.2.{n}" for n in range(2, 7)]
    with pytest.raises(AddressesExhausted, match=r"10\.1\.2\.0/29: all 5 are taken"):
        next_address(NETWORK, taken, last)


def test_a_released_address_rests_until_the_others_were_used() -> None:
    first = next_address(NETWORK, set(), None)
    assert next_address(NETWORK, set(), first) == IPv4Address("10.1.2.3")
    assert next_address(NETWORK, set(), IPv4Address("10.1.2.6")) == IPv4Address("10.1.2.2")


def test_a_restarted_node_agent_knows_the_addresses_of_its_pods(tmp_path: Path) -> None:
    book = AddressBook(tmp_path / "addresses.json")
    one = book.assign("a", NETWORK)
    book.assign("b", NETWORK)
    book.release("b", "unknown")
    again = AddressBook(tmp_path / "addresses.json")
    assert again.by_pod == {"a": one}
    assert again.assign("a", NETWORK) == one
    assert again.assign("c", NETWORK) == IPv4Address("10.1.2.4")


def test_a_damaged_address_book_is_a_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "addresses.json"
    path.write_text('{"pods": []}')
    with pytest.raises(ValueError, match=r"addresses\.json: not an address book"):
        AddressBook(path)
