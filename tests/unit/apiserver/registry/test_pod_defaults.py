"""A pod that says little is stored with all that Kubernetes says for it."""

from __future__ import annotations

import pytest

from apimachinery.pod_defaults import default_template, pull_policy
from apimachinery.resources import PODS
from tests.unit.apiserver.registry.factories import container_pod, created, pod, template


def test_a_small_pod_is_stored_with_kubernetes_defaults():
    assert created(PODS, pod()) == {
        **pod(),
        "spec": {
            "containers": [
                {
                    "name": "web",
                    "image": "nginx:1.27",
                    "imagePullPolicy": "IfNotPresent",
                    "resources": {},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                }
            ],
            "dnsPolicy": "ClusterFirst",
            "enableServiceLinks": True,
            "restartPolicy": "Always",
            "schedulerName": "default-scheduler",
            "securityContext": {},
            "terminationGracePeriodSeconds": 30,
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1.27", "IfNotPresent"),
        ("registry.example:5000/nginx", "Always"),
        ("registry.example:5000/nginx:1.27", "IfNotPresent"),
        ("nginx@sha256:" + "0" * 64, "IfNotPresent"),
        ("nginx:latest@sha256:" + "0" * 64, "Always"),
        ("localhost/host", "Always"),
        ("", "IfNotPresent"),
    ],
)
def test_an_image_without_a_fixed_tag_is_always_pulled(image, policy):
    assert pull_policy(image) == policy


def test_what_is_limited_is_requested_too():
    stored = created(
        PODS, container_pod(resources={"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1m"}})
    )
    assert stored["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "1m", "memory": "1Gi"}


def test_only_pods_request_what_they_limit_and_link_services_and_not_templates():
    spec = template(containers=[{"name": "c", "image": "i:1", "resources": {"limits": {"cpu": "1"}}}])
    default_template(spec)
    assert "requests" not in spec["spec"]["containers"][0]["resources"]
    assert "enableServiceLinks" not in spec["spec"]


def test_ports_on_the_nodes_network_are_ports_of_the_node():
    stored = created(PODS, container_pod(ports=[{"containerPort": 80}]) | {})
    assert stored["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    on_host = container_pod(ports=[{"containerPort": 80}])
    on_host["spec"]["hostNetwork"] = True
    assert created(PODS, on_host)["spec"]["containers"][0]["ports"][0]["hostPort"] == 80


def test_a_probe_is_tried_every_ten_seconds():
    probe = created(PODS, container_pod(livenessProbe={"httpGet": {"port": 80}}))["spec"]["containers"][0]
    assert probe["livenessProbe"] == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "timeoutSeconds": 1,
        "periodSeconds": 10,
        "successThreshold": 1,
        "failureThreshold": 3,
    }


def test_volumes_have_file_modes_and_types():
    volumes = [
        {"name": "nothing"},
        {"name": "secret", "secret": {"secretName": "s"}},
        {"name": "host", "hostPath": {"path": "/x"}},
        {"name": "all", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
        {"name": "down", "downwardAPI": {"items": [{"path": "a", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "claim", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}},
    ]
    nothing, secret, host, projected, downward, claim = created(PODS, pod(volumes=volumes))["spec"]["volumes"]
    assert nothing["emptyDir"] == {}
    assert secret["secret"]["defaultMode"] == 0o644
    assert host["hostPath"]["type"] == ""
    assert projected["projected"]["sources"][0]["serviceAccountToken"]["expirationSeconds"] == 3600
    assert downward["downwardAPI"]["items"][0]["fieldRef"]["apiVersion"] == "v1"
    assert claim["ephemeral"]["volumeClaimTemplate"]["spec"]["volumeMode"] == "Filesystem"


def test_the_older_name_of_the_service_account_is_kept_beside_the_newer():
    assert created(PODS, pod(serviceAccount="robot"))["spec"]["serviceAccountName"] == "robot"
    assert created(PODS, pod(serviceAccountName="robot"))["spec"]["serviceAccount"] == "robot"


def test_a_pod_with_limits_as_a_whole_requests_what_its_containers_do():
    whole = pod(
        resources={"limits": {"cpu": "2", "memory": "2Gi"}},
        containers=[{"name": c, "image": "i:1", "resources": {"requests": {"cpu": "250m"}}} for c in ("a", "b")],
    )
    assert created(PODS, whole)["spec"]["resources"]["requests"] == {"cpu": "500m", "memory": "2Gi"}


@pytest.mark.parametrize(
    ("resources", "quality"),
    [
        ({}, "BestEffort"),
        ({"requests": {"cpu": "0"}}, "BestEffort"),
        ({"requests": {"ephemeral-storage": "1Gi"}}, "BestEffort"),
        ({"requests": {"cpu": "100m"}}, "Burstable"),
        ({"limits": {"memory": "1Gi"}}, "Burstable"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1000m"}}, "Guaranteed"),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable"),
    ],
)
def test_the_quality_of_service_follows_from_requests_and_limits(resources, quality):
    assert created(PODS, container_pod(resources=resources))["status"]["qosClass"] == quality


def test_one_container_without_limits_makes_a_pod_burstable():
    full = {"limits": {"cpu": "1", "memory": "1Gi"}}
    containers = [{"name": "a", "image": "i:1", "resources": full}, {"name": "b", "image": "i:1"}]
    assert created(PODS, pod(containers=containers))["status"]["qosClass"] == "Burstable"


def test_a_status_that_was_sent_along_is_not_believed():
    assert created(PODS, {**pod(), "status": {"phase": "Running"}})["status"]["phase"] == "Pending"


def test_a_gated_pod_says_that_it_is_not_scheduled_yet():
    (condition,) = created(PODS, pod(schedulingGates=[{"name": "example.com/wait"}]))["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == (
        "PodScheduled",
        "False",
        "SchedulingGated",
    )


def test_match_label_keys_become_part_of_the_selector():
    spread = {
        "topologyKey": "zone",
        "maxSkew": 1,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {"tier": "front"}},
        "matchLabelKeys": ["app", "absent"],
    }
    (stored,) = created(PODS, pod(topologySpreadConstraints=[spread]))["spec"]["topologySpreadConstraints"]
    assert stored["labelSelector"] == {
        "matchLabels": {"tier": "front"},
        "matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}],
    }
