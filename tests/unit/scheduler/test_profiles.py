"""Several profiles in one scheduler: each places the pods that name it, and nobody else's."""

from __future__ import annotations

import random

from scheduler.cluster import Cluster, Placement
from scheduler.diagnosis import Diagnosis
from scheduler.framework import Profile
from scheduler.plugins import default_profile, node_resources_fit
from tests.unit.scheduler.factories import add_node, add_pod, make_node, make_pod, place_next


def two_profiles(*nodes: str) -> Cluster:
    """Beside the default profile one that looks at resources only."""
    simple = Profile(((node_resources_fit.PLUGIN, 1),), "simple")
    cluster = Cluster(default_profile(), simple, rng=random.Random(1))
    for node in nodes:
        add_node(cluster, make_node(node, unschedulable=True))
    return cluster


def test_each_pod_is_placed_by_the_profile_that_it_names() -> None:
    cluster = two_profiles("cordoned")
    add_pod(cluster, make_pod("careful"))
    assert isinstance(place_next(cluster), Diagnosis)
    add_pod(cluster, make_pod("careless", schedulerName="simple"))
    assert isinstance(place_next(cluster), Placement)


def test_pods_whose_scheduler_no_profile_is_of_are_left_alone() -> None:
    cluster = two_profiles("cordoned")
    add_pod(cluster, make_pod("foreign", schedulerName="somebody-else"))
    assert len(cluster.queue) == 0


def test_equal_pods_of_different_profiles_are_different_classes() -> None:
    cluster = two_profiles("cordoned")
    one, other = make_pod("one"), make_pod("other", schedulerName="simple")
    add_pod(cluster, one)
    add_pod(cluster, other)
    first, second = (queued.pod_class for queued in cluster.queue)
    assert not first.equals(second)


def test_a_change_brings_back_waiting_pods_of_every_profile() -> None:
    cluster = two_profiles()
    for number, scheduler in enumerate(("default-scheduler", "simple")):
        add_pod(cluster, make_pod(f"p{number}", schedulerName=scheduler))
        assert isinstance(place_next(cluster), Diagnosis)
    add_node(cluster, make_node("a"))
    placed = [place_next(cluster, now=20.0), place_next(cluster, now=20.0)]
    assert all(isinstance(one, Placement) for one in placed)
