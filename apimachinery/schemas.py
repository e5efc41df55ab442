"""The types of the API, read from the published Kubernetes schemas and never typed in by hand.

The definitions come from the package `kubernetes-validate` (v1.35). In memory they are kept without their
descriptions; the full text is read again when OpenAPI is served. A check on the hot path runs in compiled form
(`jsonschema-rs`); only a rejected object is looked at again, for the full list of what is wrong.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from apimachinery.field import FieldError
from apimachinery.meta import Object
from apimachinery.resources import Resource, by_kind

SCHEMA_VERSION = "v1.35.0"
REFERENCE_PREFIX = "#/$defs/"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_OBJECT_META = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
_GVK = "x-kubernetes-group-version-kind"
# Fields that the schemas require of what is written, since they are always there in what is read: who doesn't say
# them means 0, false or nothing. In Kubernetes the types in Go take them so, and the schemas are never enforced.
_ZERO_IF_MISSING: dict[str, tuple[str, ...]] = {
    "apps.v1.ControllerRevision": ("revision",),
    "apps.v1.DaemonSetStatus": (
        *("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"),
    ),
    "apps.v1.ReplicaSetStatus": ("replicas",),
    "apps.v1.StatefulSetStatus": ("replicas",),
    "autoscaling.v1.HorizontalPodAutoscalerStatus": ("currentReplicas", "desiredReplicas"),
    "autoscaling.v1.ScaleStatus": ("replicas",),
    "autoscaling.v2.HorizontalPodAutoscalerStatus": ("desiredReplicas",),
    "core.v1.ISCSIPersistentVolumeSource": ("lun",),
    "core.v1.ISCSIVolumeSource": ("lun",),
    "core.v1.LimitRangeSpec": ("limits",),
    "core.v1.ReplicationControllerStatus": ("replicas",),
    "core.v1.SleepAction": ("seconds",),
    "discovery.v1.EndpointSlice": ("endpoints",),
    "policy.v1.PodDisruptionBudgetStatus": (
        *("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"),
    ),
    "rbac.v1.PolicyRule": ("verbs",),
    "rbac.v1.RoleRef": ("apiGroup",),
    "resource.v1.ResourcePool": ("generation",),
    "scheduling.v1.PriorityClass": ("value",),
    "storage.v1.CSIDriver": ("spec",),
    "storage.v1.CSINode": ("spec",),
    "storage.v1.CSINodeSpec": ("drivers",),
    "storage.v1.VolumeAttachmentStatus": ("attached",),
}

# One that does not fit could not be read by clients, who would see nothing of the whole list that it is in.
INTEGER_LIMITS = {"int32": 1 << 31, "int64": 1 << 63}

Definition = Mapping[str, Any]


def _file() -> Path:
    spec = find_spec("kubernetes_validate")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package kubernetes-validate, which holds the API's schemas, is not installed")
    folder = Path(spec.origin).parent / "kubernetes-json-schema" / f"{SCHEMA_VERSION}-local"
    return folder / "_definitions.json"


def full_definitions() -> dict[str, Any]:
    """All definitions with their descriptions, parsed afresh: the caller lets go of them."""
    parsed: dict[str, Any] = orjson.loads(_file().read_bytes())["$defs"]
    return parsed


@cache
def definitions() -> dict[str, Any]:
    """All definitions by name, without descriptions."""
    found = full_definitions()
    for definition in found.values():
        _strip_descriptions(definition)
    for name, fields in _ZERO_IF_MISSING.items():
        definition = found[f"io.k8s.api.{name}"]
        definition["required"] = [field for field in definition["required"] if field not in fields]
    return found


def _strip_descriptions(node: Any) -> None:
    if isinstance(node, dict):
        if isinstance(node.get("description"), str):
            del node["description"]
        for value in node.values():
            _strip_descriptions(value)
    elif isinstance(node, list):
        for value in node:
            _strip_descriptions(value)


@cache
def _names_by_kind() -> dict[tuple[str, str, str], str]:
    names = {}
    for name, definition in definitions().items():
        kinds: list[dict[str, str]] = definition.get(_GVK) or []
        if len(kinds) == 1:
            kind = kinds[0]
            names[kind["group"], kind["version"], kind["kind"]] = name
    return names


def definition_name(api_version: str, kind: str) -> str | None:
    """The name of the definition of a kind, or None if the schemas have none."""
    group, _, version = api_version.rpartition("/")
    return _names_by_kind().get((group, version, kind))


def resolve(node: Definition) -> Definition:
    """The definition that a `$ref` (perhaps inside an `allOf` or `oneOf` with null) leads to."""
    while True:
        reference = node.get("$ref")
        if reference is None:
            for key in ("allOf", "anyOf", "oneOf"):
                choices = node.get(key)
                chosen = next((c for c in choices or () if "$ref" in c), None)
                if chosen is not None:
                    reference = chosen["$ref"]
                    break
        if reference is None:
            return node
        node = definitions()[reference.removeprefix(REFERENCE_PREFIX)]


@cache
def fresh_status(api_version: str, kind: str) -> Mapping[str, Any] | None:
    """The status of an object of which nobody has said anything yet; None for kinds that have none."""
    name = definition_name(api_version, kind)
    field = field_schema(definitions()[name], "status") if name else None
    if field is None:
        return None
    status = resolve(field)
    named = next((key for key, one in definitions().items() if one is status), "")
    fields = _ZERO_IF_MISSING.get(named.removeprefix("io.k8s.api."), ())
    return {key: False if _types(status["properties"][key]) == {"boolean"} else 0 for key in fields}


def _types(node: Definition) -> set[str]:
    types = node.get("type")
    return set(types if isinstance(types, list) else [types]) - {"null"}


def field_schema(definition: Definition, name: str) -> Definition | None:
    """The schema of one field, with the field's own list and patch annotations; None for an unknown field."""
    properties = definition.get("properties")
    if properties is not None and name in properties:
        found: Definition = properties[name]
        return found
    extra = definition.get("additionalProperties")
    return extra if isinstance(extra, dict) else None


