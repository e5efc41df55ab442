"""Whether a schema is structural: every value has one type, said outside of allOf, anyOf, oneOf and not.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
and k8s.io/apiextensions-apiserver/pkg/apiserver/schema (validation.go, complete.go), whose words are used.
"""

from __future__ import annotations

from typing import Any

from apimachinery.field import FieldError, forbidden_field, invalid_value, required
from apimachinery.structural.patterns import pattern_problem
from apimachinery.structural.walk import Schema, items_of, properties_of, values_of

ROOT, ITEM, FIELD = "root", "item", "field"
Errors = list[FieldError]

INT_OR_STRING = [{"type": "integer"}, {"type": "string"}]
_EMPTY_TYPE = {
    ROOT: "must not be empty at the root",
    ITEM: "must not be empty for specified array items",
    FIELD: "must not be empty for specified object fields",
}
_EMBEDDED_TYPE = "must be object if x-kubernetes-embedded-resource is true"
# What may only be said outside of allOf and its like: (field, what is told).
_FORBIDDEN_INSIDE = (
    *((field, "must be empty to be structural") for field in ("title", "description")),
    ("default", "must be undefined to be structural"),
    *(
        (field, "must be false to be structural")
        for field in (
            *("nullable", "x-kubernetes-preserve-unknown-fields"),
            *("x-kubernetes-embedded-resource", "x-kubernetes-int-or-string"),
        )
    ),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)
_UNSUPPORTED = (
    *(("id", "id"), ("$schema", "schema"), ("$ref", "$ref"), ("patternProperties", "patternProperties")),
    *(("dependencies", "dependencies"), ("additionalItems", "additionalItems"), ("definitions", "definitions")),
)


def unsupported(schema: Schema) -> str:
    """What in a schema can't be part of a structural one at all; empty if nothing."""
    for key, shown in _UNSUPPORTED:
        if schema.get(key) or (key == "additionalItems" and schema.get(key) is not None):
            return f"OpenAPIV3Schema '{shown}' is not supported"
    if isinstance(schema.get("items"), list):
        return "OpenAPIV3Schema 'items' must be a schema, but is an array"
    if schema.get("x-kubernetes-preserve-unknown-fields") is False:
        return "internal error: 'x-kubernetes-preserve-unknown-fields' must be true or undefined"
    inner = [items_of(schema), values_of(schema), schema.get("not"), *properties_of(schema).values()]
    inner += [one for key in ("allOf", "anyOf", "oneOf") for one in schema.get(key) or ()]
    return next((problem for one in inner if one is not None and (problem := unsupported(one))), "")


def validate_structural(schema: Schema, path: str) -> Errors:
    """What keeps a schema from being structural, in the order of the messages."""
    errors: Errors = []
    _structural(schema, ROOT, path, errors)
    _complete(schema, schema, path, path, errors)
    return sorted(errors, key=FieldError.message)


def is_structural(schema: Schema) -> bool:
    """Whether a schema is structural."""
    return not unsupported(schema) and not validate_structural(schema, "")


def _structural(schema: Schema, level: str, path: str, errors: Errors) -> None:
    kind, items, values = schema.get("type") or "", items_of(schema), schema.get("additionalProperties")
    if kind == "array" and items is None:
        errors.append(required(f"{path}.items", "must be specified"))
    if items is not None:
        _structural(items, ITEM, f"{path}.items", errors)
    for name, inner in properties_of(schema).items():
        _structural(inner, FIELD, f"{path}.properties[{name}]", errors)
    if values is not None:
        if level == ROOT:
            errors.append(forbidden_field(f"{path}.additionalProperties", "must not be used at the root"))
        if isinstance(values, dict):
            _structural(values, FIELD, f"{path}.additionalProperties", errors)
    _extensions(schema, path, errors)
    first = (schema.get("allOf") or [{}])[0]
    _values(schema, path, errors, skip=is_int_or_string(schema), skip_first=is_int_or_string(first))
    _type(schema, kind, level, path, errors)
    _metadata(schema, level, path, errors)


def is_int_or_string(schema: Schema) -> bool:
    """Whether anyOf says that the value is an integer or a string, the one way to say a type there."""
    return schema.get("anyOf") == INT_OR_STRING


def _extensions(schema: Schema, path: str, errors: Errors) -> None:
    if not schema.get("x-kubernetes-int-or-string"):
        return
    for field in ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource"):
        if schema.get(field):
            why = "must be false if x-kubernetes-int-or-string is true"
            errors.append(invalid_value(f"{path}.{field}", True, why))


