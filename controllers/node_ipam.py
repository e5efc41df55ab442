"""Gives every node a part of the cluster's pod network, never the same to two.

What nodes carry in `spec.podCIDRs` is the only record: a restarted manager reads it back. A part that is being given
away is held in memory until the node shows it, also when the answer to the write was lost.

Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-controller-manager/ (--cluster-cidr)
"""

from __future__ import annotations

import logging
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import chain

from apiclient.informer import DELETED
from apiclient.logs import kv
from apimachinery.meta import Object, deletion_requested, get_path, name, resource_version, uid
from apimachinery.resources import NODES
from controllers.context import Context

logger = logging.getLogger(__name__)

Network = IPv4Network | IPv6Network


class CidrPool:
    """The parts of a network, by the node that has them."""

    def __init__(self, network: Network, mask_size: int) -> None:
        if not network.prefixlen <= mask_size <= network.max_prefixlen:
            raise ValueError(f"a node's part of {network} can't be a /{mask_size}")
        self._network = network
        self._mask_size = mask_size
        self._count = 1 << (mask_size - network.prefixlen)
        self._parts: dict[str, range] = {}
        self._users: dict[int, set[str]] = {}
        self._next = 0

    def occupy(self, node: str, cidrs: list[str]) -> None:
        """Note what a node has. What lies outside of the network is none of ours."""
        self.release(node)
        for cidr in cidrs:
            part = ip_network(cidr, strict=False)
            if part.version == self._network.version and part.overlaps(self._network):
                self._take(node, self._numbers(part))
                return

    def release(self, node: str) -> None:
        """Note that a node has nothing any more."""
        for number in self._parts.pop(node, range(0)):
            self._users[number].discard(node)
            if not self._users[number]:
                del self._users[number]

    def allocate(self, node: str) -> str | None:
        """A free part for a node, the same again until it is released; None if there is none."""
        if node not in self._parts:
            number = self._free()
            if number is None:
                return None
            self._take(node, range(number, number + 1))
            self._next = number + 1
        return self._cidr(self._parts[node].start)

    def _free(self) -> int | None:
        """The next free one after the last that was given away: a deleted node's part rests for a while."""
        order = chain(range(self._next, self._count), range(min(self._next, self._count)))
        return next((number for number in order if number not in self._users), None)

    def _take(self, node: str, numbers: range) -> None:
        self._parts[node] = numbers
        for number in numbers:
            self._users.setdefault(number, set()).add(node)

    def _numbers(self, part: Network) -> range:
        size = self._network.max_prefixlen - self._mask_size
        base = int(self._network.network_address)
        first = max(0, (int(part.network_address) - base) >> size)
        last = min(self._count - 1, (int(part.broadcast_address) - base) >> size)
        return range(first, last + 1)

    def _cidr(self, number: int) -> str:
        offset = number << (self._network.max_prefixlen - self._mask_size)
        return f"{self._network.network_address + offset}/{self._mask_size}"


def pod_cidrs(node: Object) -> list[str]:
    """The parts of pod networks that a node carries."""
    one = get_path(node, "spec", "podCIDR")
    return list(get_path(node, "spec", "podCIDRs", default=[one] if one else []))


class NodeIpamController:
    """One control loop over all nodes."""

    def __init__(self, context: Context) -> None:
        cidr = context.options.cluster_cidr
        if cidr is None:
            raise ValueError("node-ipam-controller needs --cluster-cidr")
        self._client = context.client
        self._recorder = context.recorder
        self._nodes = context.informers.of(NODES)
        self._pool = CidrPool(ip_network(cidr), context.options.node_cidr_mask_size)
        self.informers = (self._nodes,)
        self.queue = context.queue()
        self._nodes.add_handler(self._node_changed)

    def _node_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if kind == DELETED:
            assert old is not None
            self._pool.release(name(old))
            for node in self._nodes.list():
                if not pod_cidrs(node):
                    self.queue.add(name(node))
        elif new is not None:
            if cidrs := pod_cidrs(new):
                self._pool.occupy(name(new), cidrs)
            else:
                self.queue.add(name(new))

    async def reconcile(self, key: str) -> None:
        """Give the node its part if it has none."""
        node = self._nodes.get(key)
        if node is None or pod_cidrs(node) or deletion_requested(node):
            return
        cidr = self._pool.allocate(key)
        if cidr is None:
            message = f"Node {key} status is now: CIDRNotAvailable"
            self._recorder.event({**node, "apiVersion": "v1", "kind": "Node"}, "Normal", "CIDRNotAvailable", message)
            return
        # Only of this version: if somebody else has given it one meanwhile, the write must fail.
        metadata = {"uid": uid(node), "resourceVersion": resource_version(node)}
        patch = {"metadata": metadata, "spec": {"podCIDR": cidr, "podCIDRs": [cidr]}}
        await self._client.patch(NODES, key, patch)
        logger.info(kv("pod network assigned", node=key, cidr=cidr))
