"""Definitions as large as operators bring them: of cloud resources by the hundred, and of whole workloads."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object
from tests.support.customresources import definition, version

_TEXT = "How this field of the external resource is to be set; what is left out takes the provider's own default. "
_CONDITION = {
    "type": "object",
    "required": ["type", "status", "reason", "lastTransitionTime"],
    "properties": {
        "type": {"type": "string", "description": _TEXT},
        "status": {"type": "string"},
        "reason": {"type": "string"},
        "message": {"type": "string"},
        "observedGeneration": {"type": "integer", "format": "int64"},
        "lastTransitionTime": {"type": "string", "format": "date-time"},
    },
}


def _objects(of: dict[str, Any], **more: Any) -> Object:
    return {"type": "object", "properties": of, **more}


def _reference() -> Object:
    choice = {"type": "string", "enum": ["Required", "Optional"], "default": "Required", "description": _TEXT}
    policy = _objects({"resolution": choice, "resolve": {"type": "string", "enum": ["Always", "IfNotPresent"]}})
    return _objects(
        {"name": {"type": "string", "description": _TEXT}, "policy": {**policy, "description": _TEXT}},
        required=["name"],
        description=_TEXT,
    )


def _parameters(fields: int, depth: int = 2) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number in range(fields):
        kind = number % 7
        name = f"field{number}"
        if kind == 0 and depth:
            inner = _objects(_parameters(fields // 3, depth - 1))
            found[name] = {"type": "array", "items": inner, "description": _TEXT}
        elif kind == 1:
            found[name] = {"type": "string", "enum": ["standard", "fast", "cold"], "description": _TEXT}
        elif kind == 2:
            found[name] = {"type": "number", "minimum": 0, "description": _TEXT}
        elif kind == 3:
            found[name] = {"type": "object", "additionalProperties": {"type": "string"}, "description": _TEXT}
        elif kind == 4:
            found[name] = {"type": "boolean", "default": False, "description": _TEXT}
        elif kind == 5:
            found[f"{name}Ref"] = _reference()
            found[name] = {"type": "string", "pattern": "^[a-z0-9-]+$", "description": _TEXT}
        else:
            found[name] = {"x-kubernetes-int-or-string": True, "description": _TEXT}
    return found


def cloud_resource(number: int, *, fields: int = 28) -> Object:
    """One of hundreds of an operator for a cloud: some 50 KB, of which nearly nobody uses one."""
    external = _parameters(fields)
    policies = {
        "type": "array",
        "items": {"type": "string", "enum": ["Observe", "Create", "Update", "Delete", "*"]},
        "default": ["*"],
        "description": _TEXT,
    }
    rule = "!('*' in self.managementPolicies) || has(self.forProvider.field6)"
    spec = _objects(
        {
            "deletionPolicy": {"type": "string", "enum": ["Orphan", "Delete"], "default": "Delete"},
            "managementPolicies": {**policies, "maxItems": 8},
            "forProvider": _objects(external),
            "initProvider": _objects(external, description=_TEXT),
            "providerConfigRef": {**_reference(), "default": {"name": "default"}},
        },
        required=["forProvider"],
    )
    spec["x-kubernetes-validations"] = [{"rule": rule, "message": "spec.forProvider.field6 is a required parameter"}]
    status = _objects(
        {
            "atProvider": _objects({name: value for name, value in external.items() if "default" not in value}),
            "conditions": {
                "type": "array",
                "items": _CONDITION,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
            },
        }
    )
    schema = _objects({"spec": spec, "status": status}, required=["spec"], description=_TEXT)
    columns = [
        {"name": "SYNCED", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Synced')].status"},
        {"name": "READY", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
        {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    one = version("v1beta1", schema, additionalPrinterColumns=columns, subresources={"status": {}})
    names = {"plural": f"buckets{number}", "categories": ["crossplane", "managed", "cloud"]}
    group = f"service{number % 40}.cloud.example.com"
    return definition(f"Bucket{number}", one, group=group, scope="Cluster", names=names)


def bucket(number: int, called: str) -> Object:
    """An object of one of these."""
    parameters = {"field6": "10", "field1": "fast", "field2": 3.5, "field3": {"team": "a"}, "field5": "name-1"}
    return {
        "apiVersion": f"service{number % 40}.cloud.example.com/v1beta1",
        "kind": f"Bucket{number}",
        "metadata": {"name": called, "labels": {"team": "a"}},
        "spec": {"forProvider": {**parameters, "field0": [{"field1": "cold", "field4": True}]}},
    }


def _pod_parts(depth: int) -> Object:
    probe = _objects(
        {
            **{name: {"type": "integer", "format": "int32", "description": _TEXT} for name in ("after", "period")},
            "exec": _objects({"command": {"type": "array", "items": {"type": "string"}}}),
            "httpGet": _objects({"port": {"x-kubernetes-int-or-string": True}, "path": {"type": "string"}}),
        }
    )
    container = _objects(
        {
            "name": {"type": "string", "description": _TEXT},
            "image": {"type": "string", "description": _TEXT},
            "env": {
                "type": "array",
                "items": _objects({"name": {"type": "string"}, "value": {"type": "string"}}, required=["name"]),
            },
            **{name: {**probe, "description": _TEXT} for name in ("liveness", "readiness", "startup")},
            **_parameters(21, depth),
        },
        required=["name"],
    )
    listed = {"type": "array", "items": container, "description": _TEXT}
    return _objects({"containers": listed, "initContainers": listed, "volumes": listed, **_parameters(35, depth)})


def workload(kind: str = "Monitoring", templates: int = 8) -> Object:
    """One that holds whole pod templates: some 600 KB with eight of them."""
    spec = _objects({**{f"template{number}": _pod_parts(2) for number in range(templates)}, **_parameters(14)})
    schema = _objects({"spec": spec, "status": _objects({"replicas": {"type": "integer"}})})
    return definition(kind, version("v1", schema, subresources={"status": {}}), group="monitoring.example.com")
