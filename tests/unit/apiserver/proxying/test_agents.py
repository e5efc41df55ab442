"""Where the agents of nodes are reached, whatever nodes say of themselves."""

from __future__ import annotations

import ssl

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apiserver.pod_streams import Location
from apiserver.proxying.agents import Agents
from tests.support.access import Objects


def agents(address: str, port: int = 10250) -> Agents:
    status: Object = {"addresses": [{"type": "InternalIP", "address": address}]}
    status["daemonEndpoints"] = {"kubeletEndpoint": {"Port": port}}
    node = {"kind": "Node", "metadata": {"name": "n1"}, "status": status}
    return Agents(Objects(node), ssl.create_default_context())


@pytest.mark.parametrize(
    ("address", "shown"),
    [("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "[2001:db8::1]"), ("n1.example", "n1.example"), ("N1", "N1")],
)
def test_an_agent_is_found_at_its_nodes_address(address: str, shown: str) -> None:
    found = agents(address)
    assert found.address("n1") == (address, 10250)
    assert str(found.url(Location("n1", "/exec/a/b/c", (("command", "ls"),)))) == (
        f"https://{shown}:10250/exec/a/b/c?command=ls"
    )


@pytest.mark.parametrize(
    "address",
    [
        *(
            "n2:10250/exec/kube-system/victim/c?command=sh&stdin=1#",
            "n2/../x",
            "user@n2",
            "http://n2/",
            "a b",
            "a\nb",
        ),
        *("é", "a" * 300, "192.0.2.1:80", "[::1]", "fe80::1%lo", "%00", "*"),
    ],
)
def test_a_node_leads_nobody_elsewhere_by_its_address(address: str) -> None:
    with pytest.raises(ApiError, match="no agent listens"):
        agents(address).address("n1")


@pytest.mark.parametrize("port", [0, -1, 70_000, 1 << 40])
def test_what_is_no_port_is_nobodys(port: int) -> None:
    with pytest.raises(ApiError, match="no agent listens"):
        agents("192.0.2.1", port).address("n1")
