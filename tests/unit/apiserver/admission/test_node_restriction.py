"""What a node may write, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import LEASES, NODES, PODS, Resource
from apiserver.admission import UPDATE, Attributes, node_restriction
from tests.support.access import Objects, authorizer_of
from tests.unit.apiserver.admission.writes import NODE, admitted, named, refused, write

RESTRICTION = node_restriction.plugin(authorizer_of(Objects()))


def node(name: str = "n1", labels: dict[str, str] | None = None, **spec: Any) -> Object:
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec}


def by_node(resource: Resource, obj: Object, **more: Any) -> Attributes:
    return write(resource, obj, user=NODE, **more)


def lease(name: str, namespace: str) -> Object:
    return named(name, namespace, spec={})


@pytest.mark.parametrize(
    "attributes",
    [
        by_node(NODES, node(labels={"kubernetes.io/hostname": "n1", "disk": "ssd", "node.kubernetes.io/x": "y"})),
        by_node(NODES, node(labels={"disk": "ssd"}), operation=UPDATE, old=node()),
        by_node(NODES, node(taints=[]), operation=UPDATE, old=node(), subresource="status"),
        by_node(LEASES, lease("n1", "kube-node-lease")),
        write(NODES, node("n2", labels={"node-restriction.kubernetes.io/a": "b"})),
    ],
)
async def test_a_node_registers_itself_and_says_that_it_lives(attributes):
    await admitted(RESTRICTION, attributes)


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        (by_node(NODES, node("n2")), 'nodes "n2" is forbidden: node "n1" is not allowed to modify node "n2"'),
        (
            by_node(NODES, node(labels={"node-restriction.kubernetes.io/a": "b", "node-role.kubernetes.io/c": ""})),
            'nodes "n1" is forbidden: node "n1" is not allowed to set the following labels: '
            "node-restriction.kubernetes.io/a, node-role.kubernetes.io/c",
        ),
        (
            by_node(NODES, node(), operation=UPDATE, old=node(labels={"a.k8s.io/b": "c"}), subresource="status"),
            'nodes "n1" is forbidden: is not allowed to modify labels: a.k8s.io/b',
        ),
        (
            by_node(NODES, node(), operation=UPDATE, old=node(taints=[{"key": "a", "effect": "NoSchedule"}])),
            'nodes "n1" is forbidden: node "n1" is not allowed to modify taints',
        ),
        (
            by_node(
                PODS,
                {"metadata": {"name": "p", "namespace": "default", "labels": {"a": "b"}}},
                operation=UPDATE,
                old=named("p"),
                subresource="status",
            ),
            'pods "p" is forbidden: node "n1" cannot update labels through pod status',
        ),
        (
            by_node(
                PODS,
                named("p", status={"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "mine"}]}),
                operation=UPDATE,
                old=named("p"),
                subresource="status",
            ),
            'pods "p" is forbidden: node "n1" cannot update resource claim statues',
        ),
        (
            by_node(
                NODES,
                {"metadata": {"name": "n1", "ownerReferences": [{"name": "x"}]}},
                operation=UPDATE,
                old=node(),
            ),
            'nodes "n1" is forbidden: node "n1" is not allowed to modify ownerReferences',
        ),
        (
            by_node(LEASES, lease("n2", "kube-node-lease")),
            'leases.coordination.k8s.io "n2" is forbidden: '
            "can only access node lease with the same name as the requesting node",
        ),
        (
            by_node(LEASES, lease("n1", "default")),
            'leases.coordination.k8s.io "n1" is forbidden: '
            'can only access leases in the "kube-node-lease" system namespace',
        ),
    ],
)
async def test_a_node_can_not_give_itself_more_than_it_has(attributes, why):
    error = await refused(RESTRICTION, attributes)
    assert (error.code, error.message) == (403, why)
