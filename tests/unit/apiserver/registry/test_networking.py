"""Ingresses, policies, the addresses of Services, EndpointSlices and PodDisruptionBudgets."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import (
    ENDPOINTSLICES,
    INGRESSCLASSES,
    INGRESSES,
    IPADDRESSES,
    NETWORKPOLICIES,
    PODDISRUPTIONBUDGETS,
    SERVICECIDRS,
)
from apiserver.registry import strategy
from tests.unit.apiserver.registry.factories import created, problems, shown, status_problems, update_problems

BACKEND = {"service": {"name": "web", "port": {"number": 80}}}


def named(**fields: Any) -> Object:
    return {"metadata": {"name": "x", "namespace": "default"}, **fields}


def cluster_wide(name: str = "x", **fields: Any) -> Object:
    return {"metadata": {"name": name}, **fields}


def ingress(path: str = "/", kind: str = "Prefix", host: str = "example.com", **spec: Any) -> Object:
    http = {"paths": [{"path": path, "pathType": kind, "backend": BACKEND}]}
    return named(spec={"rules": [{"host": host, "http": http}], **spec})


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (ingress(), []),
        (ingress(host="*.example.com"), []),
        (
            named(spec={}),
            ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"],
        ),
        (
            ingress(host="10.0.0.1"),
            ['spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address'],
        ),
        (ingress("x"), ['spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path']),
        (ingress("", "ImplementationSpecific"), []),
        (ingress("/a//b"), ["spec.rules[0].http.paths[0].path: Invalid value: \"/a//b\": must not contain '//'"]),
        (
            ingress("/", "Regex"),
            [
                'spec.rules[0].http.paths[0].pathType: Unsupported value: "Regex": supported values: "Exact", '
                '"ImplementationSpecific", "Prefix"'
            ],
        ),
        (
            named(spec={"defaultBackend": {}}),
            ['spec.defaultBackend: Invalid value: "": resource or service backend is required'],
        ),
        (
            named(spec={"defaultBackend": {"service": {"name": "web"}}}),
            ["spec.defaultBackend: Required value: port name or number is required"],
        ),
    ],
)
def test_an_ingress_leads_from_hosts_and_paths_to_services(wrong, told):
    assert problems(INGRESSES, wrong) == told


def test_the_class_of_an_ingress_is_not_two_classes():
    two = ingress(ingressClassName="nginx")
    two["metadata"]["annotations"] = {"kubernetes.io/ingress.class": "other"}
    assert problems(INGRESSES, two) == [
        'annotations.kubernetes.io/ingress.class: Invalid value: "other": must match `ingressClassName` when both '
        "are specified"
    ]
    assert update_problems(INGRESSES, two, two) == []


def test_the_address_of_an_ingress_is_an_address():
    status = {"loadBalancer": {"ingress": [{"ip": "10.0.0.300"}]}}
    (told,) = status_problems(INGRESSES, status, created(INGRESSES, ingress()))
    assert told.startswith('status.loadBalancer.ingress[0].ip: Invalid value: "10.0.0.300": must be a valid IP')


def test_the_columns_of_an_ingress():
    made = ingress(tls=[{}], ingressClassName="nginx")
    made["spec"]["rules"] = [{"host": f"h{number}.example.com"} for number in range(5)]
    made["status"] = {"loadBalancer": {"ingress": [{"hostname": "b"}, {"ip": "10.0.0.1"}]}}
    assert shown(INGRESSES, made) == {
        "Name": "x",
        "Class": "nginx",
        "Hosts": "h0.example.com,h1.example.com,h2.example.com + 2 more...",
        "Address": "10.0.0.1,b",
        "Ports": "80, 443",
        "Age": "<unknown>",
    }
    assert shown(INGRESSES, named(spec={}))["Hosts"] == "*"


def test_parameters_of_a_class_are_for_the_whole_cluster_unless_it_says_otherwise():
    made = cluster_wide(spec={"controller": "example.com/x", "parameters": {"kind": "P", "name": "p"}})
    assert created(INGRESSCLASSES, made)["spec"]["parameters"]["scope"] == "Cluster"
    assert problems(INGRESSCLASSES, made) == []
    made["spec"]["parameters"]["scope"] = "Namespace"
    assert problems(INGRESSCLASSES, made) == [
        "spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"
    ]


def test_who_implements_a_class_stays():
    old, new = (cluster_wide(spec={"controller": f"example.com/{name}"}) for name in "ab")
    assert update_problems(INGRESSCLASSES, new, old) == [
        'spec.controller: Invalid value: "example.com/b": field is immutable'
    ]


def test_a_policy_is_about_what_it_has_rules_for():
    assert created(NETWORKPOLICIES, named(spec={"podSelector": {}}))["spec"]["policyTypes"] == ["Ingress"]
    both = created(NETWORKPOLICIES, named(spec={"podSelector": {}, "egress": [{"ports": [{"port": 53}]}]}))["spec"]
    assert both["policyTypes"] == ["Ingress", "Egress"]
    assert both["egress"][0]["ports"] == [{"port": 53, "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ({"from": [{}]}, ["spec.ingress[0].from[0]: Required value: must specify a peer"]),
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]},
            ["spec.ingress[0].from[0]: Forbidden: may not specify both ipBlock and another peer"],
        ),
        ({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}, []),
        (
            {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]},
            [
                'spec.ingress[0].from[0].ipBlock.except[0]: Invalid value: "11.0.0.0/16": must be a strict subset of '
                "`cidr`"
            ],
        ),
        (
            {"ports": [{"port": 90, "endPort": 80}]},
            ["spec.ingress[0].ports[0].endPort: Invalid value: 90: must be greater than or equal to `port`"],
        ),
        (
            {"ports": [{"port": "http", "endPort": 80}]},
            ["spec.ingress[0].ports[0].endPort: Invalid value: 80: may not be specified when `port` is non-numeric"],
        ),
    ],
)
def test_what_is_wrong_with_a_policy_is_told(rule, told):
    assert problems(NETWORKPOLICIES, named(spec={"podSelector": {}, "ingress": [rule]})) == told


def test_a_policy_shows_its_selector():
    made = named(spec={"podSelector": {"matchLabels": {"app": "web"}}})
    assert shown(NETWORKPOLICIES, made)["Pod-Selector"] == "app=web"
    assert shown(NETWORKPOLICIES, named(spec={"podSelector": {}}))["Pod-Selector"] == "<none>"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("10.0.0.1", []),
        ("2001:db8::1", []),
        ("10.0.0.01", ["must not have leading 0s"]),
        ("2001:DB8::1", ['must be in canonical form ("2001:db8::1")']),
        ("::ffff:10.0.0.1", ["must not be an IPv4-mapped IPv6 address"]),
        ("x", ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]),
    ],
)
def test_an_address_is_called_by_itself(name, told):
    made = cluster_wide(name, spec={"parentRef": {"resource": "services", "namespace": "default", "name": "web"}})
    assert [text.partition('": ')[2] for text in problems(IPADDRESSES, made)] == told
    assert shown(IPADDRESSES, made)["ParentRef"] == "services/default/web"


def test_an_address_belongs_to_somebody():
    assert problems(IPADDRESSES, cluster_wide("10.0.0.1", spec={})) == ["spec.parentRef: Required value"]


@pytest.mark.parametrize(
    ("networks", "told"),
    [
        (["10.0.0.0/16"], []),
        (["10.0.0.0/16", "2001:db8::/64"], []),
        ([], ["spec.cidrs: Required value: at least one CIDR required"]),
        (
            ["10.0.0.1/16"],
            ['spec.cidrs[0]: Invalid value: "10.0.0.1/16": must not have bits set beyond the prefix length'],
        ),
        (["10.0.0.0/16", "11.0.0.0/16"], ["may specify no more than one IP for each IP family"]),
    ],
)
def test_networks_of_services_are_one_of_each_family(networks, told):
    found = problems(SERVICECIDRS, cluster_wide(spec={"cidrs": networks}))
    assert len(found) == len(told) and all(part in whole for part, whole in zip(told, found, strict=True))


def test_a_second_network_may_join():
    old = cluster_wide(spec={"cidrs": ["10.0.0.0/16"]})
    assert update_problems(SERVICECIDRS, cluster_wide(spec={"cidrs": ["10.0.0.0/16", "2001:db8::/64"]}), old) == []
    assert update_problems(SERVICECIDRS, cluster_wide(spec={"cidrs": ["11.0.0.0/16"]}), old) == [
        'spec.cidrs[0]: Invalid value: "11.0.0.0/16": field is immutable'
    ]


def endpoint_slice(*addresses: str, kind: str = "IPv4", **fields: Any) -> Object:
    return named(addressType=kind, endpoints=[{"addresses": list(addresses)}], **fields)


def test_ports_of_a_slice_are_tcp_and_may_have_no_name():
    stored = created(ENDPOINTSLICES, endpoint_slice("10.0.0.1", ports=[{"port": 80}]))
    assert stored["ports"] == [{"port": 80, "name": "", "protocol": "TCP"}]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (endpoint_slice("10.0.0.1"), []),
        (endpoint_slice("a.example.com", kind="FQDN"), []),
        (endpoint_slice(), ["endpoints[0].addresses: Required value: must contain at least 1 address"]),
        (
            endpoint_slice("2001:db8::1"),
            ['endpoints[0].addresses: Invalid value: "2001:db8::1": must be an IPv4 address'],
        ),
        (
            endpoint_slice("127.0.0.1"),
            [
                'endpoints[0].addresses[0]: Invalid value: "127.0.0.1": may not be in the loopback range '
                "(127.0.0.0/8, ::1/128)"
            ],
        ),
        (
            endpoint_slice("x", kind="FQDN"),
            [
                'endpoints[0].addresses[0]: Invalid value: "x": should be a domain with at least two segments '
                "separated by dots"
            ],
        ),
        (endpoint_slice("10.0.0.1", ports=[{}, {}]), ['ports[1].name: Duplicate value: ""']),
        (
            endpoint_slice(*[f"10.0.0.{n}" for n in range(1, 102)]),
            ["endpoints[0].addresses: Too many: 101: must have at most 100 items"],
        ),
    ],
)
def test_what_is_wrong_with_a_slice_is_told(wrong, told):
    assert problems(ENDPOINTSLICES, wrong) == told


def test_a_slice_counts_its_labels_as_part_of_itself():
    old = {**endpoint_slice("10.0.0.1"), "metadata": {"name": "x", "namespace": "default", "generation": 3}}
    new = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}
    strategy(ENDPOINTSLICES).prepare_update(new, old)
    assert new["metadata"]["generation"] == 4


def test_the_columns_of_a_slice():
    made = endpoint_slice(*[f"10.0.0.{n}" for n in range(1, 6)], ports=[{"port": 80}, {"name": "https"}, {}])
    found = shown(ENDPOINTSLICES, made)
    assert found["Ports"] == "80,https,*"
    assert found["Endpoints"] == "10.0.0.1,10.0.0.2,10.0.0.3 + 2 more..."
    assert shown(ENDPOINTSLICES, named(addressType="IPv4"))["Ports"] == "<unset>"


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"minAvailable": "50%"}, []),
        (
            {"minAvailable": 1, "maxUnavailable": 1},
            [
                'spec: Invalid value: {"minAvailable":1,"maxUnavailable":1}: minAvailable and maxUnavailable cannot '
                "be both set"
            ],
        ),
        ({"maxUnavailable": "101%"}, ['spec.maxUnavailable: Invalid value: "101%": must not be greater than 100%']),
        (
            {"unhealthyPodEvictionPolicy": "No"},
            [
                'spec.unhealthyPodEvictionPolicy: Unsupported value: "No": supported values: "AlwaysAllow", '
                '"IfHealthyBudget"'
            ],
        ),
    ],
)
def test_a_budget_has_one_bound(spec, told):
    assert problems(PODDISRUPTIONBUDGETS, named(spec=spec)) == told


def test_the_status_of_a_budget_has_proper_conditions():
    old = created(PODDISRUPTIONBUDGETS, named(spec={"minAvailable": 1}))
    status = {"conditions": [{"type": "DisruptionAllowed", "status": "Maybe", "reason": "no good"}]}
    found = status_problems(PODDISRUPTIONBUDGETS, status, old)
    assert [text.partition(": ")[0] for text in found] == [
        "status.conditions[0].status",
        "status.conditions[0].lastTransitionTime",
        "status.conditions[0].reason",
    ]


def test_the_columns_of_a_budget():
    made = named(spec={"maxUnavailable": 0}, status={"disruptionsAllowed": 2})
    assert shown(PODDISRUPTIONBUDGETS, made) == {
        "Name": "x",
        "Min Available": "N/A",
        "Max Unavailable": "0",
        "Allowed Disruptions": 2,
        "Age": "<unknown>",
    }
