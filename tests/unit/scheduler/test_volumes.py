"""Where pods with claims are put, and what becomes of the claims on the way."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.errors import conflict
from apimachinery.meta import Object, name, namespaced_key
from apimachinery.patch import merge_patch
from apimachinery.persistent_volumes import BIND_COMPLETED, SELECTED_NODE
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from scheduler.cluster import Cluster, Placement
from scheduler.diagnosis import Diagnosis
from scheduler.storage import BIND_TIMEOUT_SECONDS
from scheduler.trimming import trimmed_pod
from tests.unit.scheduler.factories import make_cluster, make_node, make_pod
from tests.unit.scheduler.test_scheduler import World

WAIT: Object = {
    "metadata": {"name": "wait"},
    "provisioner": "example.com/made",
    "volumeBindingMode": "WaitForFirstConsumer",
}
STATIC: Object = {**WAIT, "metadata": {"name": "static"}, "provisioner": "kubernetes.io/no-provisioner"}
IMMEDIATE: Object = {"metadata": {"name": "now"}, "provisioner": "x.example.com", "volumeBindingMode": "Immediate"}
_version = iter(range(100, 10**6))


def claim(called: str = "c", *, storage_class: str = "wait", volume: str = "", **more: Any) -> Object:
    annotations = {**({BIND_COMPLETED: "yes"} if volume else {}), **more.pop("annotations", {})}
    metadata = {
        "name": called,
        "namespace": "default",
        "uid": f"uid-{called}",
        "resourceVersion": str(next(_version)),
        "annotations": annotations,
        **more.pop("metadata", {}),
    }
    spec = {
        "accessModes": more.pop("modes", ["ReadWriteOnce"]),
        "storageClassName": storage_class,
        "resources": {"requests": {"storage": more.pop("size", "1Gi")}},
        **({"volumeName": volume} if volume else {}),
        **more.pop("spec", {}),
    }
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Bound" if volume else "Pending", **more}}


def volume(called: str = "v", *nodes: str, size: str = "1Gi", storage_class: str = "static", **more: Any) -> Object:
    """One that can be used on these nodes only, if any are named."""
    term = {"matchExpressions": [{"key": "host", "operator": "In", "values": list(nodes)}]}
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": size},
        "storageClassName": storage_class,
        **({"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}} if nodes else {}),
    }
    metadata = {"name": called, "uid": f"uid-{called}", "resourceVersion": str(next(_version)), **more}
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Available"}}


def user(called: str = "p", *claims: str, **more: Any) -> Object:
    volumes = [{"name": one, "persistentVolumeClaim": {"claimName": one}} for one in claims or ("c",)]
    return make_pod(called, volumes=volumes, **more)


def node(called: str, **labels: str) -> Object:
    return make_node(called, labels={"host": called, **labels})


def cluster_of(*objects: Object, nodes: tuple[Object, ...] = (node("a"), node("b"))) -> Cluster:
    cluster = make_cluster(*nodes)
    for obj in (WAIT, STATIC, IMMEDIATE, *objects):
        tell(cluster, obj)
    return cluster


def tell(cluster: Cluster, obj: Object) -> None:
    storage = cluster.snapshot.storage
    take = storage.class_changed if "provisioner" in obj else storage.volume_changed
    if namespaced_key(obj) != name(obj):
        take = storage.claim_changed
    cluster.storage_changed(take, None, obj)


def place(cluster: Cluster, pod: Object, now: float = 0.0) -> Placement | Diagnosis:
    cluster.pod_changed("ADDED", None, trimmed_pod(pod), now=now)
    queued = cluster.next_pod(now)
    assert queued is not None
    return cluster.place(queued, now)


def node_of(found: Placement | Diagnosis) -> str:
    assert isinstance(found, Placement), found
    return found.node


def refusal(found: Placement | Diagnosis) -> str:
    assert isinstance(found, Diagnosis), found
    return found.message.removeprefix("0/2 nodes are available: ").partition(" preemption: ")[0]


@pytest.mark.parametrize(
    ("objects", "message"),
    [
        ([], 'persistentvolumeclaim "c" not found.'),
        ([claim(storage_class="now")], "pod has unbound immediate PersistentVolumeClaims."),
        ([claim(spec={"volumeName": "v"})], "pod has unbound immediate PersistentVolumeClaims."),
        ([claim(storage_class="none")], "pod has unbound immediate PersistentVolumeClaims."),
        ([claim(metadata={"deletionTimestamp": "x"})], 'persistentvolumeclaim "c" is being deleted.'),
        (
            [claim(volume="v", phase="Lost")],
            'persistentvolumeclaim "c" bound to non-existent persistentvolume "v".',
        ),
        (
            [claim(volume="v")],
            "2 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s).",
        ),
        ([claim(volume="v"), volume("v", "elsewhere")], "2 node(s) had volume node affinity conflict."),
        (
            [claim(storage_class="static")],
            "2 node(s) didn't find available persistent volumes to bind.",
        ),
        (
            [claim(storage_class="static", size="2Gi"), volume("v", "a")],
            "2 node(s) didn't find available persistent volumes to bind.",
        ),
    ],
)
def test_a_pod_whose_claims_can_not_be_had_is_told_why(objects: list[Object], message: str) -> None:
    assert refusal(place(cluster_of(*objects), user())) == message


@pytest.mark.parametrize("where", ["a", "b"])
def test_a_pod_goes_where_its_volume_is(where: str) -> None:
    found = place(cluster_of(claim(volume="v"), volume("v", where)), user())
    assert isinstance(found, Placement) and (found.node, found.decision) == (where, None)


def test_a_claim_gets_a_volume_that_is_there_with_the_node() -> None:
    found = place(cluster_of(claim(storage_class="static"), volume("v", "b")), user())
    assert isinstance(found, Placement) and found.decision is not None
    assert (found.node, found.decision.bindings) == ("b", (("default/c", "v"),))


def test_the_smallest_claim_takes_the_smallest_volume() -> None:
    both = (claim("big", storage_class="static", size="3Gi"), claim("small", storage_class="static"))
    cluster = cluster_of(*both, volume("v", "b", size="1Gi"), volume("w", "b", size="5Gi"))
    found = place(cluster, user("p", "big", "small"))
    assert isinstance(found, Placement) and found.decision is not None
    assert dict(found.decision.bindings) == {"default/small": "v", "default/big": "w"}


def test_two_pods_are_not_promised_the_same_volume() -> None:
    claims = (claim("c", storage_class="static"), claim("d", storage_class="static"))
    cluster = cluster_of(*claims, volume("v", "a"), volume("w", "b"))
    assert {node_of(place(cluster, user("p", "c"))), node_of(place(cluster, user("q", "d")))} == {"a", "b"}
    third = claim("e", storage_class="static")
    tell(cluster, third)
    assert "didn't find available persistent volumes" in refusal(place(cluster, user("r", "e")))


def test_pods_that_share_a_claim_follow_the_first_of_them() -> None:
    cluster = cluster_of(claim())
    first = node_of(place(cluster, user("p")))
    assert {node_of(place(cluster, user(f"q{number}"))) for number in range(4)} == {first}


def test_a_promise_that_came_to_nothing_holds_nobody_up() -> None:
    cluster = cluster_of(claim("c", storage_class="static"), claim("d", storage_class="static"), volume("v", "a"))
    first = place(cluster, user("p", "c"))
    assert "didn't find" in refusal(place(cluster, user("q", "d")))
    assert isinstance(first, Placement)
    cluster.forget(first)
    again = cluster.next_pod(60.0)
    assert again is not None and again.key == "default/q"
    assert node_of(cluster.place(again, 60.0)) == "a"


def test_a_volume_is_made_where_the_scheduler_once_said() -> None:
    cluster = cluster_of(claim(annotations={SELECTED_NODE: "b"}))
    found = place(cluster, user())
    assert isinstance(found, Placement) and found.decision is not None
    assert (found.node, found.decision.provisions) == ("b", ("default/c",))


def test_a_class_may_say_where_its_volumes_can_be() -> None:
    near = {**WAIT, "allowedTopologies": [{"matchLabelExpressions": [{"key": "host", "values": ["b"]}]}]}
    assert node_of(place(cluster_of(claim(), near), user())) == "b"


def test_a_volume_of_a_zone_keeps_its_pods_there() -> None:
    zone = "topology.kubernetes.io/zone"
    nodes = (node("a", **{zone: "x"}), node("b", **{zone: "y"}))
    there = volume("v", labels={zone: "y__z"})
    assert node_of(place(cluster_of(claim(volume="v"), there, nodes=nodes), user())) == "b"
    nowhere = volume("v", labels={zone: "z"})
    message = refusal(place(cluster_of(claim(volume="v"), nowhere, nodes=nodes), user()))
    assert message == "2 node(s) had no available volume zone."


def test_a_volume_of_old_names_its_zone_by_another_label_than_nodes_of_today() -> None:
    old, zone = "failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"
    there = volume("v", labels={old: "y"})
    for nodes in (
        (node("a", **{zone: "x"}), node("b", **{zone: "y"})),
        (node("a", **{old: "x", zone: "y"}), node("b", **{old: "y"})),
    ):
        assert node_of(place(cluster_of(claim(volume="v"), there, nodes=nodes), user())) == "b"


def test_a_claim_for_one_pod_is_for_one_pod_until_that_is_gone() -> None:
    cluster = cluster_of(claim(volume="v", modes=["ReadWriteOncePod"]), volume("v"))
    first = user("p")
    node_of(place(cluster, first))
    assert refusal(place(cluster, user("q"))) == (
        "2 node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode."
    )
    cluster.pod_changed("DELETED", trimmed_pod(first), None, now=1.0)
    again = cluster.next_pod(60.0)
    assert again is not None and again.key == "default/q"
    node_of(cluster.place(again, 60.0))


def test_a_pod_waits_for_a_claim_of_its_own() -> None:
    own = [{"name": "v", "ephemeral": {"volumeClaimTemplate": {}}}]
    pod = make_pod("p", volumes=own)
    missing = 'waiting for ephemeral volume controller to create the persistentvolumeclaim "p-v".'
    assert refusal(place(cluster_of(), pod)) == missing
    theirs = claim("p-v", volume="v")
    cluster = cluster_of(theirs, volume("v"))
    assert "was not created for pod default/p (pod is not owner)" in refusal(place(cluster, pod))
    owner = {"kind": "Pod", "name": "p", "uid": "uid-default-p", "controller": True}
    node_of(place(cluster_of(claim("p-v", volume="v", metadata={"ownerReferences": [owner]}), volume("v")), pod))


def test_what_waits_for_storage_is_tried_when_storage_changes_and_pods_without_claims_are_not() -> None:
    cluster = cluster_of()
    refusal(place(cluster, user()))
    refusal(place(cluster, make_pod("large", cpu="100")))
    tell(cluster, volume("unrelated"))
    assert cluster.next_pod(60.0) is None, "nothing that could help"
    tell(cluster, claim(volume="v"))
    tell(cluster, volume("v"))
    again = cluster.next_pod(60.0)
    assert again is not None and again.key == "default/p"
    node_of(cluster.place(again, 60.0))
    assert cluster.next_pod(60.0) is None


def test_a_pod_whose_claim_came_when_all_nodes_were_full_gets_the_next_room() -> None:
    nodes = (make_node("a", cpu=1, labels={"host": "a"}),)
    cluster = cluster_of(nodes=nodes)
    other = make_pod("other", cpu="1")
    node_of(place(cluster, other))
    place(cluster, user("p", cpu="1"))
    tell(cluster, claim(volume="v"))
    tell(cluster, volume("v"))
    assert cluster.next_pod(60.0) is None
    cluster.pod_changed("DELETED", other, None, now=61.0)
    assert cluster.next_pod(120.0) is not None


class StorageWorld(World):
    """One whose API server takes what the scheduler writes about claims and volumes, unless it refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.storage_refusals: list[Exception] = []
        for one in (node("a"), node("b")):
            self.nodes.set(one)
        for one in (WAIT, STATIC):
            self.classes.set(one)

    async def patch(self, resource: Any, called: str, patch: Object, namespace: str = "", **more: Any) -> Object:
        if resource not in (PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES):
            return await super().patch(resource, called, patch, namespace, **more)
        if self.storage_refusals:
            raise self.storage_refusals.pop(0)
        kept = self.claims if resource is PERSISTENTVOLUMECLAIMS else self.volumes
        old = kept.objects[f"{namespace}/{called}" if namespace else called]
        patch["metadata"].pop("resourceVersion")
        return self.written(kept, old, patch)

    def written(self, kept: Any, old: Object, patch: Object) -> Object:
        new = merge_patch(old, patch)
        made: Object = {**new, "metadata": {**new["metadata"], "resourceVersion": str(next(_version))}}
        kept.set(made)
        return made

    def bind_claim(self, called: str, to: str) -> None:
        """What the binder does."""
        done = {"metadata": {"annotations": {BIND_COMPLETED: "yes"}}, "spec": {"volumeName": to}}
        self.written(self.claims, self.claims.objects[f"default/{called}"], done)


