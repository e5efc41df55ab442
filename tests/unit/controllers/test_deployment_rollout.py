"""The arithmetic of rollouts: tables from the Kubernetes documentation, and what must hold at every step."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery.meta import Object, name
from controllers.deployment import plan_deployment
from controllers.deployment_rollout import (
    DESIRED_REPLICAS,
    MAX_REPLICAS,
    is_scaling,
    limits,
    new_size,
    recreate_sizes,
    replicas,
    rolling_sizes,
    scaled_sizes,
)
from tests.support.workloads import EPOCH, deployment, replica_set


@pytest.mark.parametrize(
    ("wanted", "surge", "unavailable", "expected"),
    [
        (10, "25%", "25%", (3, 2)),  # the surge is rounded up, the unavailable down
        (4, "25%", "25%", (1, 1)),
        (3, "25%", "25%", (1, 0)),
        (1, "25%", "25%", (1, 0)),
        (10, 2, 3, (2, 3)),
        (10, "0%", "0%", (0, 1)),  # both zero would never get on
        (10, 0, 0, (0, 1)),
        (10, "100%", "0%", (10, 0)),
        (10, 0, "100%", (0, 10)),
        (3, 1, 5, (1, 3)),  # no more than all can be unavailable
        (0, "25%", "25%", (0, 0)),
    ],
)
def test_percentages_of_the_surge_are_rounded_up_and_of_the_unavailable_down(
    wanted: int, surge: int | str, unavailable: int | str, expected: tuple[int, int]
) -> None:
    assert limits(deployment(replicas=wanted, max_surge=surge, max_unavailable=unavailable)) == expected


def test_a_recreate_has_no_limits_to_keep() -> None:
    assert limits(deployment(replicas=10, strategy={"type": "Recreate"})) == (0, 0)


@pytest.mark.parametrize(
    ("wanted", "surge", "old", "new", "expected"),
    [
        (10, 3, 10, 0, 3),
        (10, 0, 10, 0, 0),
        (10, 3, 8, 3, 5),
        (10, 3, 0, 8, 10),  # never beyond what is wanted
        (10, 3, 15, 2, 2),  # no room: it stays
        (5, 3, 0, 8, 5),  # too large: it shrinks
    ],
)
def test_the_new_replica_set_grows_into_the_room_that_the_surge_leaves(
    wanted: int, surge: int, old: int, new: int, expected: int
) -> None:
    web = deployment(replicas=wanted, max_surge=surge, max_unavailable=0)
    newest = replica_set("new", replicas=new)
    assert new_size(web, [replica_set("old", replicas=old), newest], newest) == expected


@pytest.mark.parametrize(
    ("old", "old_up", "new", "new_up", "expected"),
    [
        (10, 10, 0, 0, {"old": 8}),  # as many as may be unavailable, before the first new pod is there
        (8, 8, 3, 0, {"new": 5}),  # growing comes first
        (8, 8, 5, 0, {}),  # none of the new pods is available: no old one may go
        (8, 8, 5, 5, {"old": 3}),
        (8, 5, 5, 0, {}),
        (10, 6, 3, 3, {"old": 5}),  # four that are down anyway, and one that may be spared
        (0, 0, 10, 4, {}),
    ],
)
def test_old_pods_go_only_as_far_as_new_ones_are_available(
    old: int, old_up: int, new: int, new_up: int, expected: dict[str, int]
) -> None:
    web = deployment(replicas=10, max_surge=3, max_unavailable=2)
    newest = replica_set("new", replicas=new, available=new_up)
    if new == 0:
        web["spec"]["strategy"]["rollingUpdate"]["maxSurge"] = 0
    sizes = rolling_sizes(web, newest, [replica_set("old", replicas=old, available=old_up)])
    assert {"new": new, **sizes} == {"new": new, **expected}


def test_old_pods_that_are_not_available_go_first_and_the_oldest_revision_before_the_others() -> None:
    web = deployment(replicas=10, max_surge=3, max_unavailable=2)
    old = [
        replica_set("second", replicas=4, available=4, created=EPOCH + 60),
        replica_set("first", replicas=4, available=1, created=EPOCH),
    ]
    # 13 pods may be, 8 must be available: of 5 removable pods 3 are down already, 2 more leave with them.
    sizes = rolling_sizes(web, replica_set("new", replicas=5, available=5), old)
    assert sizes == {"first": 0, "second": 3}


def test_a_recreate_waits_until_no_old_pod_runs() -> None:
    web = deployment(replicas=3, strategy={"type": "Recreate"})
    old, new = replica_set("old", replicas=3), replica_set("new", replicas=0)
    gone = replica_set("old", replicas=0)
    assert recreate_sizes(web, None, [old], old_pods_run=True) == {"old": 0}
    assert recreate_sizes(web, new, [gone], old_pods_run=True) == {}
    assert recreate_sizes(web, new, [gone], old_pods_run=False) == {"new": 3}


def sized(name: str, *, size: int, desired: int, largest: int, created: float = EPOCH) -> Object:
    notes = {DESIRED_REPLICAS: str(desired), MAX_REPLICAS: str(largest)}
    return replica_set(name, replicas=size, created=created, annotations=notes)


@pytest.mark.parametrize(
    ("wanted", "old", "new", "expected"),
    [
        (15, 8, 5, {"old": 11, "new": 7}),  # the example of the documentation: 3 of 5 go to the larger one
        (5, 8, 5, {"old": 5, "new": 3}),
        (10, 8, 5, {"old": 8, "new": 5}),
        (0, 8, 5, {"old": 0, "new": 0}),
    ],
)
def test_scaling_in_the_middle_of_a_rollout_is_shared_in_proportion(
    wanted: int, old: int, new: int, expected: dict[str, int]
) -> None:
    web = deployment(replicas=wanted, max_surge=3, max_unavailable=2)
    first = sized("old", size=old, desired=10, largest=13)
    second = sized("new", size=new, desired=10, largest=13, created=EPOCH + 60)
    assert scaled_sizes(web, second, [first]) == expected


def test_of_equal_replica_sets_the_newest_grows_first_and_the_oldest_shrinks_first() -> None:
    first = sized("first", size=5, desired=10, largest=10)
    second = sized("second", size=5, desired=10, largest=10, created=EPOCH + 60)
    new = sized("new", size=1, desired=10, largest=10, created=EPOCH + 90)
    up = scaled_sizes(deployment(replicas=13, max_surge=0), new, [first, second])
    down = scaled_sizes(deployment(replicas=8, max_surge=0), new, [first, second])
    assert up["second"] >= up["first"] and sum(up.values()) == 13
    assert down["first"] <= down["second"] and sum(down.values()) == 8


def test_the_only_replica_set_with_pods_takes_the_whole_size() -> None:
    web = deployment(replicas=7)
    assert scaled_sizes(web, replica_set("new", replicas=3), [replica_set("old", replicas=0)]) == {"new": 7}
    assert scaled_sizes(web, None, [replica_set("old", replicas=3)]) == {"old": 7}
    assert scaled_sizes(web, None, []) == {}


def test_a_changed_size_is_known_by_what_the_replica_sets_were_told() -> None:
    told = sized("new", size=3, desired=3, largest=4)
    assert not is_scaling(deployment(replicas=3), [told])
    assert is_scaling(deployment(replicas=5), [told])
    assert not is_scaling(deployment(replicas=5), [replica_set("untold", replicas=3)])


@dataclass
class World:
    """A Deployment, its ReplicaSets and pods: True for an available pod. Time passes with every step."""

    web: Object
    replica_sets: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, list[bool]] = field(default_factory=dict)
    time: float = EPOCH

    def roll(self) -> None:
        """One pass of the Deployment's controller."""
        self.time += 1
        plan = plan_deployment(
            self.web, list(self.replica_sets.values()), old_pods_run=self.old_runs(), now=self.time
        )
        self.web = {**self.web, "status": plan.status}
        if plan.create is not None:
            made = {**plan.create, "metadata": {**plan.create["metadata"], "uid": name(plan.create)}}
            made["metadata"] |= {"creationTimestamp": f"2027-01-15T08:{int(self.time) % 3600 // 60:02}:00Z"}
            made["metadata"] |= {"resourceVersion": "1", "generation": 1}
            self.replica_sets[name(made)] = made
            self.pods[name(made)] = []
        for update in plan.updates:
            known = self.replica_sets[name(update.replica_set)]
            metadata = {**known["metadata"], "annotations": update.patch["metadata"]["annotations"]}
            spec = {**known["spec"], **update.patch.get("spec", {})}
            self.replica_sets[name(known)] = {**known, "metadata": metadata, "spec": spec}
        for gone in plan.delete:
            assert not self.pods[name(gone)]
            del self.replica_sets[name(gone)], self.pods[name(gone)]

    def sync(self, which: str) -> None:
        """One pass of the ReplicaSets' controller over one of them: pods that are not available go first."""
        known = self.replica_sets[which]
        pods = sorted(self.pods[which], reverse=True)[: replicas(known)]
        pods += [False] * (replicas(known) - len(pods))
        self.pods[which] = pods
        counts = {"replicas": len(pods), "readyReplicas": sum(pods), "availableReplicas": sum(pods)}
        self.replica_sets[which] = {**known, "status": {**counts, "observedGeneration": 1}}

    def old_runs(self) -> bool:
        image = self.web["spec"]["template"]["spec"]["containers"][0]["image"]
        return any(
            self.pods[which]
            for which, known in self.replica_sets.items()
            if known["spec"]["template"]["spec"]["containers"][0]["image"] != image
        )

    def up(self) -> int:
        return sum(map(sum, self.pods.values()))

    def total(self) -> int:
        return sum(map(len, self.pods.values()))

    def settle(self) -> None:
        """Let everything happen, and every pod become available, until the rollout is over."""
        for _ in range(200):
            before = (dict(self.replica_sets), {which: list(pods) for which, pods in self.pods.items()})
            self.roll()
            for which in list(self.replica_sets):
                self.sync(which)
                self.pods[which] = [True] * len(self.pods[which])
                self.sync(which)
            if before == (self.replica_sets, self.pods):
                return
        raise AssertionError("the rollout does not come to an end")

    def change_image(self, image: str) -> None:
        spec = {**self.web["spec"], "template": {**self.web["spec"]["template"]}}
        spec["template"]["spec"] = {"containers": [{"name": "c", "image": image}]}
        generation = self.web["metadata"]["generation"] + 1
        self.web = {**self.web, "metadata": {**self.web["metadata"], "generation": generation}, "spec": spec}


