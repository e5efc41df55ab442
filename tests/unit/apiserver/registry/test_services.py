"""Services: what they may be, what stays, and what `kubectl get` shows of them."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import SERVICES
from apiserver.registry import strategy
from apiserver.registry.strategy import Since
from tests.unit.apiserver.registry.factories import created, problems, status_problems, update_problems

PORT = {"port": 80}


def service(**spec: Any) -> Object:
    return {"metadata": {"name": "web", "namespace": "default"}, "spec": {"ports": [dict(PORT)], **spec}}


def addressed(address: str = "10.96.0.7", **spec: Any) -> Object:
    families = {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack"}
    return service(**{"clusterIP": address, "clusterIPs": [address], **families, **spec})


def test_a_service_is_reachable_in_the_cluster_and_spreads_connections():
    assert created(SERVICES, service())["spec"] == {
        "ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}],
        "type": "ClusterIP",
        "sessionAffinity": "None",
        "internalTrafficPolicy": "Cluster",
    }


def test_a_load_balancer_gets_node_ports_and_takes_traffic_everywhere():
    spec = created(SERVICES, service(type="LoadBalancer", sessionAffinity="ClientIP"))["spec"]
    assert spec["allocateLoadBalancerNodePorts"] is True
    assert spec["externalTrafficPolicy"] == "Cluster"
    assert spec["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}


@pytest.mark.parametrize(
    "right",
    [
        service(),
        addressed(),
        service(clusterIP="None", ports=[]),
        service(type="ExternalName", externalName="db.example.", ports=[]),
        service(type="NodePort", ports=[{"port": 80, "nodePort": 30080}]),
        service(ports=[{"port": 53, "name": "udp", "protocol": "UDP"}, {"port": 53, "name": "tcp"}]),
        service(trafficDistribution="PreferSameZone"),
    ],
)
def test_what_is_right_is_taken(right):
    assert problems(SERVICES, right) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (service(ports=[]), "spec.ports: Required value"),
        (
            service(ports=[{"port": 0, "targetPort": 80}]),
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ),
        (service(ports=[{"port": 80, "name": "a"}, {"port": 81}]), "spec.ports[1].name: Required value"),
        (
            service(ports=[{"port": 80, "name": "a"}, {"port": 81, "name": "a"}]),
            'spec.ports[1].name: Duplicate value: "a"',
        ),
        (
            service(ports=[{"port": 80, "name": "a"}, {"port": 80, "name": "b"}]),
            'spec.ports[1]: Duplicate value: {"protocol":"TCP","port":80}',
        ),
        (
            service(ports=[{"port": 80, "nodePort": 30080}]),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            service(type="Magic"),
            'spec.type: Unsupported value: "Magic": '
            'supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"',
        ),
        (service(type="ExternalName", ports=[]), "spec.externalName: Required value"),
        (
            service(type="NodePort", clusterIP="None"),
            "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort services",
        ),
        (
            service(sessionAffinity="ClientIP", sessionAffinityConfig={"clientIP": {"timeoutSeconds": 90000}}),
            "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 90000: "
            "must be greater than 0 and less than 86400",
        ),
        (
            service(externalTrafficPolicy="Local"),
            'spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services',
        ),
        (
            service(loadBalancerSourceRanges=["10.0.0.0/8"]),
            "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
        ),
        (
            service(externalIPs=["127.0.0.1"]),
            'spec.externalIPs[0]: Invalid value: "127.0.0.1": '
            "may not be in the loopback range (127.0.0.0/8, ::1/128)",
        ),
        (
            addressed(clusterIPs=["10.96.0.8"]),
            'spec.clusterIPs: Invalid value: ["10.96.0.8"]: first value must match `clusterIP`',
        ),
        (
            addressed("fd00::1"),
            'spec.clusterIPs[0]: Invalid value: "fd00::1": expected an IPv4 value as indicated by `ipFamilies[0]`',
        ),
        (
            {**service(), "metadata": {"name": "1web", "namespace": "default"}},
            'metadata.name: Invalid value: "1web": a DNS-1035 label must consist of lower case alphanumeric '
            "characters or '-', start with an alphabetic character, and end with an alphanumeric character (e.g. "
            "'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
        ),
    ],
)
def test_what_is_wrong_is_named_in_kubernetes_words(wrong, told):
    assert problems(SERVICES, wrong) == [told]


def test_the_address_of_a_service_stays():
    assert update_problems(SERVICES, addressed("10.96.0.8"), addressed()) == [
        'spec.clusterIPs[0]: Invalid value: ["10.96.0.8"]: may not change once set'
    ]
    assert update_problems(SERVICES, service(clusterIP="None"), addressed()) == [
        'spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set'
    ]


def updated(new: Object, old: Object) -> dict[str, Any]:
    stored = created(SERVICES, old)
    strategy(SERVICES).default(new)
    strategy(SERVICES).prepare_update(new, stored)
    spec: dict[str, Any] = new["spec"]
    return spec


def test_an_update_that_does_not_repeat_the_address_keeps_it():
    spec = updated(service(ports=[{"port": 81}]), addressed())
    assert (spec["clusterIP"], spec["clusterIPs"], spec["ipFamilies"]) == ("10.96.0.7", ["10.96.0.7"], ["IPv4"])
    assert update_problems(SERVICES, service(ports=[{"port": 81}]), addressed()) == []


def test_an_update_that_does_not_repeat_the_node_port_keeps_it():
    old = addressed(type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    assert updated(service(type="NodePort"), old)["ports"][0]["nodePort"] == 30080


def test_a_service_that_becomes_internal_gives_up_its_node_ports():
    old = addressed(type="NodePort", ports=[{"port": 80, "nodePort": 30080}])
    new = addressed(type="ClusterIP", ports=[{"port": 80, "nodePort": 30080}], externalTrafficPolicy="Cluster")
    spec = updated(new, old)
    assert "nodePort" not in spec["ports"][0]
    assert "externalTrafficPolicy" not in spec
    assert problems(SERVICES, new) == []


def test_a_service_that_becomes_a_name_gives_up_its_address():
    new = addressed(type="ExternalName", externalName="db.example", ports=[])
    assert "clusterIP" not in updated(new, addressed())
    assert problems(SERVICES, new) == []


def test_an_address_given_in_the_older_field_stands_in_the_newer_too():
    assert created(SERVICES, service(clusterIP="None"))["spec"]["clusterIPs"] == ["None"]


def test_addresses_of_load_balancers_are_for_services_that_have_one():
    ingress = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}]}}
    assert status_problems(SERVICES, ingress, created(SERVICES, service())) == [
        "status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is 'LoadBalancer'"
    ]
    assert status_problems(SERVICES, ingress, created(SERVICES, service(type="LoadBalancer"))) == []


@pytest.mark.parametrize(
    ("obj", "shown"),
    [
        (addressed(), ["ClusterIP", "10.96.0.7", "<none>", "80/TCP", "<none>"]),
        (
            addressed(type="NodePort", ports=[{"port": 80, "nodePort": 30080}], selector={"b": "2", "a": "1"}),
            ["NodePort", "10.96.0.7", "<none>", "80:30080/TCP", "a=1,b=2"],
        ),
        (addressed(type="LoadBalancer"), ["LoadBalancer", "10.96.0.7", "<pending>", "80/TCP", "<none>"]),
        (
            service(type="ExternalName", externalName="db.example", ports=[]),
            ["ExternalName", "<none>", "db.example", "<none>", "<none>"],
        ),
        (service(clusterIP="None", ports=[]), ["ClusterIP", "None", "<none>", "<none>", "<none>"]),
    ],
)
def test_the_columns_are_those_of_kubectl(obj, shown):
    cells = [column.cell(created(SERVICES, obj)) for column in strategy(SERVICES).columns[1:]]
    assert [cell for cell in cells if not isinstance(cell, Since)] == shown