def merge_key(api_version: str, kind: str, path: Iterable[str]) -> str | None:
    """The key by which a strategic merge patch matches the elements of the list at `path`; None: atomic."""
    key: str | None = (_merged(api_version, kind, path) or {}).get("x-kubernetes-patch-merge-key")
    return key


def merges_values(api_version: str, kind: str, path: Iterable[str]) -> bool:
    """Whether a strategic merge patch adds its values to those of the list at `path`."""
    node = _merged(api_version, kind, path)
    return node is not None and "x-kubernetes-patch-merge-key" not in node


def _merged(api_version: str, kind: str, path: Iterable[str]) -> Definition | None:
    """The schema of the list at `path` if strategic merge patches merge it."""
    name = definition_name(api_version, kind)
    node: Definition | None = definitions()[name] if name else None
    for step in path:
        if node is None:
            return None
        target = resolve(node)
        if target.get("items") is not None:
            target = resolve(target["items"])
        node = field_schema(target, step)
    return node if node is not None and "merge" in str(node.get("x-kubernetes-patch-strategy", "")) else None


@cache
def _validator(name: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(_schema_document(name))


# What Kubernetes gives as null where there is nothing to say: objects are stored with it, and are no worse for it.
NULL_KEPT = "lastProbeTime"


def is_strictly_valid(resource: Resource, obj: Object) -> bool:
    """True if the schema has nothing against an object that has no unknown field and no null either.

    One check in compiled form for what nearly every object is: such an object needs neither `prune` nor `validate`.
    """
    name = definition_name(resource.api_version, resource.kind)
    return name is None or bool(_strict_validator(name).is_valid(obj))


@cache
def _strict_validator(name: str) -> Any:
    import jsonschema_rs

    return jsonschema_rs.validator_for(_strict(_schema_document(name)))


def _strict(node: Any) -> Any:
    """A schema that allows neither fields that it does not name nor null, but for one field."""
    if isinstance(node, list):
        return [_strict(item) for item in node]
    if not isinstance(node, dict):
        return node
    strict = {key: _strict(value) for key, value in node.items()}
    if isinstance(strict.get("type"), list):
        strict["type"] = [kind for kind in strict["type"] if kind != "null"]
        if isinstance(strict.get("properties"), dict):
            strict.setdefault("additionalProperties", False)
            if NULL_KEPT in strict["properties"]:
                strict["properties"][NULL_KEPT] = resolve(node["properties"][NULL_KEPT])
    return strict


def _schema_document(name: str) -> dict[str, Any]:
    needed = {key: _bounded(definitions()[key]) for key in sorted(_reachable(name))}
    # By the fourth draft 1.0 is no integer, as it is none for clients that are written in Go.
    return {"$schema": "http://json-schema.org/draft-04/schema#", "$ref": REFERENCE_PREFIX + name, "$defs": needed}


def _bounded(node: Any) -> Any:
    """A schema that holds integers to the size that their format says."""
    if isinstance(node, list):
        return [_bounded(item) for item in node]
    if not isinstance(node, dict):
        return node
    bounded = {key: _bounded(value) for key, value in node.items()}
    types = node.get("type")
    if not isinstance(types, str | list) or "integer" not in types:
        return bounded
    # The one that has no format is that of what may be a text too.
    limit = INTEGER_LIMITS[node.get("format", "int32")]
    return {**bounded, "minimum": -limit, "maximum": limit - 1}


@cache
def _reachable(name: str) -> frozenset[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in found:
            continue
        found.add(current)
        waiting += _references(definitions()[current])
    return frozenset(found)


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"].removeprefix(REFERENCE_PREFIX)] if isinstance(node.get("$ref"), str) else []
        return own + [reference for value in node.values() for reference in _references(value)]
    if isinstance(node, list):
        return [reference for value in node for reference in _references(value)]
    return []


def validate(resource: Resource, obj: Object) -> list[FieldError]:
    """What the schema has against an object; empty if nothing."""
    name = definition_name(resource.api_version, resource.kind)
    if name is None or _validator(name).is_valid(obj):
        return []
    return _causes(name, obj)


def _causes(name: str, value: Any) -> list[FieldError]:
    # Of use for few objects, and it needs this module.
    from apimachinery.schema_causes import causes

    return causes(definitions()[name], value)


def unknown_fields(resource: Resource, obj: Object) -> list[str]:
    """The paths of fields that the schema does not have, as `spec.template.spec.contaners`."""
    found: list[str] = []
    name = definition_name(resource.api_version, resource.kind)
    if name is not None:
        _walk(definitions()[name], obj, "", found)
    return found


def prune(resource: Resource, obj: Object) -> Object:
    """The object without unknown fields and nulls; what is unchanged is shared with the original.

    A null in a list or as a map's value becomes an empty value of its type, as when Go decodes it.
    """
    name = definition_name(resource.api_version, resource.kind)
    if name is None:
        return obj
    pruned: Object = _walk(definitions()[name], obj, "", [])
    return pruned


def _walk(node: Definition, value: Any, path: str, unknown: list[str]) -> Any:
    if isinstance(value, list):
        items = resolve(node).get("items")
        if items is None:
            return value
        new = [
            _zero(items) if item is None else _walk(items, item, f"{path}[{n}]", unknown)
            for n, item in enumerate(value)
        ]
        return value if all(a is b for a, b in zip(new, value, strict=True)) else new
    if not isinstance(value, dict):
        return value
    definition = resolve(node)
    properties = definition.get("properties")
    extra = definition.get("additionalProperties")
    if properties is None and not isinstance(extra, dict):
        return value  # a free-form object, such as an embedded extension
    kept = {}
    changed = False
    for key, inner in value.items():
        if properties is not None and key in properties:
            if inner is None and key != NULL_KEPT:
                changed = True
                continue
            new = _walk(properties[key], inner, f"{path}.{key}" if path else key, unknown)
        elif isinstance(extra, dict):
            new = _zero(extra) if inner is None else _walk(extra, inner, f"{path}.{key}", unknown)
        else:
            unknown.append(f"{path}.{key}" if path else key)
            changed = True
            continue
        kept[key] = new
        changed = changed or new is not inner
    return kept if changed else value


def _zero(node: Definition) -> Any:
    target = resolve(node)
    if target is definitions()[_QUANTITY]:
        return "0"
    kinds = target.get("type") or ()
    kind = next((kind for kind in ([kinds] if isinstance(kinds, str) else kinds) if kind != "null"), "")
    return {"object": {}, "array": [], "string": "", "integer": 0, "number": 0, "boolean": False}.get(kind)


def prune_named(name: str, value: Any, path: str) -> tuple[Any, list[str]]:
    """A value of the definition of this name without unknown fields and nulls, and the paths of the unknown ones."""
    unknown: list[str] = []
    return _walk(definitions()[name], value, path, unknown), unknown


def validate_named(name: str, value: Any, path: str) -> list[FieldError]:
    """What the definition of this name has against a value."""
    if _validator(name).is_valid(value):
        return []
    return [replace(cause, path=f"{path}.{cause.path}" if cause.path else path) for cause in _causes(name, value)]


def openapi_components(resources: Iterable[Resource], extra: Iterable[str] = ()) -> dict[str, Any]:
    """The schemas that these resources need, for `components.schemas` of OpenAPI v3 (with descriptions)."""
    names: set[str] = set()
    for resource in resources:
        for kind in (resource.kind, f"{resource.kind}List"):
            name = definition_name(resource.api_version, kind)
            if name is not None:
                names |= _reachable(name)
    for name in extra:
        names |= _reachable(name)
    full = full_definitions()
    return {name: _openapi(full[name]) for name in sorted(names)}


def _openapi(node: Any) -> Any:
    if isinstance(node, list):
        return [_openapi(item) for item in node]
    if not isinstance(node, dict):
        return node
    # A property of this name, as a schema's own schema has it, is a schema itself.
    converted = {
        key: _openapi(value)
        for key, value in node.items()
        if key not in ("$schema", "$id") or isinstance(value, dict)
    }
    if isinstance(converted.get("type"), list):
        kinds = [kind for kind in converted["type"] if kind != "null"]
        if len(kinds) == 1:
            converted["type"] = kinds[0]
        else:
            del converted["type"]
    if isinstance(converted.get("$ref"), str):
        converted["$ref"] = re.sub(r"^#/\$defs/", "#/components/schemas/", converted["$ref"])
    return converted


def kind_resource(obj: Object) -> Resource | None:
    """The built-in resource of an object."""
    return by_kind(str(obj.get("apiVersion")), str(obj.get("kind")))


def copy_object(obj: Object) -> Object:
    """A private deep copy."""
    return copy.deepcopy(obj)
