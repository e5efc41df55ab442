"""One small object of every kind that can be created, as a person would write it."""

from __future__ import annotations

import base64
from typing import Any

from apimachinery.meta import Object
from tests.support.certificates import certificate_request

_POD: dict[str, Any] = {"containers": [{"name": "c", "image": "i:1"}]}
_TEMPLATE: dict[str, Any] = {"metadata": {"labels": {"app": "x"}}, "spec": _POD}
_SELECTOR: dict[str, Any] = {"matchLabels": {"app": "x"}}
_RULE = {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["nothing"]}
_WEBHOOK: dict[str, Any] = {
    **{"name": "w.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "failurePolicy": "Ignore"},
    "clientConfig": {"url": "https://127.0.0.1:1/"},
    "rules": [_RULE],
}
_CLAIM = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "class.example.com"}}]}}
_ROLE_RULES = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
_WIDGET = {"group": "every.example.com", "names": {"plural": "widgets", "singular": "widget", "kind": "Widget"}}
_WIDGET_V1 = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}

# By apiVersion and kind; of metadata only what is not `name: every`.
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("v1", "Pod"): {"spec": _POD},
    ("v1", "Service"): {"spec": {"selector": {"app": "x"}, "ports": [{"port": 80}]}},
    ("v1", "Endpoints"): {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
    ("v1", "Node"): {"spec": {"podCIDR": "10.1.0.0/24"}},
    ("v1", "Namespace"): {},
    ("v1", "ConfigMap"): {"data": {"a": "b"}},
    ("v1", "Secret"): {"stringData": {"a": "b"}},
    ("v1", "ServiceAccount"): {},
    ("v1", "ReplicationController"): {"spec": {"replicas": 0, "selector": {"app": "x"}, "template": _TEMPLATE}},
    ("v1", "PersistentVolume"): {
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}}
    },
    ("v1", "PersistentVolumeClaim"): {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    },
    ("v1", "Event"): {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "x"}, "reason": "R"},
    ("v1", "LimitRange"): {"spec": {"limits": [{"type": "Container", "max": {"cpu": "9"}}]}},
    ("v1", "ResourceQuota"): {"spec": {"hard": {"pods": "100"}}},
    ("v1", "PodTemplate"): {"template": _TEMPLATE},
    ("apps/v1", "Deployment"): {"spec": {"replicas": 0, "selector": _SELECTOR, "template": _TEMPLATE}},
    ("apps/v1", "ReplicaSet"): {"spec": {"replicas": 0, "selector": _SELECTOR, "template": _TEMPLATE}},
    ("apps/v1", "StatefulSet"): {
        "spec": {"replicas": 0, "serviceName": "x", "selector": _SELECTOR, "template": _TEMPLATE}
    },
    ("apps/v1", "DaemonSet"): {"spec": {"selector": _SELECTOR, "template": _TEMPLATE}},
    ("apps/v1", "ControllerRevision"): {"revision": 1, "data": {"a": "b"}},
    ("batch/v1", "Job"): {"spec": {"template": {"spec": {**_POD, "restartPolicy": "Never"}}}},
    ("batch/v1", "CronJob"): {
        "spec": {
            "schedule": "0 0 * * *",
            "jobTemplate": {"spec": {"template": {"spec": {**_POD, "restartPolicy": "Never"}}}},
        }
    },
    ("autoscaling/v2", "HorizontalPodAutoscaler"): {
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"},
            **{"maxReplicas": 3, "minReplicas": 1},
        }
    },
    ("autoscaling/v1", "HorizontalPodAutoscaler"): {
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}, "maxReplicas": 3}
    },
    ("policy/v1", "PodDisruptionBudget"): {"spec": {"minAvailable": 1, "selector": _SELECTOR}},
    ("networking.k8s.io/v1", "Ingress"): {
        "spec": {"defaultBackend": {"service": {"name": "x", "port": {"number": 80}}}}
    },
    ("networking.k8s.io/v1", "IngressClass"): {"spec": {"controller": "example.com/c"}},
    ("networking.k8s.io/v1", "NetworkPolicy"): {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}},
    ("networking.k8s.io/v1", "IPAddress"): {
        "metadata": {"name": "192.0.2.7"},
        "spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "x"}},
    },
    ("networking.k8s.io/v1", "ServiceCIDR"): {"spec": {"cidrs": ["192.0.2.0/24"]}},
    ("discovery.k8s.io/v1", "EndpointSlice"): {
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["10.0.0.1"]}],
        "ports": [{"port": 80}],
    },
    ("events.k8s.io/v1", "Event"): {
        **{"eventTime": "2030-01-01T00:00:00.000000Z", "reason": "R", "action": "A", "type": "Normal", "note": "n"},
        **{"reportingController": "example.com/c", "reportingInstance": "i"},
        "regarding": {"kind": "Pod", "namespace": "default", "name": "x"},
    },
    ("coordination.k8s.io/v1", "Lease"): {"spec": {"holderIdentity": "x", "leaseDurationSeconds": 10}},
    ("rbac.authorization.k8s.io/v1", "Role"): {"rules": _ROLE_RULES},
    ("rbac.authorization.k8s.io/v1", "RoleBinding"): {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "x"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    },
    ("rbac.authorization.k8s.io/v1", "ClusterRole"): {"rules": _ROLE_RULES},
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"): {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "jane"}],
    },
    ("certificates.k8s.io/v1", "CertificateSigningRequest"): {
        "spec": {
            "request": base64.b64encode(certificate_request("x")).decode(),
            **{"signerName": "example.com/s", "usages": ["client auth"]},
        }
    },
    ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"): {"webhooks": [_WEBHOOK]},
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"): {"webhooks": [_WEBHOOK]},
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy"): {
        "spec": {"matchConstraints": {"resourceRules": [_RULE]}, "validations": [{"expression": "true"}]}
    },
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding"): {
        "spec": {"policyName": "x", "validationActions": ["Deny"]}
    },
    ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicy"): {
        "spec": {
            "matchConstraints": {"resourceRules": [_RULE]},
            "reinvocationPolicy": "Never",
            "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}],
        }
    },
    ("admissionregistration.k8s.io/v1beta1", "MutatingAdmissionPolicyBinding"): {"spec": {"policyName": "x"}},
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"): {
        "metadata": {"name": "widgets.every.example.com"},
        "spec": {**_WIDGET, "scope": "Namespaced", "versions": [_WIDGET_V1]},
    },
    ("apiregistration.k8s.io/v1", "APIService"): {
        "metadata": {"name": "v1.far.example.com"},
        "spec": {
            **{"group": "far.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1},
            "service": {"namespace": "default", "name": "x"},
        },
    },
    ("node.k8s.io/v1", "RuntimeClass"): {"handler": "h"},
    ("scheduling.k8s.io/v1", "PriorityClass"): {"value": 5},
    ("scheduling.k8s.io/v1alpha1", "Workload"): {
        "spec": {"podGroups": [{"name": "workers", "policy": {"gang": {"minCount": 2}}}]}
    },
    ("storage.k8s.io/v1", "StorageClass"): {"provisioner": "example.com/p"},
    ("storage.k8s.io/v1", "CSIDriver"): {"spec": {"attachRequired": False}},
    ("storage.k8s.io/v1", "CSINode"): {"spec": {"drivers": []}},
    ("storage.k8s.io/v1", "CSIStorageCapacity"): {"storageClassName": "x", "capacity": "1Gi"},
    ("storage.k8s.io/v1", "VolumeAttachment"): {
        "spec": {"attacher": "example.com", "nodeName": "x", "source": {"persistentVolumeName": "x"}}
    },
    ("storage.k8s.io/v1", "VolumeAttributesClass"): {"driverName": "example.com", "parameters": {"a": "b"}},
    ("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"): {
        "spec": {"priorityLevelConfiguration": {"name": "global-default"}, "matchingPrecedence": 9999}
    },
    ("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration"): {
        "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 1, "limitResponse": {"type": "Reject"}}}
    },
    ("resource.k8s.io/v1", "ResourceClaim"): {"spec": _CLAIM},
    ("resource.k8s.io/v1", "ResourceClaimTemplate"): {"spec": {"spec": _CLAIM}},
    ("resource.k8s.io/v1", "ResourceSlice"): {
        "spec": {
            **{"driver": "driver.example.com", "nodeName": "x", "devices": [{"name": "d"}]},
            "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
        }
    },
    ("resource.k8s.io/v1", "DeviceClass"): {"spec": {"selectors": [{"cel": {"expression": "true"}}]}},
}


def example(api_version: str, kind: str) -> Object:
    """The object of a kind, named `every` where any name will do."""
    body = BODIES[api_version, kind]
    return {
        "apiVersion": api_version,
        "kind": kind,
        **body,
        "metadata": {"name": "every", **body.get("metadata", {})},
    }
