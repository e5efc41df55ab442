"""How a service's endpoints are shared out among zones, and when they are not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apimachinery.meta import Object
from controllers.endpoint_slice_plan import SlicePlan, plan_slices
from controllers.topology_hints import (
    NO_NODE_INFORMATION,
    NO_ZONE,
    ZONE,
    Allocation,
    add_hints,
    allocate,
    moves,
    zone_ratios,
)
from tests.support.workloads import EPOCH, metadata, pod

# The first looks may each move what the one before has left uneven.
LOOKS_MAX = 4
HALVES = {"a": 0.5, "b": 0.5}


def node(zone: str, cpu: str = "1", *, ready: bool = True, **more: str) -> Object:
    status = {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    return {"metadata": {"name": "n", "labels": {ZONE: zone, **more}}, "status": status}


def one_slice(*zones: str, hints: Iterable[str | None] = (), ready: bool = True) -> Object:
    given: list[str | None] = [*hints, *([None] * len(zones))]
    endpoints = []
    for number, zone in enumerate(zones):
        endpoint: Object = {"addresses": [f"10.0.0.{number + 1}"], "conditions": {"ready": ready}}
        endpoint |= {"zone": zone} if zone else {}
        endpoints.append(endpoint | ({"hints": {"forZones": [{"name": given[number]}]}} if given[number] else {}))
    return {"metadata": metadata("s"), "endpoints": endpoints}


def hinted(*slices: Object) -> list[str]:
    found = [endpoint.get("hints", {}) for one in slices for endpoint in one["endpoints"]]
    return [hints["forZones"][0]["name"] if hints else "" for hints in found]


def test_zones_share_what_their_ready_nodes_have() -> None:
    nodes = [node("a", "3"), node("b", "500m"), node("b", "500m"), node("c", "9", ready=False)]
    nodes.append(node("c", "9", **{"node-role.kubernetes.io/control-plane": ""}))
    assert zone_ratios(nodes) == {"a": 0.75, "b": 0.25}


@pytest.mark.parametrize("nodes", [[], [node("a")], [node("a"), node("b", "0")], [node("a"), node("b"), node("")]])
def test_without_knowing_all_nodes_there_is_nothing_to_share_out_by(nodes: list[Object]) -> None:
    assert zone_ratios(nodes) == {}


@pytest.mark.parametrize(
    ("ratios", "count", "expected"),
    [
        ({}, 9, NO_NODE_INFORMATION),
        (HALVES, 1, "Insufficient number of endpoints (1 endpoints, 2 zones)"),
        (
            HALVES,
            3,
            "Unable to allocate minimum required endpoints to each zone without exceeding overload threshold"
            " (3 endpoints, 2 zones)",
        ),
        (HALVES, 4, {"a": Allocation(2, 2), "b": Allocation(2, 2)}),
        ({"a": 0.75, "b": 0.25}, 10, {"a": Allocation(7.5, 7), "b": Allocation(3, 3)}),
        ({"a": 0.5, "b": 0.5}, 20, {"a": Allocation(10, 11), "b": Allocation(10, 11)}),
    ],
)
def test_each_zone_gets_as_many_as_it_needs_not_to_be_overloaded(
    ratios: dict[str, float], count: int, expected: Any
) -> None:
    found, why = allocate(ratios, count)
    assert (why or found) == expected


def test_endpoints_serve_their_own_zone_first() -> None:
    new = one_slice("a", "a", "b", "b")
    assert add_hints([new], [], HALVES) == ([], "") and hinted(new) == ["a", "a", "b", "b"]


def test_a_zone_that_has_too_few_gets_some_of_others() -> None:
    new = one_slice("a", "a", "a", "a")
    assert add_hints([new], [], HALVES) == ([], "") and Counter(hinted(new)) == {"a": 2, "b": 2}


def test_moves_stop_where_nothing_gets_better() -> None:
    wanted = {"a": Allocation(2.4, 3), "b": Allocation(1.6, 2)}
    assert moves(wanted, {"a": 2, "b": 2}) == ({}, {})
    assert moves(wanted, {"a": 4}) == ({"a": 1}, {"b": 1})


def test_slices_whose_hints_are_right_are_left_alone() -> None:
    old = one_slice("a", "b", hints=["a", "b"])
    new = one_slice("a", "b")
    assert add_hints([new], [old], HALVES) == ([], "") and hinted(new) == ["a", "b"]


def test_slices_with_hints_for_zones_that_are_gone_are_mended() -> None:
    old = one_slice("a", "b", hints=["a", "gone"])
    [mended], why = add_hints([], [old], HALVES)
    assert why == "" and hinted(mended) == ["a", "b"] and hinted(old) == ["a", "gone"]


def test_hints_go_where_they_can_not_be_had_any_more() -> None:
    old, new = one_slice("a", hints=["a"]), one_slice("a", hints=["a"])
    [bare], why = add_hints([new], [old], {})
    assert why == NO_NODE_INFORMATION and hinted(bare, new) == ["", ""]


def test_an_endpoint_without_a_zone_leaves_all_without_hints() -> None:
    new = one_slice("a", "b", "")
    assert add_hints([new], [], HALVES)[1] != ""
    new = one_slice("a", "b", "", "a")
    assert add_hints([new], [], HALVES) == ([], NO_ZONE) and set(hinted(new)) == {""}


def test_endpoints_that_are_not_ready_have_none() -> None:
    waiting, new = one_slice("a", ready=False), one_slice("a", "b")
    assert add_hints([waiting, new], [], HALVES) == ([], "") and hinted(waiting, new) == ["", "a", "b"]


def auto_service() -> Object:
    port = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
    spec = {"clusterIP": "10.0.0.1", "ipFamilies": ["IPv4"], "ports": [port], "selector": {"app": "web"}}
    meta = metadata("web", uid="web", annotations={"service.kubernetes.io/topology-mode": "Auto"})
    return {"metadata": meta, "spec": {**spec, "trafficDistribution": "PreferSameNode"}}


def plan(numbers: Iterable[tuple[int, str]], slices: Iterable[Object], ratios: dict[str, float]) -> SlicePlan:
    pods = []
    for number, zone in numbers:
        made = pod(f"p{number}", node=zone, phase="Running", ready_since=EPOCH, uid=f"u{number}")
        made["status"]["podIPs"] = [{"ip": f"10.0.0.{number + 1}"}]
        pods.append(made)
    return plan_slices(auto_service(), pods, slices, lambda name: name, ratios=ratios, endpoints_max=5)


def carried_out(made: SlicePlan, slices: list[Object]) -> list[Object]:
    """The slices as they are once a plan has been carried out, those that were written last."""
    gone = {one["metadata"]["name"] for one in (*made.update, *made.delete)}
    slices = [one for one in slices if one["metadata"]["name"] not in gone] + made.update
    slices += [{**one, "metadata": {**metadata("x"), **one["metadata"]}} for one in made.create]
    for one in slices:
        one["metadata"]["name"] = f"s-{one['metadata']['uid']}"
    return slices


@given(
    st.lists(st.dictionaries(st.integers(0, 30), st.sampled_from(["a", "b", "c"])), min_size=1, max_size=4),
    st.sampled_from([{}, HALVES, {"a": 0.6, "b": 0.3, "c": 0.1}, {"a": 0.34, "b": 0.33, "c": 0.33}]),
)
def test_whatever_comes_and_goes_a_few_looks_later_there_is_nothing_to_write(
    steps: list[dict[int, str]], ratios: dict[str, float]
) -> None:
    slices: list[Object] = []
    for step in steps:
        for _ in range(LOOKS_MAX):
            made = plan(step.items(), slices, ratios)
            if not (made.create or made.update or made.delete):
                break
            slices = carried_out(made, slices)
            every = [endpoint for one in slices for endpoint in one["endpoints"]]
            assert len({"hints" in endpoint for endpoint in every}) <= 1  # all have hints, or none
            assert every == [] or ("hints" in every[0]) == (made.hints["IPv4"] == "")
        else:
            raise AssertionError(f"still something to write after {LOOKS_MAX} looks: {made}")


def test_the_annotation_goes_before_the_field() -> None:
    [one] = plan([(0, "a"), (1, "b")], [], HALVES).create
    assert all("forNodes" not in endpoint["hints"] for endpoint in one["endpoints"])
