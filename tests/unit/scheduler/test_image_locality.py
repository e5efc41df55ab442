"""ImageLocality: how much nodes that have a pod's images are preferred, and that nobody else pays for it."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from scheduler.cluster import Cluster
from scheduler.framework import Profile
from scheduler.plugins import default_profile, image_locality
from scheduler.trimming import trimmed_node, trimmed_pod
from tests.unit.scheduler.factories import add_node, container, make_cluster, make_node, make_pod, place

MIB = 2**20


def node_with(name: str, **images: int) -> Object:
    """A node with images of these sizes, in MiB."""
    node = make_node(name)
    node["status"]["images"] = [
        {"names": [f"r/{image}@sha256:0", f"r/{image}:latest"], "sizeBytes": size * MIB}
        for image, size in images.items()
    ]
    return node


def pod_of(*images: str, name: str = "pod", init: tuple[str, ...] = (), **fields: Any) -> Object:
    containers = [container(f"c{n}", image=image) for n, image in enumerate(images)]
    if init:
        fields["initContainers"] = [container(f"i{n}", image=image) for n, image in enumerate(init)]
    return make_pod(name, containers=containers, **fields)


def scores(cluster: Cluster, pod: Object) -> list[int] | None:
    """Of all nodes in turn; None if images make no difference to the pod."""
    asked = image_locality.demand(pod, cluster.snapshot)
    if asked is None:
        return None
    return [int(s) for s in image_locality.score_nodes(asked, cluster.snapshot, slice(0, cluster.snapshot.height))]


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        # On one of two nodes: half of the size, less 23 MiB, as a share of 977 MiB.
        (pod_of("r/app"), [100 * (200 - 23) // 977, 0]),
        (pod_of("r/app:latest"), [100 * (200 - 23) // 977, 0]),
        (pod_of("r/app@sha256:0"), [100 * (200 - 23) // 977, 0]),
        # On both nodes: the whole size.
        (pod_of("r/base"), [100 * (300 - 23) // 977] * 2),
        # More containers: the sum, as a share of what all of them could be worth.
        (pod_of("r/app", "r/base"), [100 * (500 - 23) // 1977, 100 * (300 - 23) // 1977]),
        (pod_of("r/app", "r/app"), [100 * (400 - 23) // 1977, 0]),
        (pod_of("r/none", init=("r/base",)), [100 * (300 - 23) // 1977] * 2),
        # Never more than 100.
        (pod_of("r/huge"), [0, 100]),
        # Too small, another tag, or nowhere.
        (pod_of("r/small"), None),
        (pod_of("r/app:1"), None),
        (pod_of("app"), None),
    ],
)
def test_a_node_is_rated_by_the_sizes_of_the_images_that_it_has(pod: Object, expected: list[int] | None) -> None:
    nodes = node_with("a", app=400, base=300, small=40), node_with("b", base=300, huge=4000)
    assert scores(make_cluster(*nodes), pod) == expected


def test_a_pod_goes_where_its_image_is() -> None:
    cluster = make_cluster(make_node("a"), make_node("b"), node_with("c", app=900), make_node("d"))
    assert [place(cluster, pod_of("r/app", name=f"p{number}")) for number in range(3)] == ["c"] * 3


def test_what_an_image_is_worth_follows_the_nodes() -> None:
    cluster = make_cluster(node_with("a", app=400), make_node("b"))
    before = scores(cluster, pod_of("r/app"))
    add_node(cluster, node_with("b", app=400))
    assert before == [18, 0] and scores(cluster, pod_of("r/app")) == [38, 38]
    cluster.node_changed("DELETED", make_node("b"), None)
    assert scores(cluster, pod_of("r/app")) == [38, 0]
    add_node(cluster, make_node("a"))
    assert scores(cluster, pod_of("r/app")) is None


def test_a_pod_that_waits_is_placed_by_the_images_of_the_time_when_its_turn_comes() -> None:
    cluster = make_cluster(node_with("a", app=900), make_node("b"))
    assert place(cluster, pod_of("r/app", name="first")) == "a"
    add_node(cluster, make_node("a"))
    add_node(cluster, node_with("b", app=900))
    assert place(cluster, pod_of("r/app", name="second")) == "b"


def test_equal_pods_go_where_they_would_without_the_plugin_if_no_node_has_their_image() -> None:
    plain = Profile(tuple(entry for entry in default_profile().plugins if entry[0] is not image_locality.PLUGIN))
    cluster = make_cluster(node_with("a", app=900), make_node("b"))
    asked = [profile.describe(pod_of("r/else"), cluster.snapshot).demands for profile in (default_profile(), plain)]
    assert asked[0] == (*asked[1], None)


def test_equal_images_of_many_nodes_are_one_object_and_placed_pods_keep_none() -> None:
    one, other = trimmed_node(node_with("a", app=1)), trimmed_node(node_with("b", app=1))
    assert one["status"]["images"][0] is other["status"]["images"][0]
    assert trimmed_pod(pod_of("r/app"))["spec"]["containers"][0]["image"] == "r/app"
    assert "image" not in trimmed_pod(pod_of("r/app", node="a"))["spec"]["containers"][0]
