"""The other resources of core and coordination."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import (
    CONFIGMAPS,
    ENDPOINTS,
    EVENTS,
    LEASES,
    LIMITRANGES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODTEMPLATES,
    RESOURCEQUOTAS,
    SECRETS,
    SERVICEACCOUNTS,
)
from apiserver.registry import strategy
from tests.unit.apiserver.registry.factories import (
    created,
    problems,
    shown,
    status_problems,
    template,
    update_problems,
)


def named(**fields: Any) -> Object:
    return {"metadata": {"name": "x", "namespace": "default"}, **fields}


def cluster_wide(**fields: Any) -> Object:
    return {"metadata": {"name": "x"}, **fields}


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# ConfigMaps and Secrets


def test_string_data_becomes_data_and_wins():
    stored = created(SECRETS, named(stringData={"a": "1", "b": "é"}, data={"a": encoded("0"), "c": encoded("3")}))
    assert stored["data"] == {"a": encoded("1"), "b": encoded("é"), "c": encoded("3")}
    assert "stringData" not in stored
    assert stored["type"] == "Opaque"


@pytest.mark.parametrize(
    ("resource", "wrong", "told"),
    [
        (SECRETS, named(data={"a": "not base64!"}), ['data[a]: Invalid value: "<redacted>": must be base64 encoded']),
        (
            SECRETS,
            named(type="kubernetes.io/tls", data={"tls.crt": encoded("x")}),
            ["data[tls.key]: Required value"],
        ),
        (
            SECRETS,
            named(type="kubernetes.io/basic-auth"),
            ["data[username]: Required value", "data[password]: Required value"],
        ),
        (
            SECRETS,
            named(type="kubernetes.io/service-account-token"),
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
        (
            SECRETS,
            named(type="kubernetes.io/dockerconfigjson", data={".dockerconfigjson": encoded("[]")}),
            ['data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": must be a JSON object'],
        ),
        (SECRETS, named(data={"a": encoded("x" * 1048577)}), ["data: Too long: may not be more than 1048576 bytes"]),
        (
            CONFIGMAPS,
            named(data={"a": "1"}, binaryData={"a": "MQ=="}),
            ['data[a]: Invalid value: "a": duplicate of key present in binaryData'],
        ),
        (CONFIGMAPS, named(data={"..": "1"}), ["data[..]: Invalid value: \"..\": must not be '..'"]),
        (CONFIGMAPS, named(data={"a": "é" * 600000}), ["[]: Too long: may not be more than 1048576 bytes"]),
    ],
)
def test_data_has_proper_keys_and_a_limit(resource, wrong, told):
    assert problems(resource, wrong) == told


def test_the_type_of_a_secret_stays():
    tls = named(type="kubernetes.io/tls", data={"tls.crt": "", "tls.key": ""})
    assert update_problems(SECRETS, {**tls, "type": "Opaque"}, tls) == [
        'type: Invalid value: "Opaque": field is immutable'
    ]


@pytest.mark.parametrize("resource", [SECRETS, CONFIGMAPS], ids=lambda r: r.plural)
def test_immutable_data_stays_and_stays_immutable(resource):
    old = named(data={"a": encoded("1")}, immutable=True)
    why = "field is immutable when `immutable` is set"
    assert update_problems(resource, old, old) == []
    assert update_problems(resource, {**old, "immutable": False}, old) == [f"immutable: Forbidden: {why}"]
    assert update_problems(resource, {**old, "data": {"b": encoded("1")}}, old) == [f"data: Forbidden: {why}"]


def test_keys_are_counted():
    assert shown(CONFIGMAPS, named(data={"a": "1"}, binaryData={"b": ""}))["Data"] == 2
    assert shown(SECRETS, created(SECRETS, named(stringData={"a": "1"}))) == {
        **{"Name": "x", "Type": "Opaque", "Data": 1, "Age": "<unknown>"}
    }


# Namespaces


def test_a_namespace_is_active_has_its_name_as_a_label_and_a_finalizer():
    stored = created(NAMESPACES, cluster_wide())
    assert stored["metadata"]["labels"] == {"kubernetes.io/metadata.name": "x"}
    assert stored["spec"] == {"finalizers": ["kubernetes"]}
    assert stored["status"] == {"phase": "Active"}
    assert shown(NAMESPACES, stored)["Status"] == "Active"


def test_a_namespace_is_kept_until_its_content_is_gone():
    rules, stored = strategy(NAMESPACES), created(NAMESPACES, cluster_wide())
    rules.begin_deletion(stored)
    assert stored["status"]["phase"] == "Terminating"
    assert rules.kept(stored)
    assert not rules.kept({**stored, "spec": {}})


def test_an_update_of_a_namespace_does_not_touch_its_finalizers():
    rules, old = strategy(NAMESPACES), created(NAMESPACES, cluster_wide())
    new = cluster_wide(spec={})
    rules.prepare_update(new, old)
    assert new["spec"] == {"finalizers": ["kubernetes"]}
    assert new["status"] == {"phase": "Active"}


def test_the_phase_of_a_namespace_says_whether_it_is_being_deleted():
    stored = created(NAMESPACES, cluster_wide())
    assert status_problems(NAMESPACES, {"phase": "Terminating"}, stored) == [
        "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty"
    ]
    stored["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    assert status_problems(NAMESPACES, {"phase": "Terminating"}, stored) == []


# Nodes


def test_a_node_keeps_what_it_reports_of_itself_when_it_registers():
    stored = created(NODES, cluster_wide(status={"capacity": {"cpu": "2"}}))
    assert stored["status"] == {"capacity": {"cpu": "2"}, "allocatable": {"cpu": "2"}}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (
            {"taints": [{"key": "a", "effect": "Never"}]},
            [
                'metadata.taints[0].effect: Unsupported value: "Never": '
                'supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"'
            ],
        ),
        (
            {"taints": [{"key": "a", "effect": "NoExecute"}, {"key": "a", "effect": "NoExecute", "value": "b"}]},
            [
                'metadata.taints[1]: Duplicate value: {"key":"a","effect":"NoExecute","value":"b"}: '
                "taints must be unique by key and effect pair"
            ],
        ),
        (
            {"podCIDRs": ["10.0.0.0"]},
            [
                'spec.podCIDRs[0]: Invalid value: "10.0.0.0": '
                "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            ],
        ),
        (
            {"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]},
            [
                'spec.podCIDRs: Invalid value: ["10.0.0.0/24","10.0.1.0/24"]: '
                "may specify no more than one CIDR for each IP family"
            ],
        ),
    ],
)
def test_a_node_with_wrong_taints_or_networks_is_refused(spec, told):
    assert problems(NODES, cluster_wide(spec=spec)) == told


def test_the_network_of_a_node_stays():
    old = cluster_wide(spec={"podCIDRs": ["10.0.0.0/24"]})
    assert update_problems(NODES, cluster_wide(spec={"podCIDRs": ["10.0.1.0/24"]}), old) == [
        'spec.podCIDRs: Forbidden: node updates may not change podCIDR except from "" to valid'
    ]


def test_the_columns_of_a_node_are_those_of_kubectl():
    node = {
        "metadata": {
            "name": "n1",
            "creationTimestamp": "2026-01-02T02:04:05Z",
            "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "gpu"},
        },
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "addresses": [{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"}],
            "nodeInfo": {"kubeletVersion": "v1.35.0", "osImage": "Debian"},
        },
    }
    assert shown(NODES, node) == {
        "Name": "n1",
        "Status": "Ready,SchedulingDisabled",
        "Roles": "control-plane,gpu",
        "Age": "60m",
        "Version": "v1.35.0",
        "Internal-IP": "10.0.0.1",
        "External-IP": "<none>",
        "OS-Image": "Debian",
        "Kernel-Version": "<unknown>",
        "Container-Runtime": "<unknown>",
    }
    assert shown(NODES, cluster_wide())["Status"] == "Unknown"
    lost = {**node, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}, "spec": {}}
    assert shown(NODES, lost)["Status"] == "NotReady"


# Storage


def claim(size: str = "1Gi", **spec: Any) -> Object:
    return named(spec={"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}, **spec})


def volume(**spec: Any) -> Object:
    source = {"hostPath": {"path": "/x"}} if "local" not in spec else {}
    return cluster_wide(spec={"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], **source, **spec})


@pytest.mark.parametrize(
    ("resource", "wrong", "told"),
    [
        (
            PERSISTENTVOLUMECLAIMS,
            claim(accessModes=[]),
            ["spec.accessModes: Required value: at least 1 access mode is required"],
        ),
        (
            PERSISTENTVOLUMECLAIMS,
            claim("0"),
            ['spec.resources[storage]: Invalid value: "0": must be greater than zero'],
        ),
        (PERSISTENTVOLUMECLAIMS, claim(resources={}), ["spec.resources[storage]: Required value"]),
        (
            PERSISTENTVOLUMECLAIMS,
            claim(accessModes=["ReadWriteOncePod", "ReadWriteOnce"]),
            ["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        ),
        (
            PERSISTENTVOLUMES,
            volume(capacity={"storage": "0"}),
            ['spec.capacity[storage]: Invalid value: "0": must be greater than zero'],
        ),
        (
            PERSISTENTVOLUMES,
            volume(local={"path": "/x"}),
            ["spec.nodeAffinity: Required value: Local volume requires node affinity"],
        ),
        (PERSISTENTVOLUMES, volume(hostPath=None), ["spec: Required value: must specify a volume type"]),
    ],
)
def test_storage_that_can_not_be_is_refused(resource, wrong, told):
    assert problems(resource, wrong) == told


def test_a_claim_may_grow_once_it_is_bound():
    old = created(PERSISTENTVOLUMECLAIMS, claim())
    new = {**claim("2Gi"), "metadata": {**old["metadata"], "resourceVersion": "1"}}
    rules = strategy(PERSISTENTVOLUMECLAIMS)
    rules.default(new)
    (error,) = rules.validate_update({**new, "status": old["status"]}, old)
    assert error.detail.startswith(
        "spec is immutable after creation except resources.requests and volumeAttributesCl"
    )
    bound = {**old, "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
    assert rules.validate_update({**new, "status": bound["status"]}, bound) == []


def test_where_the_data_of_a_volume_is_stays():
    (told,) = update_problems(PERSISTENTVOLUMES, volume(hostPath={"path": "/y"}), volume())
    assert told == (
        "spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation\n"
        '- spec.hostPath.path: "/x"\n+ spec.hostPath.path: "/y"'
    )


def test_the_columns_of_claims_and_volumes_are_those_of_kubectl():
    pending = created(PERSISTENTVOLUMECLAIMS, claim(storageClassName="fast"))
    assert shown(PERSISTENTVOLUMECLAIMS, pending) == {
        **{"Name": "x", "Status": "Pending", "Volume": "", "Capacity": "", "Access Modes": ""},
        **{
            "StorageClass": "fast",
            "VolumeAttributesClass": "<unset>",
            "Age": "<unknown>",
            "VolumeMode": "Filesystem",
        },
    }
    bound = created(PERSISTENTVOLUMES, volume(claimRef={"namespace": "a", "name": "b"}))
    cells = shown(PERSISTENTVOLUMES, bound)
    assert (cells["Capacity"], cells["Access Modes"], cells["Reclaim Policy"], cells["Claim"]) == (
        "1Gi",
        "RWO",
        "Retain",
        "a/b",
    )


# Limits


def test_the_defaults_of_containers_follow_from_their_bounds():
    item = {"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1", "memory": "1Mi"}}
    (stored,) = created(LIMITRANGES, named(spec={"limits": [item]}))["spec"]["limits"]
    assert stored["default"] == {"cpu": "2"}
    assert stored["defaultRequest"] == {"cpu": "2", "memory": "1Mi"}


@pytest.mark.parametrize(
    ("item", "told"),
    [
        (
            {"type": "Pod", "min": {"cpu": "2"}, "max": {"cpu": "1"}},
            ['spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'],
        ),
        (
            {"type": "Pod", "default": {"cpu": "2"}},
            ["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
        ),
        (
            {"type": "Planet"},
            ['spec.limits[0].type: Invalid value: "Planet": must be a standard limit type or fully qualified'],
        ),
        (
            {"type": "PersistentVolumeClaim"},
            [
                "spec.limits[0].limits: Required value: "
                "either minimum or maximum storage value is required, but neither was provided"
            ],
        ),
        (
            {"type": "Pod", "maxLimitRequestRatio": {"cpu": "500m"}},
            ['spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1'],
        ),
    ],
)
def test_limits_that_contradict_each_other_are_refused(item, told):
    assert problems(LIMITRANGES, named(spec={"limits": [item]})) == told


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"hard": {"pods": "1"}, "scopes": ["BestEffort"]}, []),
        ({"hard": {"count/deployments.apps": "3", "requests.cpu": "2"}}, []),
        (
            {"hard": {"toys": "1"}},
            [
                'spec.hard[toys]: Invalid value: "toys": must be a standard resource type or fully qualified',
                'spec.hard[toys]: Invalid value: "toys": must be a standard resource for quota',
            ],
        ),
        ({"hard": {"pods": "1500m"}}, ['spec.hard[pods]: Invalid value: "1500m": must be an integer']),
        (
            {"hard": {"cpu": "1"}, "scopes": ["BestEffort"]},
            ['spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource'],
        ),
        (
            {"hard": {"pods": "1"}, "scopes": ["Terminating", "NotTerminating"]},
            ['spec.scopes: Invalid value: ["Terminating","NotTerminating"]: conflicting scopes'],
        ),
    ],
)
def test_a_quota_counts_what_can_be_counted(spec, told):
    assert problems(RESOURCEQUOTAS, named(spec=spec)) == told


def test_a_quota_shows_what_is_used_of_it():
    hard = {"pods": "5", "requests.cpu": "4", "limits.memory": "8Gi"}
    cells = shown(RESOURCEQUOTAS, named(status={"hard": hard, "used": {"pods": "2"}}))
    assert (cells["Request"], cells["Limit"]) == ("pods: 2/5, requests.cpu: 0/4", "limits.memory: 0/8Gi")


# Events, leases, endpoints, accounts, templates


def event(**fields: Any) -> Object:
    about = {"kind": "Pod", "name": "web", "namespace": "default"}
    return {"metadata": {"name": "e", "namespace": "default"}, "involvedObject": about, **fields}


@pytest.mark.parametrize(
    ("obj", "last", "first", "count"),
    [
        (event(firstTimestamp="2026-01-02T03:02:05Z", lastTimestamp="2026-01-02T03:03:35Z", count=3), "30s", "2m", 3),
        (event(eventTime="2026-01-02T03:03:05.000001Z"), "59s", "59s", 1),
        (
            event(
                eventTime="2026-01-02T03:02:05Z", series={"count": 7, "lastObservedTime": "2026-01-02T03:04:00.5Z"}
            ),
            *("4s", "2m", 7),
        ),
        (event(), "<unknown>", "<unknown>", 1),
    ],
)
def test_an_event_shows_when_it_happened_and_how_often(obj, last, first, count):
    cells = shown(EVENTS, obj)
    assert (cells["Last Seen"], cells["First Seen"], cells["Count"]) == (last, first, count)


def test_an_event_shows_what_it_is_about_and_who_says_so():
    cells = shown(EVENTS, event(message=" hello\n", reason="R", source={"component": "kubelet", "host": "n1"}))
    assert (cells["Object"], cells["Source"], cells["Message"], cells["Reason"]) == (
        *("pod/web", "kubelet, n1", "hello", "R"),
    )


def test_an_event_stands_in_the_namespace_of_what_it_is_about():
    assert problems(EVENTS, event()) == []
    about_node = {**event(), "involvedObject": {"kind": "Node", "name": "n1"}}
    assert problems(EVENTS, about_node) == []
    about_node["metadata"]["namespace"] = "other"
    assert problems(EVENTS, about_node) == [
        'involvedObject.namespace: Invalid value: "": does not match event.namespace'
    ]


def test_an_event_of_the_newer_form_says_who_reports_what():
    assert problems(EVENTS, event(eventTime="2026-01-02T03:03:05Z", reportingComponent="scheduler")) == [
        "reportingInstance: Required value",
        "action: Required value",
        "reason: Required value",
    ]


def test_a_lease_lasts_for_some_time():
    assert problems(LEASES, named(spec={"leaseDurationSeconds": 0, "leaseTransitions": -1})) == [
        "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
    ]
    assert shown(LEASES, named(spec={"holderIdentity": "me"}))["Holder"] == "me"


def test_endpoints_show_the_first_few_addresses():
    addresses = [{"ip": f"10.0.0.{number}"} for number in range(1, 6)]
    many = named(subsets=[{"addresses": addresses, "ports": [{"port": 80}]}])
    assert shown(ENDPOINTS, many)["Endpoints"] == "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80 + 2 more..."
    assert shown(ENDPOINTS, named())["Endpoints"] == "<none>"
    assert problems(ENDPOINTS, named(subsets=[{"addresses": [{"ip": "127.0.0.1"}], "ports": [{"port": 80}]}])) == [
        'subsets[0].addresses[0].ip: Invalid value: "127.0.0.1": '
        "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    ]
    assert problems(ENDPOINTS, named(subsets=[{}])) == [
        "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"
    ]


def test_accounts_and_templates_are_simple():
    assert shown(SERVICEACCOUNTS, named(secrets=[{"name": "a"}]))["Secrets"] == 1
    stored = created(PODTEMPLATES, named(template=template()))
    assert shown(PODTEMPLATES, stored) == {
        **{"Name": "x", "Containers": "web", "Images": "nginx:1.27", "Pod Labels": "app=web"}
    }
    assert problems(PODTEMPLATES, named(template=template(containers=[]))) == [
        "template.spec.containers: Required value"
    ]
