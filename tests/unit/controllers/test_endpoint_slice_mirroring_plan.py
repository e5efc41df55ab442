"""How Endpoints that somebody writes by hand become slices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from apimachinery.meta import Object, name
from controllers.endpoint_slice_mirroring_plan import LAST_APPLIED, MANAGER, SKIP_MIRROR, plan_mirror, should_mirror
from controllers.endpoint_slice_plan import MANAGED_BY, SERVICE_NAME, SlicePlan
from controllers.service_endpoints import LEADER, TRIGGER_TIME
from tests.support.workloads import metadata

HTTP, HTTPS = {"name": "http", "port": 80, "protocol": "TCP"}, {"name": "https", "port": 443, "protocol": "TCP"}


def endpoints(*subsets: Object, **meta: Any) -> Object:
    return {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata("db", **meta), "subsets": list(subsets)}


def subset(ready: Iterable[str] = (), not_ready: Iterable[str] = (), ports: Iterable[Object] = (HTTP,)) -> Object:
    found = {"addresses": [{"ip": ip} for ip in ready], "notReadyAddresses": [{"ip": ip} for ip in not_ready]}
    return {**found, "ports": list(ports)}


def plan(wanted: Object, slices: Iterable[Object] = (), addresses_max: int = 1000) -> SlicePlan:
    return plan_mirror(wanted, slices, addresses_max)[0]


def stored(made: SlicePlan) -> list[Object]:
    """New slices, as the server has stored them."""
    return [
        {**one, "metadata": {**metadata(f"db-{number}"), **one["metadata"]}} for number, one in enumerate(made.create)
    ]


def writes(made: SlicePlan) -> tuple[int, int, int]:
    return len(made.create), len(made.update), len(made.delete)


def told(one: Object) -> list[tuple[str, bool]]:
    return [(e["addresses"][0], e["conditions"]["ready"]) for e in one["endpoints"]]


def test_a_slice_says_what_the_endpoints_say() -> None:
    own = endpoints(
        subset(["10.0.0.1"], ["10.0.0.2"]),
        labels={"team": "a", MANAGED_BY: "x"},
        annotations={"note": "n", TRIGGER_TIME: "t", LAST_APPLIED: "{}"},
    )
    own["subsets"][0]["addresses"][0] |= {"nodeName": "n1", "hostname": "h"}
    [one] = plan(own).create
    assert one["metadata"]["labels"] == {"team": "a", SERVICE_NAME: "db", MANAGED_BY: MANAGER}
    assert one["metadata"]["annotations"] == {"note": "n"}
    [owner] = one["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Endpoints", own["metadata"]["uid"])
    assert (one["addressType"], one["ports"]) == ("IPv4", [HTTP])
    assert told(one) == [("10.0.0.1", True), ("10.0.0.2", False)]
    assert (one["endpoints"][0]["nodeName"], one["endpoints"][0]["hostname"]) == ("n1", "h")


def test_endpoints_without_addresses_have_no_slices() -> None:
    assert writes(plan(endpoints())) == (0, 0, 0)
    assert writes(plan(endpoints(), stored(plan(endpoints(subset(["10.0.0.1"])))))) == (0, 0, 1)


def test_each_set_of_ports_and_each_family_has_a_slice() -> None:
    own = endpoints(subset(["10.0.0.1", "fd00::1"]), subset(["10.0.0.2"], ports=[HTTPS]))
    found = [(one["addressType"], one["ports"][0]["port"], len(one["endpoints"])) for one in plan(own).create]
    assert found == [("IPv4", 80, 1), ("IPv6", 80, 1), ("IPv4", 443, 1)]


def test_subsets_with_the_same_ports_share_a_slice() -> None:
    own = endpoints(subset(["10.0.0.1"], ports=[HTTP, HTTPS]), subset(["10.0.0.1", "10.0.0.2"], ports=[HTTPS, HTTP]))
    [one] = plan(own).create
    assert told(one) == [("10.0.0.1", True), ("10.0.0.2", True)]


def test_nothing_is_written_when_nothing_has_changed() -> None:
    own = endpoints(subset(["10.0.0.1", "10.0.0.2"], ["fd00::1"]))
    slices = stored(plan(own))
    own["subsets"][0]["addresses"].reverse()
    assert writes(plan(own, slices)) == (0, 0, 0)


@pytest.mark.parametrize(
    "meta", [{"labels": {"team": "b"}}, {"annotations": {"note": "new"}}], ids=["labels", "annotations"]
)
def test_changed_metadata_is_mirrored(meta: Object) -> None:
    own = endpoints(subset(["10.0.0.1"]))
    slices = stored(plan(own))
    changed = plan({**own, "metadata": {**own["metadata"], **meta}}, slices)
    assert writes(changed) == (0, 1, 0) and name(changed.update[0]) == name(slices[0])


def test_a_changed_address_rewrites_its_slice() -> None:
    own = endpoints(subset(["10.0.0.1"]), subset(["10.0.0.1"], ports=[HTTPS]))
    slices = stored(plan(own))
    own["subsets"][0] = subset([], ["10.0.0.1"])
    changed = plan(own, slices)
    assert writes(changed) == (0, 1, 0) and told(changed.update[0]) == [("10.0.0.1", False)]


def test_changed_ports_rewrite_a_slice_that_is_there_and_another_family_does_not() -> None:
    own = endpoints(subset(["10.0.0.1"]))
    slices = stored(plan(own))
    assert writes(plan({**own, "subsets": [subset(["10.0.0.1"], ports=[HTTPS])]}, slices)) == (0, 1, 0)
    assert writes(plan({**own, "subsets": [subset(["fd00::1"])]}, slices)) == (1, 0, 1)


def test_of_several_slices_that_say_the_same_one_is_left() -> None:
    own = endpoints(subset(["10.0.0.1"]))
    [one], [other] = stored(plan(own)), stored(plan(own))
    other["metadata"]["name"] = "db-x"
    assert writes(plan(own, [other, one])) == (0, 0, 1)


def test_a_thousand_addresses_of_a_subset_are_mirrored_and_the_rest_is_told_of() -> None:
    ready = [f"10.0.{n // 250}.{n % 250 + 1}" for n in range(8)]
    own = endpoints(subset(ready, ["10.9.0.1", "bad"]), subset(["10.0.0.1"], ports=[HTTPS]))
    made, warned = plan_mirror(own, (), 5)
    assert [len(one["endpoints"]) for one in made.create] == [5, 1]
    assert [(one.reason, one.message) for one in warned] == [
        ("InvalidIPAddress", "Skipped 1 invalid IP addresses when mirroring to EndpointSlices"),
        (
            "TooManyAddressesToMirror",
            "A max of 5 addresses can be mirrored to EndpointSlices per Endpoints subset. 5 addresses were skipped",
        ),
    ]


def test_endpoints_that_are_being_deleted_get_no_new_slices() -> None:
    assert writes(plan(endpoints(subset(["10.0.0.1"]), deletionTimestamp="2026-01-01T00:00:00Z"))) == (0, 0, 0)


@pytest.mark.parametrize(
    ("meta", "mirrored"),
    [
        ({}, True),
        ({"labels": {SKIP_MIRROR: "true"}}, False),
        ({"labels": {SKIP_MIRROR: "false"}}, True),
        ({"annotations": {LEADER: "{}"}}, False),
    ],
)
def test_leaders_locks_and_what_says_so_are_not_mirrored(meta: Object, *, mirrored: bool) -> None:
    assert should_mirror(endpoints(**meta)) == mirrored
