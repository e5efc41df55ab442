"""What a node may write, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.persistent_volumes import LOCAL_PATH_FINALIZER
from apimachinery.resources import LEASES, NODES, PERSISTENTVOLUMES, PODS, Resource
from apiserver.admission import UPDATE, Attributes, node_restriction
from tests.support.access import Objects, authorizer_of
from tests.support.admission import FakeCluster
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


def mirror(annotations: dict[str, str] | None = None, owner: dict[str, Any] | None = None, **spec: Any) -> Attributes:
    """What a node makes to show a static pod of its own."""
    node_owner = {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u1", "controller": True}
    pod = named("web-n1", spec={"nodeName": "n1", "containers": [{"name": "c", "image": "i"}], **spec})
    pod["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "h"} if annotations is None else annotations
    pod["metadata"]["ownerReferences"] = [{**node_owner, **(owner or {})}]
    return by_node(PODS, pod)


def of_node_n1() -> FakeCluster:
    return FakeCluster((NODES, {"metadata": {"name": "n1", "uid": "u1"}}))


async def test_a_node_may_make_a_mirror_of_a_pod_that_it_runs():
    await admitted(RESTRICTION, mirror(), of_node_n1())


@pytest.mark.parametrize(
    ("attributes", "why"),
    [
        (
            mirror({}),
            'pod does not have "kubernetes.io/config.mirror" annotation, node "n1" can only create mirror pods',
        ),
        (mirror(nodeName="n2"), 'node "n1" can only create pods with spec.nodeName set to itself'),
        (mirror(owner={"name": "n2"}), 'node "n1" can only create pods with an owner reference set to itself'),
        (
            mirror(owner={"controller": False}),
            'node "n1" can only create pods with a controller owner reference set to itself',
        ),
        (
            mirror(owner={"blockOwnerDeletion": True}),
            'node "n1" must not set blockOwnerDeletion on an owner reference',
        ),
        (mirror(owner={"uid": "u2"}), "node n1 UID mismatch: expected u2 got u1"),
        (mirror(serviceAccountName="a"), 'node "n1" can not create pods that reference a service account'),
        (
            mirror(volumes=[{"name": "v", "secret": {"secretName": "s"}}]),
            'node "n1" can not create pods that reference secrets',
        ),
        (
            mirror(containers=[{"name": "c", "envFrom": [{"configMapRef": {"name": "m"}}]}]),
            'node "n1" can not create pods that reference configmaps',
        ),
        (
            mirror(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "s"}}]),
            'node "n1" can not create pods that reference persistentvolumeclaims',
        ),
    ],
)
async def test_a_node_makes_no_pods_but_mirrors_that_get_nothing(attributes, why):
    error = await refused(RESTRICTION, attributes, of_node_n1())
    assert (error.code, error.message) == (403, f'pods "web-n1" is forbidden: {why}')


def volume(*finalizers: str, **spec: Any) -> Object:
    return {"metadata": {"name": "v", "finalizers": list(finalizers)}, "spec": {"csi": {}, **spec}}


async def test_a_node_says_of_its_volumes_that_it_has_them_and_nothing_else():
    theirs, ours = "kubernetes.io/pv-protection", LOCAL_PATH_FINALIZER
    for finalizers in ((theirs, ours), (theirs,)):
        change = by_node(PERSISTENTVOLUMES, volume(*finalizers), operation=UPDATE, old=volume(theirs))
        await admitted(RESTRICTION, change)
    for changed in (volume(), volume(theirs, "x"), volume(theirs, persistentVolumeReclaimPolicy="Delete")):
        error = await refused(
            RESTRICTION, by_node(PERSISTENTVOLUMES, changed, operation=UPDATE, old=volume(theirs)), FakeCluster()
        )
        assert "only allowed to set and remove the finalizer local-path.wherry.io/folder" in error.message
    error = await refused(RESTRICTION, by_node(PERSISTENTVOLUMES, volume()), FakeCluster())
    assert error.code == 403
