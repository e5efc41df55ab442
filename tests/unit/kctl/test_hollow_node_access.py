"""How many hollow nodes are kept alive by how many writes, and what they may do."""

from __future__ import annotations

import pytest

from kctl.cluster import hollow_nodes
from kctl.main import main


def test_few_nodes_are_missed_as_soon_as_real_ones_and_many_as_soon_as_in_kubernetes() -> None:
    assert [hollow_nodes.lease_seconds(count) for count in (1, 500, 501, 2000, 5000)] == [4, 4, 5, 16, 40]
    assert hollow_nodes.controller_flags(500) == []
    assert hollow_nodes.controller_flags(5000) == ["--node-monitor-grace-period=50s"]


def test_their_role_is_theirs_alone_and_grants_no_more_than_nodes_and_pods() -> None:
    role, binding, local, local_binding, *flows = [obj for _, obj in hollow_nodes.access()]
    group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "wherry:hollow-nodes"}
    for granted, bound in ((role, binding), (local, local_binding)):
        assert bound["subjects"] == [group]
        assert (bound["roleRef"]["kind"], bound["roleRef"]["name"]) == (granted["kind"], granted["metadata"]["name"])
    resources = {resource for rule in role["rules"] for resource in rule["resources"]}
    assert resources == {"nodes", "nodes/status", "pods", "pods/status"}
    assert local["metadata"]["namespace"] == "kube-node-lease" and local["rules"][0]["resources"] == ["leases"]
    assert {flow["spec"]["priorityLevelConfiguration"]["name"] for flow in flows} == {"node-high", "system"}


@pytest.mark.parametrize("count", ["-1", "10001"])
def test_a_number_that_makes_no_sense_is_refused(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--hollow-nodes", count]) in (1, 2)
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1
