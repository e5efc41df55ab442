"""The schemas of custom resources as OpenAPI shows them: with what every object has beside what the definition says.

OpenAPI 2 can't say everything; what older clients would take for "no more fields may be here" is left out of it.

Source: k8s.io/apiextensions-apiserver/pkg/controller/openapi
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apimachinery.resources import Resource
from apimachinery.structural.invariants import INT_OR_STRING, is_int_or_string
from apimachinery.structural.walk import Schema, items_of, properties_of, values_of

REFERENCE = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_JUNCTORS = ("allOf", "anyOf", "oneOf", "not")
GVK, SELECTABLE = "x-kubernetes-group-version-kind", "x-kubernetes-selectable-fields"
_PRESERVE, _EMBEDDED = "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"
_API_VERSION = {"type": "string", "description": "The group and version in which the object is written."}
_KIND = {"type": "string", "description": "What the object is, in CamelCase."}
Published = dict[str, Any]


def model_name(api_version: str, kind: str) -> str:
    """The name of a schema: `com.example.stable.v1.CronTab`."""
    group, _, version = api_version.rpartition("/")
    return ".".join((*reversed(group.split(".")), version, kind))


def schema(text: Schema, resource: Resource, selectable: Sequence[str], *, simple: bool) -> Published:
    """The schema of a resource's objects; `simple` without what OpenAPI 2 can't say."""
    if simple and text.get(_PRESERVE):
        published: Published = {"type": "object"}
    else:
        published = _with_meta(_published(text, simple=simple))
    published.pop("nullable", None)
    return {**published, **_extensions(resource, resource.kind, selectable)}


def list_schema(resource: Resource, selectable: Sequence[str]) -> Published:
    """The schema of a list of a resource's objects."""
    item = {"$ref": REFERENCE + model_name(resource.api_version, resource.kind)}
    properties = {
        "apiVersion": _API_VERSION,
        "items": {"type": "array", "items": item, "description": f"List of {resource.plural}."},
        "kind": _KIND,
        "metadata": _reference("ListMeta", "Standard list metadata."),
    }
    told = f"{resource.list_kind} is a list of {resource.kind}"
    described = {"description": told, "type": "object", "required": ["items"], "properties": properties}
    return {**described, **_extensions(resource, resource.list_kind, selectable)}


def _extensions(resource: Resource, kind: str, selectable: Sequence[str]) -> Published:
    extensions: Published = {GVK: [{"group": resource.group, "version": resource.version, "kind": kind}]}
    if selectable:
        extensions[SELECTABLE] = [{"fieldPath": path} for path in selectable]
    return extensions


def _reference(name: str, description: str) -> Published:
    return {"allOf": [{"$ref": f"{REFERENCE}{_META}{name}"}], "description": description}


def _with_meta(published: Published) -> Published:
    properties = {
        **(published.get("properties") or {}),
        "apiVersion": _API_VERSION,
        "kind": _KIND,
        "metadata": _reference("ObjectMeta", "Standard object's metadata."),
    }
    return {**published, "properties": properties}


def _published(text: Schema, *, simple: bool) -> Published:
    """A schema and those inside of it, in OpenAPI's words."""
    found = {key: value for key, value in text.items() if key not in ("items", "properties", "additionalProperties")}
    if text.get("x-kubernetes-int-or-string"):
        _unfold(found)
    hidden = simple and (bool(text.get("nullable")) or bool(text.get(_PRESERVE)))
    items, properties, extra = items_of(text), properties_of(text), text.get("additionalProperties")
    if items is not None and not hidden:
        found["items"] = _published(items, simple=simple)
    if properties and not hidden:
        found["properties"] = {name: _published(inner, simple=simple) for name, inner in properties.items()}
    if extra is not None:
        found["additionalProperties"] = _published(extra, simple=simple) if isinstance(extra, dict) else extra
    if simple:
        _simplify(text, found)
    if text.get(_EMBEDDED) and not (simple and text.get(_PRESERVE)):
        found = _with_meta(found)
        found["required"] = [*(found.get("required") or ()), *_missing(found, "kind", "apiVersion")]
    return found


def _missing(found: Published, *names: str) -> list[str]:
    return [name for name in names if name not in (found.get("required") or ())]


def _unfold(found: Published) -> None:
    """Say in the words of schemas that a value may be an integer or a string."""
    all_of = found.get("allOf") or []
    if is_int_or_string(found) or (all_of and is_int_or_string(all_of[0])):
        return
    if found.get("anyOf") is None:
        found["anyOf"] = INT_OR_STRING
    else:
        found["allOf"] = [{"anyOf": INT_OR_STRING}, *all_of]


def _simplify(text: Schema, found: Published) -> None:
    """Leave out what OpenAPI 2 has no words for."""
    for key in _JUNCTORS:
        found.pop(key, None)
    kind = text.get("type")
    nullable, preserves = bool(text.get("nullable")), bool(text.get(_PRESERVE))
    found.pop("nullable", None)
    # Older clients can't read a list without items, and take an object without fields for one that has none.
    if nullable or (kind == "array" and "items" not in found) or (preserves and kind == "object"):
        found.pop("type", None)
    values = values_of(text)
    if values is not None and values.get("nullable"):
        found.pop("required", None)
    elif "required" in found:
        properties = properties_of(text)
        required = [name for name in found["required"] if not (properties.get(name) or {}).get("nullable")]
        found.pop("required")
        if required:
            found["required"] = required
