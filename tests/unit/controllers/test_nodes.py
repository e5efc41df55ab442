"""What nodes' conditions, taints and zones mean, and how the pod network is shared out."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiclient.clock import SystemClock
from apimachinery.meta import Object
from controllers import taints
from controllers.context import Options
from controllers.node_ipam import CidrPool
from controllers.node_lifecycle import unknown_conditions
from controllers.vigil import Vigil
from controllers.zones import Zones
from tests.support.workloads import EPOCH, node, pod


def wanted(obj: Object, *, evict: bool | None = None) -> set[tuple[str, str]]:
    prefix = "node.kubernetes.io/"
    return {(t["key"].removeprefix(prefix), t["effect"]) for t in taints.wanted(obj, evict=evict, now=EPOCH)}


def with_condition(obj: Object, kind: str, status: str) -> Object:
    return {**obj, "status": {"conditions": [*obj["status"]["conditions"], {"type": kind, "status": status}]}}


def test_conditions_bring_taints_that_keep_new_pods_away() -> None:
    assert wanted(node(ready="True")) == set()
    assert wanted(node(ready=None)) == set()
    assert wanted(node(ready="False")) == {("not-ready", "NoSchedule")}
    assert wanted(node(ready="Unknown")) == {("unreachable", "NoSchedule")}
    assert wanted(node(unschedulable=True)) == {("unschedulable", "NoSchedule")}
    assert wanted(with_condition(node(), "PIDPressure", "True")) == {("pid-pressure", "NoSchedule")}
    assert wanted(with_condition(node(), "NetworkUnavailable", "True")) == {("network-unavailable", "NoSchedule")}


def test_pods_are_made_to_leave_a_node_that_is_not_ready_if_that_is_decided() -> None:
    assert wanted(node(ready="Unknown"), evict=True) == {("unreachable", "NoSchedule"), ("unreachable", "NoExecute")}
    assert wanted(node(ready="False"), evict=True) == {("not-ready", "NoSchedule"), ("not-ready", "NoExecute")}
    assert wanted(node(ready="True"), evict=True) == set()


def test_an_undecided_eviction_leaves_the_taint_as_it_is() -> None:
    marked = node(ready="Unknown", taints=[{"key": taints.UNREACHABLE, "effect": "NoExecute"}])
    assert ("unreachable", "NoExecute") in wanted(marked, evict=None)
    assert ("unreachable", "NoExecute") not in wanted(marked, evict=False)
    assert ("unreachable", "NoExecute") not in wanted(node(ready="Unknown"), evict=None)


def test_taints_of_others_stay_where_they_are() -> None:
    theirs = [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}, {"key": "gpu", "effect": "NoExecute"}]
    gone = {"key": taints.NOT_READY, "effect": "NoSchedule"}
    assert taints.wanted(node(taints=[theirs[0], gone, theirs[1]]), evict=False, now=EPOCH) == theirs


UNREACHABLE = {"key": taints.UNREACHABLE, "effect": "NoExecute"}
CUSTOM = {"key": "gpu", "value": "a", "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("tolerations", "on", "seconds"),
    [
        ([], [UNREACHABLE], 0),
        ([{"operator": "Exists"}], [UNREACHABLE], None),
        ([{"key": taints.UNREACHABLE, "operator": "Exists", "effect": "NoExecute"}], [UNREACHABLE], None),
        ([{"key": taints.UNREACHABLE, "operator": "Exists", "tolerationSeconds": 30}], [UNREACHABLE], 30),
        ([{"key": taints.UNREACHABLE, "operator": "Exists", "tolerationSeconds": 30}], [UNREACHABLE, CUSTOM], 0),
        ([{"operator": "Exists", "tolerationSeconds": 9}, {"key": "gpu", "value": "a"}], [CUSTOM], 9),
        ([{"key": "gpu", "value": "a", "tolerationSeconds": 9}, {"operator": "Exists"}], [CUSTOM, UNREACHABLE], 9),
        ([{"key": "gpu", "value": "b"}], [CUSTOM], 0),
        ([{"key": "gpu", "value": "a", "effect": "NoSchedule"}], [CUSTOM], 0),
        ([{"key": "gpu", "value": "a", "tolerationSeconds": -1}], [CUSTOM], 0),
        ([{"key": "gpu", "value": "a"}, {"operator": "Exists", "tolerationSeconds": 9}], [CUSTOM], None),
    ],
)
def test_a_pod_stays_for_as_long_as_it_tolerates_every_taint(
    tolerations: list[Object], on: list[Object], seconds: float | None
) -> None:
    guest = pod()
    guest["spec"]["tolerations"] = tolerations
    assert taints.seconds_tolerated(guest, on) == seconds


def test_a_node_that_is_back_drives_nobody_out_with_an_old_taint() -> None:
    assert taints.no_execute(node(ready="True", taints=[UNREACHABLE, CUSTOM])) == [CUSTOM]
    assert taints.no_execute(node(ready="Unknown", taints=[UNREACHABLE, CUSTOM])) == [UNREACHABLE, CUSTOM]


def test_a_silent_node_is_unknown_in_all_that_it_used_to_tell() -> None:
    told = unknown_conditions(node(), EPOCH + 60)
    assert told is not None
    by_type = {condition["type"]: condition for condition in told}
    assert {condition["status"] for condition in told} == {"Unknown"}
    assert by_type["Ready"]["reason"] == "NodeStatusUnknown"
    assert by_type["Ready"]["message"] == "Kubelet stopped posting node status."
    assert by_type["PIDPressure"]["reason"] == "NodeStatusNeverUpdated"
    assert unknown_conditions({**node(), "status": {"conditions": told}}, EPOCH + 90) is None


def zoned(name: str, zone: str, ready: str) -> Object:
    obj = node(name, ready=ready)
    return {**obj, "metadata": {**obj["metadata"], "labels": {"topology.kubernetes.io/zone": zone}}}


def counted(options: Options, **zones: tuple[int, int]) -> Zones:
    zones_now = Zones(options)
    for zone, (ready, lost) in zones.items():
        for number in range(ready + lost):
            zones_now.note(zoned(f"{zone}-{number}", zone, "True" if number < ready else "Unknown"))
    return zones_now


@pytest.mark.parametrize(
    ("ready", "lost", "rate"),
    [
        (10, 1, 1.0),
        (1, 2, 1.0),  # two lost nodes are no disruption, whatever part of the zone they are
        (2, 3, 0.0),  # most of a small zone: nobody is evicted
        (20, 40, 0.01),  # most of a large zone: slowly
        (0, 5, 1.0),  # all of one zone, while others are well
    ],
)
def test_the_more_of_a_zone_is_lost_the_slower_it_is_emptied(ready: int, lost: int, rate: float) -> None:
    zones = counted(Options(), a=(ready, lost), b=(5, 0))
    assert zones.evictions_per_second(zoned("a-0", "a", "Unknown")) == rate
    assert not zones.none_ready


def test_when_no_node_is_ready_it_may_be_us_who_are_cut_off() -> None:
    zones = counted(Options(), a=(0, 3), b=(0, 1))
    assert zones.none_ready
    zones.note(zoned("b-0", "b", "True"))
    assert not zones.none_ready
    assert not Zones(Options()).none_ready


class Clock(SystemClock):
    def __init__(self) -> None:
        self.wall, self.time = EPOCH, 100.0

    def now(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.time

    def move(self, seconds: float, *, asleep: bool = False) -> None:
        self.wall += seconds
        self.time += 0 if asleep else seconds


@pytest.mark.parametrize(
    ("awake", "asleep", "due", "since"),
    [
        (5.0, 0.0, 105.0, 100.0),
        (60.0, 0.0, 105.0, 160.0),  # the process was stopped
        (5.0, 3600.0, 105.0, 105.0),  # the machine slept
        (5.0, 0.0, None, 100.0),
    ],
)
def test_a_vigil_starts_afresh_after_a_gap(awake: float, asleep: float, due: float | None, since: float) -> None:
    clock = Clock()
    vigil = Vigil(clock, grace_seconds=4)
    clock.move(awake)
    clock.move(asleep, asleep=True)
    vigil.woke(due)
    assert vigil.since == since


def test_every_node_gets_a_part_of_its_own_and_a_freed_part_rests() -> None:
    pool = CidrPool(ip_network("10.244.0.0/22"), 24)
    assert [pool.allocate(n) for n in "abc"] == ["10.244.0.0/24", "10.244.1.0/24", "10.244.2.0/24"]
    assert pool.allocate("a") == "10.244.0.0/24"
    pool.release("a")
    assert pool.allocate("d") == "10.244.3.0/24"
    assert pool.allocate("e") == "10.244.0.0/24"
    assert pool.allocate("f") is None


def test_what_nodes_have_already_is_not_given_away_again() -> None:
    pool = CidrPool(ip_network("10.244.0.0/22"), 24)
    pool.occupy("old", ["10.244.0.0/23"])  # of another mask size: two parts at once
    pool.occupy("foreign", ["192.168.0.0/24", "fd00::/64"])
    assert [pool.allocate(n) for n in "abc"] == ["10.244.2.0/24", "10.244.3.0/24", None]


def test_a_part_larger_than_the_network_is_refused() -> None:
    with pytest.raises(ValueError, match="can't be a /15"):
        CidrPool(ip_network("10.244.0.0/16"), 15)


@given(st.lists(st.tuples(st.sampled_from(["allocate", "release", "restart"]), st.integers(0, 12)), max_size=60))
def test_no_two_nodes_ever_have_the_same_part(steps: list[tuple[str, int]]) -> None:
    pool = CidrPool(ip_network("fd00::/60"), 64)
    have: dict[str, Any] = {}
    for what, number in steps:
        key = f"node-{number}"
        if what == "allocate":
            cidr = pool.allocate(key)
            if cidr is not None:
                have[key] = cidr
        elif what == "release":
            pool.release(key)
            have.pop(key, None)
        else:
            pool = CidrPool(ip_network("fd00::/60"), 64)
            for owner, cidr in have.items():
                pool.occupy(owner, [cidr])
        assert len(set(have.values())) == len(have)
