"""Which pod has which address of this node's podCIDR, kept in one small file.

The file outlives the kubelet, so that a restarted one knows the addresses of the pods that kept running.
It need not outlive the machine: after a power loss no pod runs, hence no fsync.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import orjson


class AddressesExhausted(Exception):
    """Every address of the node's podCIDR is taken."""


def next_address(network: IPv4Network, taken: set[IPv4Address], last: IPv4Address | None) -> IPv4Address:
    """The next free address after `last`, going round; a released address rests as long as it can.

    The network's own address, the gateway (the first) and the broadcast address are never given out.
    Raises AddressesExhausted.
    """
    first = int(network.network_address) + 2
    count = network.num_addresses - 3
    start = int(last) + 1 - first if last is not None and last in network else 0
    for step in range(count):
        candidate = IPv4Address(first + (start + step) % count)
        if candidate not in taken:
            return candidate
    raise AddressesExhausted(f"no free address in {network}: all {count} are taken")


class AddressBook:
    """The addresses given out on this node, by pod UID."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last: IPv4Address | None = None
        self.by_pod: dict[str, IPv4Address] = {}
        self._load()

    def _load(self) -> None:
        try:
            document = orjson.loads(self._path.read_bytes())
            self.by_pod = {uid: IPv4Address(address) for uid, address in document["pods"].items()}
            self._last = IPv4Address(document["last"]) if document.get("last") else None
        except FileNotFoundError:
            return
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{self._path}: not an address book ({error}); "
                "stop this node's pods and delete the file to start afresh"
            ) from error

    def assign(self, pod_uid: str, network: IPv4Network) -> IPv4Address:
        """The pod's address: the one it has in `network`, or a new one. Raises AddressesExhausted."""
        known = self.by_pod.get(pod_uid)
        if known is not None and known in network:
            return known
        address = next_address(network, set(self.by_pod.values()), self._last)
        self.by_pod[pod_uid] = address
        self._last = address
        self._save()
        return address

    def release(self, *pod_uids: str) -> None:
        """Free these pods' addresses; unknown pods are no error."""
        if any([self.by_pod.pop(uid, None) is not None for uid in pod_uids]):
            self._save()

    def _save(self) -> None:
        document = {
            "last": str(self._last) if self._last else None,
            "pods": {uid: str(ip) for uid, ip in self.by_pod.items()},
        }
        temporary = self._path.with_suffix(".new")
        temporary.write_bytes(orjson.dumps(document))
        temporary.replace(self._path)
