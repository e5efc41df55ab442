"""What the Endpoints of a service say of its pods."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object, name
from apimachinery.time import rfc3339
from controllers.endpoints_plan import (
    ADDRESSES_MAX,
    MANAGED_BY,
    MANAGER,
    OVER_CAPACITY,
    TRUNCATED,
    count,
    pack,
    plan_endpoints,
    truncate,
)
from controllers.service_endpoints import HEADLESS, LEADER, TRIGGER_TIME, TriggerTimes
from tests.support.workloads import EPOCH, metadata, pod

HTTP = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}
LEADS_TO = {"name": "http", "port": 8080, "protocol": "TCP"}


def service(*, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    defaults = {"selector": {"app": "web"}, "clusterIP": "10.0.0.1", "ports": [HTTP], "ipFamilies": ["IPv4"]}
    return {"metadata": metadata("web", labels=labels or {}), "spec": {**defaults, **spec}}


def member(number: int, *ips: str, ready: bool = True, **more: Any) -> Object:
    made = pod(f"p{number}", node="n1", phase="Running", ready_since=EPOCH if ready else None, **more)
    listed = list(ips) or [f"10.1.{number // 250}.{number % 250 + 1}"]
    return {**made, "status": {**made["status"], "podIP": listed[0], "podIPs": [{"ip": ip} for ip in listed]}}


def listening(number: int, port: int) -> Object:
    made = member(number)
    ports = [{"name": "web", "containerPort": port, "protocol": "TCP"}]
    return {**made, "spec": {**made["spec"], "containers": [{"name": "c", "ports": ports}]}}


def deleting(obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": rfc3339(EPOCH)}}


def written(service: Object, pods: list[Object], current: Object | None = None, **more: Any) -> Object:
    found = plan_endpoints(service, pods, current, **more)
    assert found is not None
    return found


def ips(subset: Object, key: str = "addresses") -> list[str]:
    return [address["ip"] for address in subset.get(key, ())]


def test_endpoints_are_named_as_the_service_and_say_where_its_pods_answer() -> None:
    running = member(1, uid="u1")
    found = written(service(labels={"team": "a"}), [running])
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == ("web", "default")
    assert found["metadata"]["labels"] == {"team": "a", MANAGED_BY: MANAGER}
    target = {"kind": "Pod", "namespace": "default", "name": "p1", "uid": "u1"}
    address = {"ip": "10.1.0.2", "nodeName": "n1", "targetRef": target}
    assert found["subsets"] == [{"addresses": [address], "ports": [LEADS_TO]}]


def test_pods_that_are_not_ready_are_told_apart() -> None:
    [subset] = pack(service(), [member(2), member(1), member(3, ready=False)])
    assert ips(subset) == ["10.1.0.2", "10.1.0.3"] and ips(subset, "notReadyAddresses") == ["10.1.0.4"]


def test_pods_that_are_being_deleted_are_left_out_unless_the_service_publishes_all() -> None:
    leaving = deleting(member(1))
    assert pack(service(), [leaving]) == []
    [subset] = pack(service(publishNotReadyAddresses=True), [leaving, member(2, ready=False)])
    assert len(ips(subset)) == 2 and "notReadyAddresses" not in subset


def test_ports_that_the_same_pods_answer_share_a_subset() -> None:
    ports = [HTTP, {"name": "admin", "port": 90, "targetPort": 9090, "protocol": "TCP"}]
    [subset] = pack(service(ports=ports), [member(1), member(2)])
    assert [port["port"] for port in subset["ports"]] == [9090, 8080]
    ports[1]["targetPort"] = "web"
    found = pack(service(ports=ports), [listening(1, 3000), listening(2, 3001), member(3)])
    assert [([port["port"] for port in one["ports"]], len(ips(one))) for one in found] == [
        ([3000], 1),
        ([3001], 1),
        ([8080], 3),
    ]


def test_a_headless_service_needs_no_ports_and_one_with_an_address_does() -> None:
    [subset] = pack(service(clusterIP="None", ports=[]), [member(1)])
    assert ips(subset) == ["10.1.0.2"] and "ports" not in subset
    assert pack(service(ports=[]), [member(1)]) == []


def test_a_port_without_a_name_has_none_here_either() -> None:
    [subset] = pack(service(ports=[{"port": 80, "protocol": "TCP"}]), [member(1)])
    assert subset["ports"] == [{"port": 80, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("families", "expected"), [(["IPv4", "IPv6"], "10.1.0.2"), (["IPv6"], "fd00::2"), (["IPv6", "IPv4"], "fd00::2")]
)
def test_addresses_are_of_the_services_first_family(families: list[str], expected: str) -> None:
    both = member(1, "10.1.0.2", "fd00::2")
    [subset] = pack(service(ipFamilies=families), [both])
    assert ips(subset) == [expected]
    assert pack(service(ipFamilies=["IPv6"]), [member(1)]) == []


def test_nothing_is_written_when_nothing_has_changed() -> None:
    web = service(labels={"team": "a"}, clusterIP="None")
    first = written(web, [member(1, uid="u"), member(2, uid="v", ready=False)])
    assert first["metadata"]["labels"][HEADLESS] == ""
    assert plan_endpoints(web, [member(2, uid="v", ready=False), member(1, uid="u")], first) is None


def test_a_service_without_pods_has_endpoints_that_are_empty() -> None:
    first = written(service(), [])
    assert first["subsets"] == [] and plan_endpoints(service(), [], first) is None


def test_labels_follow_the_service_and_annotations_of_others_stay() -> None:
    first = written(service(labels={"team": "a"}), [])
    first["metadata"]["annotations"] = {LEADER: "{}", "mine": "x", TRIGGER_TIME: rfc3339(EPOCH)}
    second = written(service(labels={"team": "b"}), [], first)
    assert second["metadata"]["labels"] == {"team": "b", MANAGED_BY: MANAGER}
    assert second["metadata"]["annotations"] == {LEADER: "{}", "mine": "x"}


def test_a_pod_of_the_same_address_is_told_by_its_new_uid() -> None:
    first = written(service(), [member(1, uid="first")])
    second = written(service(), [member(1, uid="second")], first)
    assert second["subsets"][0]["addresses"][0]["targetRef"]["uid"] == "second"


def test_more_than_a_thousand_addresses_are_cut_and_it_is_said_so() -> None:
    pods = [member(number, uid=f"u{number}") for number in range(1010)]
    first = written(service(), pods)
    assert count(first["subsets"]) == ADDRESSES_MAX
    assert first["metadata"]["annotations"] == {OVER_CAPACITY: TRUNCATED}
    assert plan_endpoints(service(), pods[::-1], first) is None
    again = written(service(), pods[:1000], first)
    assert OVER_CAPACITY not in again["metadata"]["annotations"]


def subset(ready: int, not_ready: int) -> Object:
    def listed(key: str, many: int) -> Object:
        return {key: [{"ip": str(n)} for n in range(many)]} if many else {}

    return {**listed("addresses", ready), **listed("notReadyAddresses", not_ready)}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ([(500, 500)], [(500, 500)]),
        ([(1001, 0)], [(1000, 0)]),
        ([(600, 0), (600, 0)], [(500, 0), (500, 0)]),
        ([(400, 0), (800, 10)], [(334, 0), (666, 0)]),
        ([(600, 600)], [(600, 400)]),
        ([(500, 100), (400, 300)], [(500, 25), (400, 75)]),
        ([(1000, 5), (0, 5)], [(1000, 0)]),
    ],
)
def test_what_is_ready_goes_first_and_each_subset_gets_its_share(
    before: list[tuple[int, int]], after: list[tuple[int, int]]
) -> None:
    cut = truncate([subset(*one) for one in before])
    assert [(count([one], "addresses"), count([one], "notReadyAddresses")) for one in cut] == after


def test_the_time_of_the_earliest_change_since_the_last_look_is_told_once() -> None:
    times, web = TriggerTimes(), service()
    first, later = member(1), member(2)
    first["status"]["conditions"][0]["lastTransitionTime"] = rfc3339(EPOCH + 10)
    later["status"]["conditions"][0]["lastTransitionTime"] = rfc3339(EPOCH + 20)
    assert times.since("web", web, [first]) == web["metadata"]["creationTimestamp"]
    assert times.since("web", web, [first]) == ""
    assert times.since("web", web, [first, later]) == rfc3339(EPOCH + 20)
    assert times.since("web", web, [later]) == ""
    assert times.since("web", web, [first, later]) == rfc3339(EPOCH + 10)
    times.forget("web")
    assert times.since("web", web, [later]) == rfc3339(EPOCH)


def test_a_host_name_is_told_where_the_subdomain_is_the_service() -> None:
    made = member(1)
    named = {**made, "spec": {**made["spec"], "hostname": "db-0", "subdomain": name(service())}}
    [subset] = pack(service(), [named])
    assert subset["addresses"][0]["hostname"] == "db-0"
