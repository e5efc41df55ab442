"""Checks that many resources share."""

from __future__ import annotations

import pytest

from apimachinery.resources import CERTIFICATESIGNINGREQUESTS, INGRESSES, NODES, SERVICES
from apiserver.registry import checks, strategy
from apiserver.registry.ingresses import STRATEGY as INGRESS


def test_what_stands_twice_is_found_in_one_go() -> None:
    assert checks.repeated(["a", "b", "a", "a"]) == {2, 3}
    assert checks.repeated([{"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1}]) == {1}
    assert len(checks.repeated(["same"] * 300_000)) == 299_999


def test_long_lists_keep_nobody_waiting() -> None:
    many = 50_000
    addresses = [{"type": "InternalIP", "address": "10.0.0.1"}] * many
    node = {"metadata": {"name": "n"}, "spec": {}, "status": {"addresses": addresses}}
    assert len(strategy(NODES).validate_status(node, node)) == many - 1
    spec = {"ipFamilies": ["IPv4"] * many, "type": "ClusterIP", "ports": [{"port": 80}]}
    assert len(strategy(SERVICES).validate({"metadata": {"name": "s"}, "spec": spec})) >= many - 1
    usages = {"usages": ["client auth"] * many, "signerName": "a.example/b"}
    request = {"metadata": {"name": "c"}, "spec": usages}
    assert len(strategy(CERTIFICATESIGNINGREQUESTS).validate(request)) >= many - 1


@pytest.mark.parametrize(
    ("hosts", "shown"),
    [
        (["a", "b", "c"], "a,b,c"),
        (["a", "b", "c", ""], "a,b,c + 1 more..."),
        (["a", "", "b", "c"], "a,b,c"),
        ([""] * 100_000, "*"),
        (["a", *[""] * 100_000], "a"),
    ],
)
def test_the_hosts_of_an_ingress_are_counted_once(hosts: list[str], shown: str) -> None:
    ingress = {"metadata": {"name": "i"}, "spec": {"rules": [{"host": host} if host else {} for host in hosts]}}
    column = next(one for one in INGRESS.columns if one.name == "Hosts")
    assert column.cell(ingress) == shown
    assert INGRESS.resource is INGRESSES