def _type(schema: Schema, kind: str, level: str, path: str, errors: Errors) -> None:
    embedded = schema.get("x-kubernetes-embedded-resource")
    preserves = schema.get("x-kubernetes-preserve-unknown-fields")
    at = f"{path}.type"
    if embedded and kind != "object":
        errors.append(invalid_value(at, kind, _EMBEDDED_TYPE) if kind else required(at, _EMBEDDED_TYPE))
    elif not kind and not schema.get("x-kubernetes-int-or-string") and not preserves:
        errors.append(required(at, _EMPTY_TYPE[level]))
    if embedded and schema.get("additionalProperties") is not None:
        why = "must not be used if x-kubernetes-embedded-resource is set"
        errors.append(forbidden_field(f"{path}.additionalProperties", why))
    if level == ROOT and kind and kind != "object":
        errors.append(invalid_value(at, kind, "must be object at the root"))
    if embedded and not preserves and not properties_of(schema):
        why = (
            "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields"
        )
        errors.append(required(f"{path}.properties", why))


def _metadata(schema: Schema, level: str, path: str, errors: Errors) -> None:
    properties = properties_of(schema)
    if level != ROOT and not schema.get("x-kubernetes-embedded-resource"):
        return
    for name in ("kind", "apiVersion"):
        kind = properties.get(name, {"type": "string"}).get("type") or ""
        if kind != "string":
            errors.append(invalid_value(f"{path}.properties[{name}].type", kind, "must be string"))
    metadata, at = properties.get("metadata"), f"{path}.properties[metadata]"
    if metadata is None:
        return
    if metadata.get("type") != "object":
        errors.append(invalid_value(f"{at}.type", metadata.get("type") or "", "must be object"))
    if level == ROOT:
        # `type` and `default` are looked at elsewhere.
        said = {key for key, value in metadata.items() if value not in (None, "", [], {}, False)} - {
            "type",
            "default",
        }
        names = properties_of(metadata).keys()
        if said - {"properties"} or ("properties" in said and not names <= {"name", "generateName"}):
            why = "must not specify anything other than name and generateName, but metadata is implicitly specified"
            errors.append(forbidden_field(at, why))


def _values(schema: Schema, path: str, errors: Errors, *, skip: bool, skip_first: bool) -> None:
    """What constrains values: allOf and its like must say nothing else. `skip` leaves out anyOf."""
    if not skip:
        for number, inner in enumerate(schema.get("anyOf") or ()):
            _inside(inner, f"{path}.anyOf[{number}]", errors)
    for number, inner in enumerate(schema.get("allOf") or ()):
        _inside(inner, f"{path}.allOf[{number}]", errors, skip=skip_first and number == 0)
    for number, inner in enumerate(schema.get("oneOf") or ()):
        _inside(inner, f"{path}.oneOf[{number}]", errors)
    if schema.get("not") is not None:
        _inside(schema["not"], f"{path}.not", errors)
    if pattern := schema.get("pattern"):
        problem = pattern_problem(pattern)
        if problem:
            why = f"must be a valid regular expression, but isn't: {problem}"
            errors.append(invalid_value(f"{path}.pattern", pattern, why))


def _inside(schema: Schema, path: str, errors: Errors, *, skip: bool = False) -> None:
    """A schema of allOf, anyOf, oneOf or not."""
    _values(schema, path, errors, skip=skip, skip_first=False)
    items = items_of(schema)
    if items is not None:
        _inside(items, f"{path}.items", errors)
    for name, inner in properties_of(schema).items():
        _inside(inner, f"{path}.properties[{name}]", errors)
    if schema.get("type"):
        errors.append(forbidden_field(f"{path}.type", "must be empty to be structural"))
    if schema.get("additionalProperties") not in (None, False):
        errors.append(forbidden_field(f"{path}.additionalProperties", "must be undefined to be structural"))
    for field, why in _FORBIDDEN_INSIDE:
        value = schema.get(field)
        if value if field != "default" else value is not None:
            errors.append(forbidden_field(f"{path}.{field}", why))
    if "metadata" in properties_of(schema):
        errors.append(forbidden_field(f"{path}.properties[metadata]", "must not be specified in a nested context"))


def _complete(values: Schema, schema: Schema | None, path: str, at: str, errors: Errors) -> None:
    """Every field that allOf and its like (`values`, at `at`) speak of must be there outside of them (at `path`)."""
    inner: list[tuple[str, Any]] = [(f"{at}.not", values["not"])] if values.get("not") is not None else []
    for key in ("allOf", "anyOf", "oneOf"):
        inner += [(f"{at}.{key}[{number}]", one) for number, one in enumerate(values.get(key) or ())]
    for where, one in inner:
        _complete_inside(one, schema, path, where, errors)


def _complete_inside(values: Schema, schema: Schema | None, path: str, at: str, errors: Errors) -> None:
    if schema is None:
        errors.append(required(path, f"because it is defined in {at}"))
        return
    _complete(values, schema, path, at, errors)
    items = items_of(values)
    if items is not None:
        _complete_inside(items, items_of(schema), f"{path}.items", f"{at}.items", errors)
    for name, inner in properties_of(values).items():
        where, there = f"{path}.properties[{name}]", f"{at}.properties[{name}]"
        _complete_inside(inner, properties_of(schema).get(name), where, there, errors)