AMOUNTS = st.one_of(st.integers(0, 5), st.sampled_from(["0%", "10%", "25%", "50%", "100%"]))
STEPS = st.lists(
    st.tuples(st.sampled_from(["roll", "sync", "ready", "image", "fail"]), st.integers(0, 9)), max_size=80
)


def settled_world(wanted: int, surge: int | str, unavailable: int | str) -> World:
    world = World(deployment(replicas=wanted, max_surge=surge, max_unavailable=unavailable))
    world.settle()
    assert world.up() == world.total() == wanted
    return world


def happen(world: World, what: str, number: int) -> None:
    names = list(world.replica_sets)
    which = names[number % len(names)] if names else ""
    if what == "roll":
        world.roll()
    elif what == "image":
        world.change_image(f"nginx:{number}")
    elif what == "sync" and names:
        world.sync(which)
    elif what in ("ready", "fail") and names and world.pods[which]:
        world.pods[which][number % len(world.pods[which])] = what == "ready"


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 12), AMOUNTS, AMOUNTS, STEPS)
def test_a_rollout_never_exceeds_its_surge_nor_drops_below_its_minimum(
    wanted: int, surge: int | str, unavailable: int | str, steps: list[tuple[str, int]]
) -> None:
    world = settled_world(wanted, surge, unavailable)
    most_surge, most_unavailable = limits(world.web)
    for what, number in steps:
        if what == "fail":
            continue  # of pods that fail by themselves, below
        happen(world, what, number)
        assert world.total() <= wanted + most_surge
        assert world.up() >= wanted - most_unavailable
    world.settle()
    assert world.up() == world.total() == wanted


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 12), AMOUNTS, AMOUNTS, STEPS)
def test_failing_pods_never_make_a_rollout_take_more_than_it_may(
    wanted: int, surge: int | str, unavailable: int | str, steps: list[tuple[str, int]]
) -> None:
    world = settled_world(wanted, surge, unavailable)
    most_surge, most_unavailable = limits(world.web)
    for what, number in steps:
        if what == "roll":
            for which in world.replica_sets:
                world.sync(which)  # the plan is made of what is known: let it be the truth
            before = world.up()
            world.roll()
            kept = sum(min(replicas(known), sum(world.pods[which])) for which, known in world.replica_sets.items())
            assert kept >= min(before, wanted - most_unavailable)
        else:
            happen(world, what, number)
        assert world.total() <= wanted + most_surge
    world.settle()
    assert world.up() == world.total() == wanted
