"""Structural schemas, and values that they take, as hypothesis draws them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

NAMES = ("alpha", "beta", "gamma", "delta")
Schema = dict[str, Any]

texts = st.text("abc", max_size=3)
anything = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(-5, 5).map(lambda value: round(value, 1)) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def leaves(draw: DrawFn) -> Schema:
    """Schemas of plain values."""
    kind = draw(st.sampled_from(("string", "integer", "number", "boolean", "int-or-string")))
    if kind == "int-or-string":
        return {"x-kubernetes-int-or-string": True}
    schema: Schema = {"type": kind}
    if kind == "string":
        schema |= draw(
            st.sampled_from(({}, {"maxLength": 2}, {"minLength": 1}, {"enum": ["a", "b"]}, {"pattern": "^a"}))
        )
    elif kind in ("integer", "number"):
        schema |= draw(
            st.sampled_from(({}, {"minimum": 0}, {"maximum": 3, "exclusiveMaximum": True}, {"multipleOf": 2}))
        )
    if draw(st.booleans()):
        schema["nullable"] = True
    return schema


@st.composite
def objects(draw: DrawFn, inner: SearchStrategy[Schema]) -> Schema:
    """Schemas of objects, with required fields, or of maps."""
    if draw(st.booleans()):
        return {"type": "object", "additionalProperties": draw(inner)}
    properties = draw(st.dictionaries(st.sampled_from(NAMES), inner, max_size=3))
    schema: Schema = {"type": "object", "properties": properties}
    required = draw(st.lists(st.sampled_from(sorted(properties)), max_size=2, unique=True)) if properties else []
    if required:
        schema["required"] = required
    if draw(st.integers(0, 4)) == 0:
        schema["x-kubernetes-preserve-unknown-fields"] = True
    if draw(st.integers(0, 4)) == 0:
        schema["nullable"] = True
    return schema


def _lists(inner: SearchStrategy[Schema]) -> SearchStrategy[Schema]:
    limits = st.sampled_from(({}, {"maxItems": 2}, {"minItems": 1}))
    return st.tuples(inner, limits).map(lambda both: {"type": "array", "items": both[0], **both[1]})


schemas = st.recursive(leaves(), lambda inner: objects(inner) | _lists(inner), max_leaves=8)
roots = objects(schemas)


@st.composite
def judged(draw: DrawFn, schema: Schema) -> Schema:
    """The schema with more conditions at its root, as allOf and its like say them."""
    conditions = st.sampled_from(
        (
            {"required": ["alpha"]},
            {"not": {"required": ["beta"]}},
            {"properties": {"alpha": {"enum": ["a", 1, None]}}},
            {"properties": {"alpha": {"minimum": 1}, "gamma": {"maxItems": 1}}},
            {"minProperties": 2},
            {"maxProperties": 1},
        )
    )
    for key in draw(st.lists(st.sampled_from(("allOf", "anyOf", "oneOf")), max_size=2, unique=True)):
        schema = {**schema, key: draw(st.lists(conditions, min_size=1, max_size=2))}
    return {**schema, "not": draw(conditions)} if draw(st.booleans()) else schema


@st.composite
def with_defaults(draw: DrawFn, schema: Schema) -> Schema:
    """The schema with defaults that it takes itself at some of its fields."""
    found = dict(schema)
    if "properties" in schema:
        found["properties"] = {}
        for name, inner in schema["properties"].items():
            filled = draw(with_defaults(inner))
            if draw(st.booleans()):
                filled["default"] = draw(values(inner))
            found["properties"][name] = filled
    for key in ("items", "additionalProperties"):
        if key in schema:
            found[key] = draw(with_defaults(schema[key]))
    return found


@st.composite
def values(draw: DrawFn, schema: Schema) -> Any:
    """Values that a schema takes; no nulls."""
    if schema.get("x-kubernetes-int-or-string"):
        return draw(st.integers(-3, 3) | texts)
    match schema["type"]:
        case "string":
            if "enum" in schema:
                return draw(st.sampled_from(schema["enum"]))
            start = "a" if "pattern" in schema else ""
            return start + draw(
                st.text("abc", min_size=schema.get("minLength", 0), max_size=schema.get("maxLength", 3))
            )
        case "integer" | "number":
            return draw(st.integers(0, 1)) * 2
        case "boolean":
            return draw(st.booleans())
        case "array":
            few, most = schema.get("minItems", 0), schema.get("maxItems", 3)
            return draw(st.lists(values(schema["items"]), min_size=few, max_size=most))
    if "additionalProperties" in schema:
        inner = values(schema["additionalProperties"])
        return draw(st.dictionaries(st.sampled_from(NAMES), inner, max_size=3))
    required = schema.get("required", ())
    names = [name for name in schema["properties"] if name in required or draw(st.booleans())]
    return {name: draw(values(schema["properties"][name])) for name in names}


@st.composite
def overgrown(draw: DrawFn, value: Any) -> Any:
    """The value with unknown fields in its objects."""
    if isinstance(value, list):
        return [draw(overgrown(item)) for item in value]
    if not isinstance(value, dict):
        return value
    grown = {key: draw(overgrown(inner)) for key, inner in value.items()}
    return {**grown, **draw(st.dictionaries(st.sampled_from(("unknown", "other")), anything, max_size=2))}