async def test_a_pod_is_bound_when_its_claim_is() -> None:
    world = StorageWorld()
    async with world.leading():
        world.claims.set(claim())
        world.pods.set(user())
        await world.clock.settle()
        selected = world.claims.objects["default/c"]["metadata"]["annotations"][SELECTED_NODE]
        assert selected in ("a", "b") and not world.bound
        world.pods.set(make_pod("other"))
        await world.clock.settle()
        assert set(world.bound) == {"other"}, "who has no claims does not wait for those who have"
        world.volumes.set(volume("made", selected))
        world.bind_claim("c", "made")
        await world.clock.settle()
        assert world.bound["p"] == selected


async def test_a_volume_that_is_there_is_told_whose_it_is() -> None:
    world = StorageWorld()
    async with world.leading():
        world.claims.set(claim(storage_class="static"))
        world.volumes.set(volume("v", "b"))
        world.pods.set(user())
        await world.clock.settle()
        assert world.volumes.objects["v"]["spec"]["claimRef"]["uid"] == "uid-c"
        world.bind_claim("c", "v")
        await world.clock.settle()
        assert world.bound == {"p": "b"}


async def test_a_decision_that_fails_is_made_again() -> None:
    world = StorageWorld()
    world.storage_refusals.append(conflict("persistentvolumeclaims", "c", "changed"))
    async with world.leading():
        world.claims.set(claim())
        world.pods.set(user())
        await world.clock.settle()
        ((kind, message),) = world.events
        assert kind == "Warning FailedScheduling" and message.startswith('running PreBind plugin "VolumeBinding": ')
        await world.clock.advance(2)
        taken_back = {"metadata": {"annotations": {SELECTED_NODE: None}}}
        world.written(world.claims, world.claims.objects["default/c"], taken_back)
        await world.clock.settle()
        assert world.events[-1][1].endswith('binding volumes: provisioning failed for PVC "c"')
        await world.clock.advance(5)
        assert SELECTED_NODE in world.claims.objects["default/c"]["metadata"]["annotations"]


async def test_nobody_waits_for_a_volume_for_ever() -> None:
    world = StorageWorld()
    async with world.leading():
        world.claims.set(claim())
        world.pods.set(user())
        await world.clock.settle()
        await world.clock.advance(BIND_TIMEOUT_SECONDS + 1)
        assert any("context deadline exceeded" in message for _, message in world.events)
