"""Gives every pod of this node an address of its own, and leads packets to the pods of the other nodes.

A bridge `wherry0` in the node's network namespace carries the gateway address (the first of the podCIDR).
Each pod's namespace holds one end of a veth pair as `eth0`; the other end hangs on the bridge. Pods of other
nodes are reached by one route a node, through that node's address; no packet is rewritten on the way.

All kernel calls run on one thread of their own: it enters a pod's namespace to open a socket there, which
must never happen to a thread that others use.

Sources: https://kubernetes.io/docs/concepts/cluster-administration/networking/, network_namespaces(7),
setns(2).
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import hashlib
import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import ParamSpec, TypeVar

from kubelet.network import netlink
from kubelet.network.ipam import AddressBook

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

BRIDGE = "wherry0"
POD_INTERFACE = "eth0"
MTU_BYTES = 1500
CLONE_NEWNET = 0x40000000
_LOOPBACK_INDEX = 1
_VETH_PREFIX = "wv"


@dataclass(frozen=True, slots=True)
class PodIP:
    """A pod's address, the length of its network's prefix, and the gateway."""

    ip: str
    prefix: int
    gateway: str


class NetworkFailure(Exception):
    """A pod's network could not be made; the message says which step failed and why."""


class PodNetwork:
    """The pod network of one node. `setup` comes first, once the node has a podCIDR."""

    def __init__(self, node_name: str, root_dir: Path) -> None:
        self.node_name = node_name
        directory = root_dir / "network"
        directory.mkdir(parents=True, exist_ok=True)
        self._book = AddressBook(directory / "addresses.json")
        self._cidr_file = directory / "pod-cidr"
        self._network: IPv4Network | None = None
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="pod-network")

    @property
    def ready(self) -> bool:
        """True once the bridge stands and pods can be attached."""
        return self._network is not None

    @property
    def last_cidr(self) -> str:
        """What the node had when its network was last set up, be it by an earlier agent; "" for a new node."""
        try:
            return self._cidr_file.read_text()
        except FileNotFoundError:
            return ""

    async def setup(self, pod_cidr: str) -> None:
        """Make the bridge with its gateway address and let this node forward packets. Safe to repeat."""
        network = IPv4Network(pod_cidr)
        await self._run(_make_bridge, network)
        self._network = network
        if self.last_cidr != pod_cidr:
            self._cidr_file.write_text(pod_cidr)

    async def attach(self, pod_uid: str, netns: str | int) -> PodIP:
        """Give the namespace of a pod (a path, or a process's id) its interface, address and default route.

        Repeating it for a pod that is attached already is harmless. Raises NetworkFailure.
        """
        if self._network is None:
            raise NetworkFailure("the pod network of this node is not set up yet: it has no podCIDR")
        path = f"/proc/{netns}/ns/net" if isinstance(netns, int) else netns
        network = self._network
        address = self._book.assign(pod_uid, network)
        gateway = gateway_of(network)
        interface = IPv4Interface(f"{address}/{network.prefixlen}")
        try:
            await self._run(_attach, path, veth_name(pod_uid), interface, gateway)
        except OSError as error:
            raise NetworkFailure(f"attach pod {pod_uid} to the network: {error.strerror or error}") from error
        return PodIP(str(address), network.prefixlen, str(gateway))

    async def detach(self, pod_uid: str) -> None:
        """Remove a pod's interface and free its address; harmless when there is none."""
        await self._run(_delete_links, [veth_name(pod_uid)])
        self._book.release(pod_uid)

    async def sync_routes(self, node_addresses: Mapping[str, str]) -> None:
        """Make the routes to other nodes' pods be exactly {pod CIDR: node address}; touches only our own."""
        wanted = {IPv4Network(cidr): IPv4Address(address) for cidr, address in node_addresses.items()}
        await self._run(_sync_routes, wanted)

    def known(self) -> dict[str, str]:
        """The address of each pod that holds one, by pod UID."""
        return {uid: str(address) for uid, address in self._book.by_pod.items()}

    async def reconcile(self, live_pod_uids: Iterable[str]) -> None:
        """Remove the interfaces and addresses of all pods but these: what a crash may have left behind."""
        live = set(live_pod_uids)
        keep = {veth_name(uid) for uid in live}
        stale = [name for name in await self._run(_veth_names) if name not in keep]
        await self._run(_delete_links, stale)
        self._book.release(*[uid for uid in self._book.by_pod if uid not in live])

    def close(self) -> None:
        """End the network's thread; interfaces and routes stay, since the pods go on running."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def _run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: call(*args, **kwargs))


def gateway_of(network: IPv4Network) -> IPv4Address:
    """The first address of a podCIDR: the bridge's own."""
    return network.network_address + 1


