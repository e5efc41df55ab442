"""How a service's pods are shared out among slices, with as few writes as can be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apimachinery.meta import Object, name
from apimachinery.time import rfc3339
from controllers.endpoint_slice_plan import MANAGED_BY, MANAGER, SERVICE_NAME, SlicePlan, plan_slices
from controllers.service_endpoints import HEADLESS, TRIGGER_TIME
from tests.support.workloads import EPOCH, metadata, pod

HTTP = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}


def service(which: str = "web", *, meta: Object | None = None, **spec: Any) -> Object:
    defaults = {
        "selector": {"app": "web"},
        "clusterIP": "10.0.0.1",
        "ports": [HTTP],
        "ipFamilies": ["IPv4"],
        "type": "ClusterIP",
    }
    return {"metadata": metadata(which, **(meta or {})), "spec": {**defaults, **spec}}


def member(number: int, *, ready: bool = True, ip: str | None = None, **more: Any) -> Object:
    made = pod(
        f"p{number}",
        node="n1",
        phase="Running",
        ready_since=EPOCH if ready else None,
        **{"uid": f"u{number}", **more},
    )
    address = ip or f"10.1.{number // 250}.{number % 250 + 1}"
    status = {**made["status"], "podIP": address, "podIPs": [{"ip": address}]}
    return {**made, "status": status}


def members(count: int, first: int = 0) -> list[Object]:
    return [member(number) for number in range(first, first + count)]


def with_spec(obj: Object, **spec: Any) -> Object:
    return {**obj, "spec": {**obj["spec"], **spec}}


def zone_of(node: str) -> str | None:
    return {"n1": "zone-a", "n2": ""}.get(node)


def plan(service: Object, pods: list[Object], slices: Iterable[Object] = (), **more: Any) -> SlicePlan:
    return plan_slices(service, pods, slices, zone_of, **more)


def carried_out(plan: SlicePlan, slices: Iterable[Object] = ()) -> list[Object]:
    """The slices that there are once a plan has been carried out."""
    gone = {name(one) for one in (*plan.delete, *plan.update)}
    made = [{**one, "metadata": {**metadata("").copy(), **one["metadata"]}} for one in plan.create]
    for one in made:
        one["metadata"]["name"] = f"{one['metadata'].pop('generateName')}{one['metadata']['uid']}"
    return [*(one for one in slices if name(one) not in gone), *plan.update, *made]


def slices_of(service: Object, pods: list[Object], **more: Any) -> list[Object]:
    return carried_out(plan(service, pods, **more))


def writes(plan: SlicePlan) -> tuple[int, int, int]:
    return len(plan.create), len(plan.update), len(plan.delete)


def sizes(slices: Iterable[Object]) -> list[int]:
    return sorted(len(one["endpoints"]) for one in slices)


def endpoints(slices: Iterable[Object]) -> list[Object]:
    return [endpoint for one in slices for endpoint in one["endpoints"]]


def test_a_slice_says_whose_it_is_and_where_its_pods_answer() -> None:
    web = service(meta={"labels": {"team": "a", MANAGED_BY: "somebody"}})
    running = member(1)
    [one] = plan(web, [running]).create
    assert one["metadata"]["generateName"] == "web-" and one["metadata"]["namespace"] == "default"
    assert one["metadata"]["labels"] == {"team": "a", SERVICE_NAME: "web", MANAGED_BY: MANAGER}
    [owner] = one["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Service", web["metadata"]["uid"], True)
    assert one["addressType"] == "IPv4"
    assert one["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    target = {"kind": "Pod", "namespace": "default", "name": "p1", "uid": running["metadata"]["uid"]}
    assert one["endpoints"] == [
        {
            "addresses": ["10.1.0.2"],
            "conditions": {"ready": True, "serving": True, "terminating": False},
            "targetRef": target,
            "nodeName": "n1",
            "zone": "zone-a",
        }
    ]


def test_a_service_without_pods_has_an_empty_slice_that_stays() -> None:
    web = service()
    slices = slices_of(web, [])
    assert sizes(slices) == [0] and slices[0]["ports"] == []
    assert writes(plan(web, [], slices)) == (0, 0, 0)


def test_the_empty_slice_is_the_one_that_is_filled() -> None:
    web = service()
    empty = slices_of(web, [])
    filled = plan(web, members(3), empty)
    assert writes(filled) == (0, 1, 0) and name(filled.update[0]) == name(empty[0])
    emptied = plan(web, [], carried_out(filled, empty))
    assert writes(emptied) == (0, 1, 0) and emptied.update[0]["ports"] == []


@pytest.mark.parametrize(("count", "expected"), [(1, [1]), (100, [100]), (101, [1, 100]), (250, [50, 100, 100])])
def test_a_hundred_endpoints_fill_a_slice(count: int, expected: list[int]) -> None:
    assert sizes(slices_of(service(), members(count))) == expected


def test_nothing_is_written_when_nothing_has_changed() -> None:
    web, pods = service(), members(250)
    assert writes(plan(web, pods[::-1], slices_of(web, pods))) == (0, 0, 0)


def test_new_endpoints_go_where_they_all_fit_and_the_slice_is_fullest() -> None:
    web = service()
    slices = [*slices_of(web, members(80)), *slices_of(web, members(60, 100))]
    pods = [*members(80), *members(60, 100)]
    grown = plan(web, [*pods, *members(15, 200)], slices)
    assert writes(grown) == (0, 1, 0) and sizes(grown.update) == [95]
    grown = plan(web, [*pods, *members(30, 200)], slices)
    assert writes(grown) == (0, 1, 0) and sizes(grown.update) == [90]
    grown = plan(web, [*pods, *members(45, 200)], slices)  # one new slice, rather than two that change
    assert writes(grown) == (1, 0, 0) and sizes(grown.create) == [45]


def test_slices_that_change_anyway_are_filled_first() -> None:
    web = service()
    first, second = members(90), members(70, 100)
    slices = [*slices_of(web, first), *slices_of(web, second)]
    changed = plan(web, [*first[5:], *second, *members(10, 200)], slices)
    assert writes(changed) == (0, 1, 0) and sizes(changed.update) == [95]


def test_a_slice_without_endpoints_left_becomes_a_new_one() -> None:
    web = service()
    slices = [*slices_of(web, members(100)), *slices_of(web, members(100, 100))]
    replaced = plan(web, [*members(100), *members(100, 300)], slices)
    assert writes(replaced) == (0, 1, 0)
    shrunk = plan(web, members(100), slices)
    assert writes(shrunk) == (0, 0, 1)


def test_pods_that_name_ports_have_slices_by_the_numbers_of_these() -> None:
    def listening(number: int, port: int, *, part: str = "containers", **container: Any) -> Object:
        ports = [{"name": "web", "containerPort": port, "protocol": "TCP"}]
        return with_spec(member(number), **{"containers": [], part: [{"name": "c", "ports": ports, **container}]})

    web = service(ports=[{**HTTP, "targetPort": "web"}])
    pods = [listening(1, 3000), listening(2, 3001), listening(3, 3000)]
    pods.append(listening(4, 3001, part="initContainers", restartPolicy="Always"))
    pods.append(listening(5, 3001, part="initContainers"))  # that has ended by the time that the pod runs
    by_ports = {tuple(port["port"] for port in one["ports"]): len(one["endpoints"]) for one in slices_of(web, pods)}
    assert by_ports == {(3000,): 2, (3001,): 2, (): 1}


def test_a_protocol_is_part_of_a_ports_name() -> None:
    ports = [{"name": "dns", "containerPort": 53, "protocol": "UDP"}]
    resolver = with_spec(member(1), containers=[{"name": "c", "ports": ports}])
    both = [{"name": "udp", "port": 53, "targetPort": "dns", "protocol": "UDP"}]
    both.append({"name": "tcp", "port": 53, "targetPort": "dns", "protocol": "TCP"})
    [one] = slices_of(service(ports=both), [resolver])
    assert one["ports"] == [{"name": "udp", "port": 53, "protocol": "UDP"}]


def test_ports_keep_the_protocol_of_the_application() -> None:
    [one] = slices_of(service(ports=[{**HTTP, "appProtocol": "kubernetes.io/h2c"}]), [member(1)])
    assert one["ports"][0]["appProtocol"] == "kubernetes.io/h2c"


def test_a_headless_service_is_marked_and_needs_no_ports() -> None:
    web = service(clusterIP="None", ports=[])
    [one] = slices_of(web, [member(1)])
    assert one["metadata"]["labels"][HEADLESS] == "" and one["ports"] == [] and sizes([one]) == [1]


def test_both_families_have_slices_of_their_own() -> None:
    web = service(ipFamilies=["IPv4", "IPv6"])
    two = member(1)
    two["status"]["podIPs"] = [{"ip": "10.1.0.2"}, {"ip": "fd00:0::1"}]
    slices = slices_of(web, [two, member(2)])
    found = {one["addressType"]: [e["addresses"] for e in one["endpoints"]] for one in slices}
    assert found == {"IPv4": [["10.1.0.2"], ["10.1.0.3"]], "IPv6": [["fd00::1"]]}
    single = plan({**web, "spec": {**web["spec"], "ipFamilies": ["IPv4"]}}, [two, member(2)], slices)
    assert writes(single) == (0, 0, 1) and single.delete[0]["addressType"] == "IPv6"


def test_a_family_that_no_pod_has_has_an_empty_slice() -> None:
    web = service(ipFamilies=["IPv6"])
    slices = slices_of(web, members(2))
    assert sizes(slices) == [0] and writes(plan(web, members(2), slices)) == (0, 0, 0)


@pytest.mark.parametrize("spec", [{"clusterIP": "10.0.0.1"}, {"clusterIP": "fd00::1"}, {"clusterIP": "None"}])
def test_a_service_that_says_no_families_has_those_of_its_address(spec: Object) -> None:
    families = {one["addressType"] for one in slices_of(service(ipFamilies=[], **spec), [])}
    assert families == {"10.0.0.1": {"IPv4"}, "fd00::1": {"IPv6"}, "None": {"IPv4", "IPv6"}}[spec["clusterIP"]]


def deleting(obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": rfc3339(EPOCH)}}


@pytest.mark.parametrize(
    ("one", "publish", "ready", "serving", "terminating"),
    [
        (member(1), False, True, True, False),
        (member(1, ready=False), False, False, False, False),
        (deleting(member(1)), False, False, True, True),
        (deleting(member(1, ready=False)), False, False, False, True),
        (member(1, ready=False), True, True, False, False),
        (deleting(member(1)), True, True, True, True),
    ],
)
def test_conditions_tell_who_may_be_sent_traffic(
    one: Object, *, publish: bool, ready: bool, serving: bool, terminating: bool
) -> None:
    [endpoint] = endpoints(slices_of(service(publishNotReadyAddresses=publish), [one]))
    assert endpoint["conditions"] == {"ready": ready, "serving": serving, "terminating": terminating}


def test_pods_that_have_ended_or_have_no_address_are_left_out() -> None:
    ended = member(1)
    ended["status"]["phase"] = "Succeeded"
    assert endpoints(slices_of(service(), [ended, pod("waiting", node="n1")])) == []


def test_a_pod_of_an_unknown_node_is_left_out_unless_it_is_to_be_published_anyway() -> None:
    lost = with_spec(member(1), nodeName="gone")
    assert endpoints(slices_of(service(), [lost])) == []
    [endpoint] = endpoints(slices_of(service(publishNotReadyAddresses=True), [lost]))
    assert endpoint["nodeName"] == "gone" and "zone" not in endpoint


def test_host_names_are_told_of_pods_whose_subdomain_is_the_service() -> None:
    named = [with_spec(member(n), hostname=f"h{n}", subdomain=sub) for n, sub in enumerate(("web", "other"))]
    assert [one.get("hostname") for one in endpoints(slices_of(service(), named))] == ["h0", None]


def test_a_changed_pod_changes_its_endpoint_in_place() -> None:
    web, pods = service(), members(101)
    slices = slices_of(web, pods)
    changed = plan(web, [member(0, ready=False), *pods[1:]], slices)
    assert writes(changed) == (0, 1, 0) and sizes(changed.update) == [100]


def test_a_pod_of_the_same_name_and_address_is_told_by_its_new_uid() -> None:
    web = service()
    [one] = plan(web, [member(1, uid="second")], slices_of(web, [member(1, uid="first")])).update
    assert one["endpoints"][0]["targetRef"]["uid"] == "second"


def test_labels_follow_the_service() -> None:
    web = service()
    slices = slices_of(web, members(2))
    relabelled = {**web, "metadata": {**web["metadata"], "labels": {"team": "b"}}}
    changed = plan(relabelled, members(2), slices)
    assert writes(changed) == (0, 1, 0)
    assert changed.update[0]["metadata"]["labels"] == {"team": "b", SERVICE_NAME: "web", MANAGED_BY: MANAGER}


def test_slices_of_a_service_of_the_same_name_that_is_gone_are_replaced() -> None:
    slices = slices_of(service(), members(1))
    fresh = plan(service(), members(1), slices)
    assert writes(fresh) == (1, 0, 1)


def test_a_service_that_is_being_deleted_gets_no_new_slices() -> None:
    assert writes(plan(deleting(service()), members(1))) == (0, 0, 0)


def test_changed_ports_rewrite_the_slices_that_are_there() -> None:
    web = service()
    slices = slices_of(web, members(150))
    moved = {**web, "spec": {**web["spec"], "ports": [{**HTTP, "targetPort": 9090}]}}
    changed = plan(moved, members(150), slices)
    assert writes(changed) == (0, 2, 0)
    assert {one["ports"][0]["port"] for one in changed.update} == {9090}
    assert {one["metadata"]["resourceVersion"] for one in changed.update} == {
        one["metadata"]["resourceVersion"] for one in slices
    }


def test_written_slices_tell_what_they_were_due_to() -> None:
    web = service()
    since = rfc3339(EPOCH)
    [one] = slices_of(web, members(1), trigger_time=since)
    assert one["metadata"]["annotations"] == {TRIGGER_TIME: since}
    [one] = plan(web, members(2), [one]).update
    assert one["metadata"]["annotations"] == {}


@pytest.mark.parametrize(
    ("distribution", "hints"),
    [
        ("PreferClose", {"forZones": [{"name": "zone-a"}]}),
        ("PreferSameZone", {"forZones": [{"name": "zone-a"}]}),
        ("PreferSameNode", {"forZones": [{"name": "zone-a"}], "forNodes": [{"name": "n1"}]}),
        (None, None),
        ("Unheard", None),
    ],
)
def test_hints_keep_traffic_close(distribution: str | None, hints: Object | None) -> None:
    web = service(trafficDistribution=distribution)
    ready, starting = endpoints(slices_of(web, [member(1), member(2, ready=False)]))
    assert ready.get("hints") == hints and "hints" not in starting


def test_hints_come_and_go_with_what_the_service_says() -> None:
    close, far = service(trafficDistribution="PreferClose"), service()
    far["metadata"] = close["metadata"]
    pods = members(2)
    slices = slices_of(close, pods)
    without = plan(far, pods, slices)
    assert writes(without) == (0, 1, 0) and not any("hints" in one for one in endpoints(without.update))
    again = plan(close, pods, without.update)
    assert writes(again) == (0, 1, 0) and all("hints" in one for one in endpoints(again.update))


def test_a_node_without_a_zone_gives_no_hint_of_one() -> None:
    web = service(trafficDistribution="PreferClose")
    [endpoint] = endpoints(slices_of(web, [with_spec(member(1), nodeName="n2")]))
    assert "zone" not in endpoint and "hints" not in endpoint


NUMBERS = st.sets(st.integers(0, 60), max_size=50)


@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_whatever_pods_come_and_go_all_are_told_once_and_no_slice_is_too_large(steps: list[set[int]]) -> None:
    web, slices = service(), []
    for numbers in steps:
        pods = [member(number) for number in numbers]
        slices = carried_out(plan(web, pods, slices, endpoints_max=7), slices)
        assert sorted(one["targetRef"]["name"] for one in endpoints(slices)) == sorted(map(name, pods))
        assert slices and max(sizes(slices)) <= 7
        assert writes(plan(web, pods, slices, endpoints_max=7)) == (0, 0, 0)
