"""HorizontalPodAutoscalers, in both of their versions."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from apimachinery.meta import Object
from apimachinery.resources import HORIZONTALPODAUTOSCALERS
from apiserver.registry.conversion import convert
from tests.unit.apiserver.registry.factories import created, problems, shown, status_problems, update_problems

V1, V2 = "autoscaling/v1", "autoscaling/v2"
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}}
REQUESTS = {
    "type": "Pods",
    "pods": {"metric": {"name": "requests"}, "target": {"type": "AverageValue", "averageValue": "100"}},
}
QUEUE = {
    "type": "External",
    "external": {
        "metric": {"name": "queue", "selector": {"matchLabels": {"name": "jobs"}}},
        "target": {"type": "Value", "value": "30"},
    },
}


def autoscaler(**spec: Any) -> Object:
    return {
        "apiVersion": V2,
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"scaleTargetRef": TARGET, "maxReplicas": 10, **spec},
    }


def test_an_autoscaler_aims_at_most_of_the_cpu():
    spec = created(HORIZONTALPODAUTOSCALERS, autoscaler())["spec"]
    assert spec["minReplicas"] == 1
    target = {"type": "Utilization", "averageUtilization": 80}
    assert spec["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]


def test_what_is_said_of_the_behavior_is_completed():
    behavior = {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
    stored = created(HORIZONTALPODAUTOSCALERS, autoscaler(behavior=behavior))["spec"]["behavior"]
    assert stored["scaleDown"] == {"selectPolicy": "Max", **behavior["scaleDown"]}
    assert stored["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert [policy["type"] for policy in stored["scaleUp"]["policies"]] == ["Pods", "Percent"]


@pytest.mark.parametrize("metric", [CPU, REQUESTS, QUEUE], ids=lambda metric: metric["type"])
def test_metrics_of_every_type_are_taken(metric):
    assert problems(HORIZONTALPODAUTOSCALERS, autoscaler(metrics=[metric])) == []


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            {"minReplicas": 11},
            ["spec.maxReplicas: Invalid value: 10: must be greater than or equal to `minReplicas`"],
        ),
        (
            {"minReplicas": 0},
            [
                "spec.minReplicas: Invalid value: 0: must be greater than or equal to 1",
                "spec.metrics: Forbidden: must specify at least one Object or External metric to support scaling to "
                "zero replicas",
            ],
        ),
        ({"scaleTargetRef": {**TARGET, "kind": ""}}, ["spec.scaleTargetRef.kind: Required value"]),
        (
            {"scaleTargetRef": {**TARGET, "name": "a/b"}},
            ["spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'"],
        ),
        (
            {"scaleTargetRef": {"kind": "Deployment", "name": "web"}},
            ['spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group'],
        ),
        ({"scaleTargetRef": {"kind": "ReplicationController", "name": "web"}}, []),
        (
            {"metrics": [{"type": "Resource"}]},
            ["spec.metrics[0].resource: Required value: must populate information for the given metric source"],
        ),
        (
            {"metrics": [{**CPU, "pods": REQUESTS["pods"]}]},
            ["spec.metrics[0].pods: Forbidden: must populate the given metric source only"],
        ),
        (
            {"metrics": [{"type": "Pods", "pods": {"metric": {"name": "x"}, "target": {"type": "Value"}}}]},
            ["spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue"],
        ),
        (
            {"behavior": {"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 3000}]}}},
            [
                "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 3000: must be less than or equal to "
                "1800",
            ],
        ),
    ],
)
def test_what_is_wrong_with_an_autoscaler_is_told(wrong, told):
    assert problems(HORIZONTALPODAUTOSCALERS, autoscaler(**wrong)) == told


def test_a_target_that_was_named_without_a_group_may_stay():
    old = autoscaler(scaleTargetRef={"kind": "Deployment", "name": "web"})
    assert update_problems(HORIZONTALPODAUTOSCALERS, old, old) == []
    other = autoscaler(scaleTargetRef={"kind": "StatefulSet", "name": "web"})
    assert len(update_problems(HORIZONTALPODAUTOSCALERS, other, old)) == 1


def test_there_are_no_fewer_pods_than_none():
    old = created(HORIZONTALPODAUTOSCALERS, autoscaler())
    assert status_problems(HORIZONTALPODAUTOSCALERS, {"currentReplicas": -1, "desiredReplicas": 1}, old) == [
        "status.currentReplicas: Invalid value: -1: must be greater than or equal to 0"
    ]


def test_the_columns_of_an_autoscaler():
    status = {
        "currentReplicas": 3,
        "currentMetrics": [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}}],
    }
    stored = {**created(HORIZONTALPODAUTOSCALERS, autoscaler(metrics=[CPU, REQUESTS, QUEUE])), "status": status}
    assert shown(HORIZONTALPODAUTOSCALERS, stored) == {
        "Name": "web",
        "Reference": "Deployment/web",
        "Targets": "cpu: 12%/60%, <unknown>/100 + 1 more...",
        "MinPods": "1",
        "MaxPods": 10,
        "Replicas": 3,
        "Age": "<unknown>",
    }
    stored["spec"]["metrics"] = [REQUESTS, CPU]
    assert shown(HORIZONTALPODAUTOSCALERS, convert(stored, V1)) == shown(HORIZONTALPODAUTOSCALERS, stored)


# The older version


def test_version_1_has_a_field_for_the_use_of_cpu():
    shown_as = convert(autoscaler(metrics=[CPU]), V1)
    assert shown_as["apiVersion"] == V1
    assert shown_as["spec"] == {"scaleTargetRef": TARGET, "maxReplicas": 10, "targetCPUUtilizationPercentage": 60}
    assert "annotations" not in shown_as["metadata"]


def test_version_1_keeps_the_rest_in_annotations():
    behavior = {"scaleUp": {"stabilizationWindowSeconds": 5}}
    condition = {"type": "AbleToScale", "status": "True", "reason": "Ready", "message": "m"}
    current = {"type": "Pods", "pods": {"metric": {"name": "requests"}, "current": {"averageValue": "7"}}}
    full = {
        **autoscaler(metrics=[REQUESTS, CPU], behavior=behavior),
        "status": {
            "currentReplicas": 1,
            "desiredReplicas": 1,
            "currentMetrics": [current],
            "conditions": [condition],
        },
    }
    before = copy.deepcopy(full)
    kept = convert(full, V1)["metadata"]["annotations"]
    domain = "autoscaling.alpha.kubernetes.io"
    assert {key.removeprefix(f"{domain}/"): orjson.loads(value) for key, value in kept.items()} == {
        "metrics": [{"type": "Pods", "pods": {"metricName": "requests", "targetAverageValue": "100"}}],
        "current-metrics": [{"type": "Pods", "pods": {"metricName": "requests", "currentAverageValue": "7"}}],
        "behavior": {"ScaleUp": {"StabilizationWindowSeconds": 5}},
        "conditions": [condition],
    }
    assert convert(convert(full, V1), V2) == full == before


@pytest.mark.parametrize("metric", [REQUESTS, QUEUE], ids=lambda metric: metric["type"])
def test_there_and_back_changes_nothing(metric):
    stored = autoscaler(metrics=[metric], minReplicas=2)
    assert convert(convert(stored, V1), V2) == stored


def test_an_autoscaler_of_version_1_without_a_metric_means_the_cpu():
    sent = {**autoscaler(), "apiVersion": V1}
    assert convert(sent, V2)["spec"]["metrics"] == [
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}
    ]


def test_an_annotation_that_can_not_be_read_says_nothing():
    sent = {**autoscaler(), "apiVersion": V1}
    sent["metadata"] = {**sent["metadata"], "annotations": {"autoscaling.alpha.kubernetes.io/metrics": "{", "a": "b"}}
    converted = convert(sent, V2)
    assert converted["metadata"]["annotations"] == {"a": "b"}
    assert len(converted["spec"]["metrics"]) == 1


def test_annotations_of_the_older_version_do_not_stay_in_the_newer_one():
    sent = autoscaler()
    sent["metadata"]["annotations"] = {"autoscaling.alpha.kubernetes.io/behavior": "{}", "a": "b"}
    assert created(HORIZONTALPODAUTOSCALERS, sent)["metadata"]["annotations"] == {"a": "b"}