def veth_name(pod_uid: str) -> str:
    """The name of the node's end of a pod's veth pair: stable, and within the kernel's 15 characters."""
    return _VETH_PREFIX + hashlib.blake2b(pod_uid.encode(), digest_size=6).hexdigest()


def _make_bridge(network: IPv4Network) -> None:
    with netlink.NetlinkSocket() as node:
        node.send(netlink.add_bridge(BRIDGE))
        index = socket.if_nametoindex(BRIDGE)
        gateway = IPv4Interface(f"{gateway_of(network)}/{network.prefixlen}")
        node.send(netlink.set_up(index), netlink.add_address(index, gateway))
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _attach(netns_path: str, name: str, address: IPv4Interface, gateway: IPv4Address) -> None:
    namespace = os.open(netns_path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with netlink.NetlinkSocket() as node, _socket_inside(namespace) as pod:
            if pod.link_index(POD_INTERFACE) is None:
                # A pair of this name then belongs to an earlier, dying namespace of the same pod.
                node.send(netlink.delete_link(name))
                bridge = socket.if_nametoindex(BRIDGE)
                node.send(
                    netlink.add_veth(
                        name, master=bridge, peer_name=POD_INTERFACE, peer_netns_fd=namespace, mtu=MTU_BYTES
                    )
                )
            index = pod.link_index(POD_INTERFACE)
            if index is None:
                raise OSError(errno.ENODEV, f"{POD_INTERFACE} vanished while it was being set up")
            pod.send(
                netlink.set_up(_LOOPBACK_INDEX),
                netlink.add_address(index, address),
                netlink.set_up(index),
                netlink.add_route(IPv4Network("0.0.0.0/0"), gateway),
            )
    finally:
        os.close(namespace)


def _socket_inside(namespace: int) -> netlink.NetlinkSocket:
    """A route socket of another network namespace; the thread is back in its own when this returns."""
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(namespace)
        try:
            return netlink.NetlinkSocket()
        finally:
            _setns(home)
    finally:
        os.close(home)


def _setns(namespace: int) -> None:
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")


_libc = ctypes.CDLL(None, use_errno=True)


def _delete_links(names: list[str]) -> None:
    with netlink.NetlinkSocket() as node:
        for name in names:
            node.send(netlink.delete_link(name))


def _veth_names() -> list[str]:
    with netlink.NetlinkSocket() as node:
        return [name for name in node.link_names() if name.startswith(_VETH_PREFIX)]


def _sync_routes(wanted: dict[IPv4Network, IPv4Address]) -> None:
    with netlink.NetlinkSocket() as node:
        present = node.routes_of_ours()
        for destination, gateway in present.items():
            if wanted.get(destination) != gateway:
                node.send(netlink.delete_route(destination, gateway))
        for destination, gateway in wanted.items():
            if present.get(destination) == gateway:
                continue
            try:
                node.send(netlink.add_route(destination, gateway))
            except OSError as error:
                # One unreachable node must not keep the others' routes from being made.
                logger.warning("route not made destination=%s error=%r", destination, str(error))
