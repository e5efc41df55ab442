"""Deployments, ReplicaSets, DaemonSets, StatefulSets and ReplicationControllers."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import (
    CONTROLLERREVISIONS,
    DAEMONSETS,
    DEPLOYMENTS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
    Resource,
)
from apiserver.registry import strategy
from apiserver.registry.strategy import Since
from tests.unit.apiserver.registry.factories import (
    created,
    problems,
    status_problems,
    template,
    update_problems,
    workload,
)

WORKLOADS = (DEPLOYMENTS, REPLICASETS, DAEMONSETS, STATEFULSETS)
T = "spec.template"


def names(resource: Resource) -> str:
    return resource.plural


def cells(resource: Resource, obj: Object) -> dict[str, Any]:
    found = {column.name: column.cell(obj) for column in strategy(resource).columns}
    return {name: cell for name, cell in found.items() if not isinstance(cell, Since) and name != "Name"}


def rolling(**fields: Any) -> Object:
    return workload(strategy={"type": "RollingUpdate", "rollingUpdate": fields})


def test_a_deployment_replaces_a_quarter_of_its_pods_at_a_time():
    spec = created(DEPLOYMENTS, workload())["spec"]
    assert {key: value for key, value in spec.items() if key not in ("selector", "template")} == {
        "replicas": 1,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
    }
    assert spec["template"]["spec"]["restartPolicy"] == "Always"


def test_a_daemon_set_replaces_one_pod_at_a_time():
    stored = created(DAEMONSETS, workload())
    assert stored["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0},
    }
    assert stored["metadata"]["annotations"] == {"deprecated.daemonset.template.generation": "1"}


def test_a_stateful_set_goes_one_by_one_and_keeps_its_claims():
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    spec = created(STATEFULSETS, workload(volumeClaimTemplates=[claim]))["spec"]
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["updateStrategy"] == {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, "maxUnavailable": 1}}
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    (stored,) = spec["volumeClaimTemplates"]
    assert (stored["kind"], stored["spec"]["volumeMode"], stored["status"]) == (
        "PersistentVolumeClaim",
        "Filesystem",
        {"phase": "Pending"},
    )


def test_a_replication_controller_selects_the_labels_of_its_template():
    stored = created(REPLICATIONCONTROLLERS, {"metadata": {"name": "web"}, "spec": {"template": template()}})
    assert stored["spec"]["selector"] == {"app": "web"}
    assert stored["metadata"]["labels"] == {"app": "web"}
    assert stored["spec"]["replicas"] == 1


@pytest.mark.parametrize("resource", WORKLOADS, ids=names)
def test_a_usual_workload_is_taken(resource):
    assert problems(resource, workload()) == []


@pytest.mark.parametrize("resource", WORKLOADS, ids=names)
def test_a_workload_must_select_its_own_pods(resource):
    other = workload(selector={"matchLabels": {"app": "db"}})
    assert problems(resource, other) == [
        'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'
    ]


@pytest.mark.parametrize("resource", WORKLOADS, ids=names)
def test_a_workload_does_not_change_its_selector(resource):
    other = workload(selector={"matchLabels": {"app": "web", "tier": "x"}})
    other["spec"]["template"]["metadata"]["labels"] = {"app": "web", "tier": "x"}
    (told,) = update_problems(resource, other, workload())
    if resource is STATEFULSETS:
        assert told.startswith("spec: Forbidden: updates to statefulset spec for fields other than 'replicas', ")
    else:
        wrong = '{"matchLabels":{"app":"web","tier":"x"}}'
        assert told == f"spec.selector: Invalid value: {wrong}: field is immutable"


@pytest.mark.parametrize("resource", WORKLOADS, ids=names)
def test_pods_of_a_workload_are_always_restarted(resource):
    kind = {DEPLOYMENTS: "ReplicaSet"}.get(resource, resource.kind)
    assert problems(resource, workload(template=template(restartPolicy="Never", activeDeadlineSeconds=5))) == [
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
        f"spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in {kind} is not Supported",
    ]


@pytest.mark.parametrize("resource", WORKLOADS, ids=names)
def test_what_is_wrong_with_the_pods_is_told_of_the_template(resource):
    assert problems(resource, workload(template=template(containers=[{"name": "a"}]))) == [
        "spec.template.spec.containers[0].image: Required value"
    ]


@pytest.mark.parametrize(
    ("resource", "wrong", "told"),
    [
        (
            DEPLOYMENTS,
            workload(replicas=-1),
            ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (DEPLOYMENTS, workload(selector=None), ["spec.selector: Required value"]),
        (
            DEPLOYMENTS,
            workload(selector={}),
            ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        ),
        (
            DEPLOYMENTS,
            rolling(maxSurge=0, maxUnavailable="0%"),
            ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0'],
        ),
        (
            DEPLOYMENTS,
            rolling(maxUnavailable="120%"),
            ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "120%": must not be greater than 100%'],
        ),
        (
            DEPLOYMENTS,
            rolling(maxSurge="many"),
            [
                'spec.strategy.rollingUpdate.maxSurge: Invalid value: "many": a valid percent string must be a '
                "numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is "
                "'[0-9]+%')"
            ],
        ),
        (
            DEPLOYMENTS,
            workload(strategy={"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}),
            ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
        ),
        (
            DEPLOYMENTS,
            workload(strategy={"type": "Canary"}),
            ['spec.strategy: Unsupported value: {"type":"Canary"}: supported values: "Recreate", "RollingUpdate"'],
        ),
        (
            DEPLOYMENTS,
            workload(minReadySeconds=600),
            ["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
        ),
        (
            DEPLOYMENTS,
            workload(selector={"matchExpressions": [{"key": "app", "operator": "Like"}]}),
            ['spec.selector.matchExpressions[0].operator: Invalid value: "Like": not a valid selector operator'],
        ),
        (
            DAEMONSETS,
            workload(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 1}}),
            [
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: "
                "may not be set when maxUnavailable is non-zero"
            ],
        ),
        (
            DAEMONSETS,
            workload(updateStrategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}),
            ["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
        ),
        (
            STATEFULSETS,
            workload(podManagementPolicy="Chaos"),
            ["spec.podManagementPolicy: Invalid value: \"Chaos\": must be 'OrderedReady' or 'Parallel'"],
        ),
        (
            STATEFULSETS,
            workload(updateStrategy={"type": "OnDelete", "rollingUpdate": {"partition": 1}}),
            [
                'spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: '
                "only allowed for updateStrategy 'RollingUpdate'"
            ],
        ),
        (
            STATEFULSETS,
            workload(persistentVolumeClaimRetentionPolicy={"whenDeleted": "Forget"}),
            [
                'spec.persistentVolumeClaimRetentionPolicy.whenDeleted: Unsupported value: "Forget": '
                'supported values: "Delete", "Retain"'
            ],
        ),
    ],
)
def test_what_is_wrong_is_named_in_kubernetes_words(resource, wrong, told):
    assert problems(resource, wrong) == told


def test_the_claims_of_a_stateful_set_can_be_mounted():
    container = {"name": "db", "image": "db:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    claim = {
        "metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    spec = workload(template=template(containers=[container]))
    assert problems(STATEFULSETS, spec) == [f'{T}.spec.containers[0].volumeMounts[0].name: Not found: "data"']
    spec["spec"]["volumeClaimTemplates"] = [claim]
    assert problems(STATEFULSETS, spec) == []


def test_a_stateful_set_may_be_scaled_and_updated_but_keeps_its_claims():
    assert update_problems(STATEFULSETS, workload(replicas=5, minReadySeconds=3), workload()) == []
    claim = {"metadata": {"name": "a"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    (told,) = [text for text in update_problems(STATEFULSETS, workload(serviceName="db"), workload())]
    assert told == (
        "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
        "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are "
        "forbidden"
    )
    assert told in update_problems(STATEFULSETS, workload(volumeClaimTemplates=[claim]), workload())


def test_the_name_of_a_stateful_set_is_part_of_host_names():
    named = workload()
    named["metadata"]["name"] = "my.db"
    assert problems(STATEFULSETS, named) == ['metadata.name: Invalid value: "my.db": must not contain dots']
    assert problems(DEPLOYMENTS, named) == []


def test_the_numbers_of_a_status_fit_together():
    old = created(DEPLOYMENTS, workload())
    assert status_problems(DEPLOYMENTS, {"replicas": 1, "readyReplicas": 1, "availableReplicas": 1}, old) == []
    assert status_problems(DEPLOYMENTS, {"replicas": 1, "readyReplicas": 2, "availableReplicas": -1}, old) == [
        "status.availableReplicas: Invalid value: -1: must be greater than or equal to 0",
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
    ]
    old["status"] = {"collisionCount": 3}
    assert status_problems(DEPLOYMENTS, {"collisionCount": 2}, old) == [
        "status.collisionCount: Invalid value: 2: cannot be decremented"
    ]


def test_an_annotation_of_a_deployment_counts_as_a_change():
    old = created(DEPLOYMENTS, workload())
    old["metadata"]["generation"] = 4
    new = {**old, "metadata": {**old["metadata"], "annotations": {"a": "b"}}}
    strategy(DEPLOYMENTS).prepare_update(new, old)
    assert new["metadata"]["generation"] == 5


def test_the_server_counts_the_templates_of_a_daemon_set():
    old = created(DAEMONSETS, workload())
    new = created(DAEMONSETS, workload(template=template(hostname="x")))
    strategy(DAEMONSETS).prepare_update(new, old)
    assert new["metadata"]["annotations"]["deprecated.daemonset.template.generation"] == "2"


def test_history_is_not_rewritten():
    revision = {"metadata": {"name": "r", "namespace": "default"}, "data": {"a": 1}, "revision": 1}
    assert problems(CONTROLLERREVISIONS, {**revision, "data": None}) == ["data: Required value: data is mandatory"]
    assert update_problems(CONTROLLERREVISIONS, {**revision, "data": {"a": 2}}, revision) == [
        'data: Invalid value: {"a":2}: field is immutable'
    ]


@pytest.mark.parametrize(
    ("resource", "status", "expected"),
    [
        (
            DEPLOYMENTS,
            {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 1},
            {"Ready": "2/3", "Up-to-date": 3, "Available": 1, "Selector": "app=web"},
        ),
        (
            REPLICASETS,
            {"replicas": 3, "readyReplicas": 2},
            {"Desired": 3, "Current": 3, "Ready": 2, "Selector": "app=web"},
        ),
        (STATEFULSETS, {}, {"Ready": "0/3"}),
        (
            DAEMONSETS,
            {"desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1},
            {
                **{"Desired": 3, "Current": 2, "Ready": 1, "Up-to-date": 0, "Available": 0},
                **{"Node Selector": "<none>", "Selector": "app=web"},
            },
        ),
    ],
    ids=lambda value: value.plural if isinstance(value, Resource) else "",
)
def test_the_columns_are_those_of_kubectl(resource, status, expected):
    stored = {**created(resource, workload(replicas=3)), "status": status}
    assert cells(resource, stored) == {**expected, "Containers": "web", "Images": "nginx:1.27"}
