"""What objects use of quotas."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.quota.evaluators import counted, evaluator
from apimachinery.resources import CONFIGMAPS, DEPLOYMENTS, PERSISTENTVOLUMECLAIMS, PODS, RESOURCECLAIMS, SERVICES

NOW = 1_750_000_000.0
EARLIER, LATER = "2025-06-15T15:06:00Z", "2025-06-15T15:07:00Z"  # NOW is 15:06:40


def container(name: str = "c", *, requests: Any = None, limits: Any = None, **more: Any) -> Object:
    return {"name": name, "resources": {"requests": requests or {}, "limits": limits or {}}, **more}


def pod(*containers: Object, status: Any = None, metadata: Any = None, **spec: Any) -> Object:
    listed = list(containers) or [container()]
    return {
        "metadata": {"name": "a", **(metadata or {})},
        "spec": {"containers": listed, **spec},
        "status": {"phase": "Running", "qosClass": "Burstable", **(status or {})},
    }


def used(resource: Any, obj: Object) -> dict[str, str]:
    return {name: str(value) for name, value in evaluator(*resource.key).usage(obj, NOW).items()}


def of_pod(obj: Object, *names: str) -> list[str | None]:
    return [used(PODS, obj).get(name) for name in names]


def test_a_pod_uses_what_its_containers_ask_for():
    some = pod(
        container("a", requests={"cpu": "100m", "memory": "1Gi"}, limits={"cpu": "1", "memory": "2Gi"}),
        container("b", requests={"cpu": "200m", "example.com/gpu": "1", "ephemeral-storage": "1G"}),
    )
    assert used(PODS, some) == {
        "count/pods": "1",
        "pods": "1",
        **{"cpu": "300m", "requests.cpu": "300m", "memory": "1Gi", "requests.memory": "1Gi"},
        **{"ephemeral-storage": "1G", "requests.ephemeral-storage": "1G"},
        "requests.example.com/gpu": "1",
        **{"limits.cpu": "1", "limits.memory": "2Gi"},
    }


def test_huge_pages_have_two_names():
    pages = container(requests={"hugepages-2Mi": "4Mi"}, limits={"hugepages-2Mi": "4Mi"})
    assert of_pod(pod(pages), "hugepages-2Mi", "requests.hugepages-2Mi", "limits.hugepages-2Mi") == [
        *("4Mi", "4Mi"),
        None,
    ]


def test_init_containers_count_where_they_need_more_than_what_follows():
    first, second = container("first", requests={"cpu": "1"}), container("second", requests={"cpu": "3"})
    sidecar = container("sidecar", requests={"cpu": "500m"}, restartPolicy="Always")
    main = container(requests={"cpu": "2"})
    assert of_pod(pod(main, initContainers=[first]), "cpu") == ["2"]
    assert of_pod(pod(main, initContainers=[first, second]), "cpu") == ["3"]
    assert of_pod(pod(main, initContainers=[first, sidecar]), "cpu") == ["2500m"]
    assert of_pod(pod(main, initContainers=[sidecar, second]), "cpu") == ["3500m"]


def test_what_the_pod_says_for_itself_counts_and_its_overhead_as_well():
    main = container(requests={"cpu": "2", "memory": "1Gi"}, limits={"memory": "1Gi"})
    some = pod(main, resources={"requests": {"cpu": "3"}}, overhead={"cpu": "250m", "memory": "64Mi"})
    assert of_pod(some, "cpu", "memory") == ["3250m", "1088Mi"]
    # A pod without a limit has none because of its overhead.
    assert of_pod(some, "limits.memory", "limits.cpu") == ["1088Mi", None]


def test_where_a_quota_limits_it_every_container_says_what_it_wants_unless_the_pod_does():
    missing = evaluator(*PODS.key).missing
    assert missing is not None
    silent = pod(container("a", requests={"cpu": "1"}), container("b"))
    assert missing(silent, ["requests.cpu", "limits.memory", "pods"]) == (
        "must specify limits.memory for: a,b; requests.cpu for: b"
    )
    spoken_for = pod(container("a"), container("b"), resources={"limits": {"memory": "1Gi"}})
    assert missing(spoken_for, ["requests.cpu", "limits.memory"]) == ""


def test_during_a_resize_the_larger_size_counts():
    told = {"name": "c", "resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "2"}}
    running = {"containerStatuses": [told]}
    assert of_pod(pod(container(requests={"cpu": "1"}), status=running), "cpu") == ["2"]
    assert of_pod(pod(container(requests={"cpu": "3"}), status=running), "cpu") == ["3"]
    running["conditions"] = [{"type": "PodResizePending", "status": "True", "reason": "Infeasible"}]
    assert of_pod(pod(container(requests={"cpu": "3"}), status=running), "cpu") == ["2"]


@pytest.mark.parametrize(
    ("obj", "over"),
    [
        (pod(status={"phase": "Pending"}), False),
        (pod(status={"phase": "Succeeded"}), True),
        (pod(status={"phase": "Failed"}), True),
        (pod(metadata={"deletionTimestamp": LATER, "deletionGracePeriodSeconds": 30}), False),
        (pod(metadata={"deletionTimestamp": EARLIER, "deletionGracePeriodSeconds": 60}), False),
        (pod(metadata={"deletionTimestamp": EARLIER, "deletionGracePeriodSeconds": 10}), True),
    ],
)
def test_a_pod_that_is_over_is_only_counted(obj: Object, over: bool):
    assert (used(PODS, obj) == {"count/pods": "1"}) == over


@pytest.mark.parametrize(
    ("ports", "spec", "expected"),
    [
        ([{}], {"type": "ClusterIP"}, ("0", "0")),
        ([{}, {}], {"type": "NodePort"}, ("2", "0")),
        ([{}, {}], {"type": "LoadBalancer"}, ("2", "1")),
        ([{}, {"nodePort": 30000}], {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False}, ("1", "1")),
    ],
)
def test_services_use_node_ports_and_load_balancers(ports, spec, expected):
    found = used(SERVICES, {"metadata": {"name": "a"}, "spec": {"ports": ports, **spec}})
    assert (found["services.nodeports"], found["services.loadbalancers"]) == expected
    assert found["services"] == found["count/services"] == "1"


def claim(storage: str = "1Gi", allocated: str = "", **spec: Any) -> Object:
    status = {"allocatedResources": {"storage": allocated}} if allocated else {}
    resources = {"requests": {"storage": storage}}
    return {"metadata": {"name": "a"}, "spec": {"resources": resources, **spec}, "status": status}


def test_claims_use_storage_of_their_class():
    assert used(PERSISTENTVOLUMECLAIMS, claim(storageClassName="gold")) == {
        **{"count/persistentvolumeclaims": "1", "persistentvolumeclaims": "1", "requests.storage": "1Gi"},
        "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
        "gold.storageclass.storage.k8s.io/requests.storage": "1Gi",
    }
    found = [
        used(PERSISTENTVOLUMECLAIMS, one)["requests.storage"] for one in (claim("1Gi", "2Gi"), claim("3Gi", "2Gi"))
    ]
    assert found == ["2Gi", "3Gi"]
    assert used(PERSISTENTVOLUMECLAIMS, claim("1500m"))["requests.storage"] == "2"


def test_device_claims_use_devices_of_their_classes():
    def exactly(name: str, **more: Any) -> Object:
        return {"name": name, "exactly": {"deviceClassName": name, **more}}

    ways = [{"name": "x", "deviceClassName": "big"}, {"name": "y", "deviceClassName": "small", "count": 2}]
    asked = [exactly("small", count=3), exactly("all", allocationMode="All"), {"name": "z", "firstAvailable": ways}]
    found = used(RESOURCECLAIMS, {"metadata": {"name": "a"}, "spec": {"devices": {"requests": asked}}})
    ending = ".deviceclass.resource.k8s.io/devices"
    assert found == {
        "count/resourceclaims.resource.k8s.io": "1",
        **{f"small{ending}": "5", f"all{ending}": "32", f"big{ending}": "1"},
    }


def test_everything_else_is_counted():
    assert used(CONFIGMAPS, {}) == {"count/configmaps": "1", "configmaps": "1"}
    assert used(DEPLOYMENTS, {}) == {"count/deployments.apps": "1"}
    assert evaluator("example.com", "widgets").names(["count/widgets.example.com", "widgets"]) == [
        "count/widgets.example.com"
    ]
    assert counted("count/widgets.example.com") == ("example.com", "widgets")
    assert counted("count/pods") == ("", "pods")
    assert counted("secrets") == ("", "secrets")
    assert counted("requests.cpu") is None


@pytest.mark.parametrize(
    ("resource", "names"),
    [
        (PODS, ["count/pods", "limits.memory", "requests.example.com/gpu", "requests.hugepages-2Mi"]),
        (PERSISTENTVOLUMECLAIMS, ["requests.storage", "gold.storageclass.storage.k8s.io/requests.storage"]),
        (SERVICES, ["services.nodeports"]),
        (CONFIGMAPS, ["configmaps"]),
    ],
)
def test_each_resource_has_its_limits(resource, names):
    limited = [
        *("count/pods", "limits.memory", "requests.example.com/gpu", "requests.hugepages-2Mi", "requests.storage"),
        *("gold.storageclass.storage.k8s.io/requests.storage", "services.nodeports", "configmaps", "count/a.b"),
    ]
    assert evaluator(*resource.key).names(limited) == names


def quota(*scopes: str, **selector: Any) -> Object:
    expressions = {"scopeSelector": {"matchExpressions": [selector]}} if selector else {}
    return {"metadata": {"name": "q"}, "spec": {"scopes": list(scopes), **expressions}}


HIGH = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
OTHERS = {"scopeName": "PriorityClass", "operator": "NotIn", "values": ["high"]}
TERM = {"topologyKey": "zone", "labelSelector": {}}


@pytest.mark.parametrize(
    ("of", "inside", "outside"),
    [
        (quota(), [pod()], []),
        (quota("Terminating"), [pod(activeDeadlineSeconds=0)], [pod()]),
        (quota("NotTerminating"), [pod()], [pod(activeDeadlineSeconds=5)]),
        (quota("BestEffort"), [pod(status={"qosClass": "BestEffort"})], [pod()]),
        (quota("NotBestEffort"), [pod()], [pod(status={"qosClass": "BestEffort"})]),
        (quota("PriorityClass"), [pod(priorityClassName="low")], [pod()]),
        (quota(**HIGH), [pod(priorityClassName="high")], [pod(priorityClassName="low"), pod()]),
        (quota(**OTHERS), [pod(priorityClassName="low"), pod()], [pod(priorityClassName="high")]),
        (quota(scopeName="PriorityClass", operator="DoesNotExist"), [pod()], [pod(priorityClassName="high")]),
        (
            quota("NotTerminating", **HIGH),
            [pod(priorityClassName="high")],
            [pod(priorityClassName="high", activeDeadlineSeconds=5)],
        ),
        (
            quota("CrossNamespacePodAffinity"),
            [
                pod(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [one]}})
                for one in ({**TERM, "namespaces": ["b"]}, {**TERM, "namespaceSelector": {}})
            ]
            + [
                pod(
                    affinity={
                        "podAntiAffinity": {
                            "preferredDuringSchedulingIgnoredDuringExecution": [
                                {"weight": 1, "podAffinityTerm": {**TERM, "namespaces": ["b"]}}
                            ]
                        }
                    }
                )
            ],
            [pod(), pod(affinity={"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [TERM]}})],
        ),
        (quota("VolumeAttributesClass"), [], [pod()]),
    ],
)
def test_scopes_of_pods(of, inside, outside):
    matched = [evaluator(*PODS.key).is_in_scopes(of, one) for one in (*inside, *outside)]
    assert matched == [True] * len(inside) + [False] * len(outside)


def test_scopes_of_claims():
    gold = quota(scopeName="VolumeAttributesClass", operator="In", values=["gold"])
    of = evaluator(*PERSISTENTVOLUMECLAIMS.key)
    assert of.is_in_scopes(gold, claim(volumeAttributesClassName="gold"))
    assert of.is_in_scopes(gold, {**claim(), "status": {"currentVolumeAttributesClassName": "gold"}})
    wanted = {"modifyVolumeStatus": {"targetVolumeAttributesClassName": "gold"}}
    assert of.is_in_scopes(gold, {**claim(), "status": wanted})
    assert not of.is_in_scopes(gold, claim())
    assert of.is_in_scopes(quota(scopeName="VolumeAttributesClass", operator="DoesNotExist"), claim())
    assert not of.is_in_scopes(quota("Terminating"), claim())


def test_other_objects_are_in_no_scope():
    assert evaluator("", "configmaps").is_in_scopes(quota(), {})
    assert not evaluator("", "configmaps").is_in_scopes(quota("PriorityClass"), {})
