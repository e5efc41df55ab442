"""Routes to the other nodes' pods, from what their Nodes say."""

from __future__ import annotations

from typing import Any

from kubelet.node.routes import routes


def node(name: str, cidr: str = "", address: str = "") -> dict[str, Any]:
    addresses = [{"type": "Hostname", "address": name}]
    addresses += [{"type": "InternalIP", "address": address}] if address else []
    return {"metadata": {"name": name}, "spec": {"podCIDR": cidr}, "status": {"addresses": addresses}}


def test_each_other_nodes_pods_are_behind_its_address() -> None:
    nodes = [node("a", "10.244.0.0/24", "10.88.0.2"), node("b", "10.244.1.0/24", "10.88.0.3")]
    assert routes(nodes, but="a") == {"10.244.1.0/24": "10.88.0.3"}


def test_a_node_without_address_or_range_has_no_route_yet() -> None:
    assert routes([node("b", "", "10.88.0.3"), node("c", "10.244.2.0/24")], but="a") == {}
