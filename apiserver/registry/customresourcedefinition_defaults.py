"""The defaults in schemas of CustomResourceDefinitions: each must be right where it stands.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting/validation.go, whose words are used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from apimachinery.field import FieldError, invalid_value
from apimachinery.structural import metadata, rules, validation
from apimachinery.structural.nodes import compile_schema
from apimachinery.structural.pruning import prune
from apimachinery.structural.walk import META_FIELDS, Schema, any_schema, items_of, properties_of
from apiserver.registry.embedded import validate_embedded

Errors = list[FieldError]
# A value at a place, to the whole object around it.
Surround = Callable[[Any], Any]


def validate_defaults(schema: Schema, path: str) -> Errors:
    """What is wrong with the defaults in a structural schema."""
    errors: Errors = []
    if any_schema(schema, lambda one: one.get("default") is not None):
        _Defaults(schema, errors).visit(schema, path, _itself, is_resource=True, in_metadata=False)
    return errors


def _itself(value: Any) -> Any:
    return value


class _Defaults:
    """The defaults of one resource; what is embedded in it is a resource of its own."""

    def __init__(self, root: Schema, errors: Errors) -> None:
        self._root = root
        self._errors = errors

    def visit(self, schema: Schema, path: str, surround: Surround, *, is_resource: bool, in_metadata: bool) -> None:
        """`surround` puts a value of the schema into the resource."""
        default = schema.get("default")
        if default is not None:
            at = f"{path}.default"
            if in_metadata:
                self._errors += self._wrong_metadata(default, at, surround) or _wrong_values(default, schema, at)
            else:
                self._errors += _wrong_fields(default, schema, at)
                self._errors += _wrong_shape(default, schema, at) or _wrong_values(default, schema, at)
        items = items_of(schema)
        if items is not None:
            self._inside(items, f"{path}.items", lambda value: surround([value]), in_metadata=in_metadata)
        for name, inner in properties_of(schema).items():
            within = in_metadata or (is_resource and name in META_FIELDS)
            around = _field(surround, name)
            self._inside(inner, f"{path}.properties[{name}]", around, in_metadata=within)

    def _inside(self, schema: Schema, path: str, surround: Surround, *, in_metadata: bool) -> None:
        if schema.get("x-kubernetes-embedded-resource"):
            _Defaults(schema, self._errors).visit(schema, path, _itself, is_resource=True, in_metadata=False)
        else:
            self.visit(schema, path, surround, is_resource=False, in_metadata=in_metadata)

    def _wrong_metadata(self, default: Any, path: str, surround: Surround) -> Errors:
        obj = surround(copy.deepcopy(default))
        if not isinstance(obj, dict):
            return []
        obj = {"apiVersion": "validation/v1", "kind": "Validation", **obj}
        root = compile_schema(self._root).as_root()
        problems = metadata.coerce(obj, root)[1] or validate_embedded(obj, root, root=True)
        if not problems:
            return []
        told = ", ".join(problem.message() for problem in problems)
        return [invalid_value(path, default, f"must result in valid metadata: {told}")]


def _field(surround: Surround, name: str) -> Surround:
    return lambda value: surround({name: value})


def _wrong_fields(default: Any, schema: Schema, path: str) -> Errors:
    if isinstance(default, dict | list) and prune(copy.deepcopy(default), compile_schema(schema)):
        return [invalid_value(path, default, "must not have unknown fields")]
    return []


def _wrong_shape(default: Any, schema: Schema, path: str) -> Errors:
    """What is wrong with resources that are embedded in a default."""
    node = compile_schema(schema)
    if not isinstance(default, dict | list) or not node.has_embedded:
        return []
    obj = copy.deepcopy(default)
    wrong = metadata.coerce(obj, node, is_resource=False)[1] if isinstance(obj, dict) else []
    errors = wrong or validate_embedded(obj, node, root=node.embedded)
    return [FieldError(f"{path}.{error.path}", error.type, error.value, error.detail) for error in errors]


def _wrong_values(default: Any, schema: Schema, path: str) -> Errors:
    errors = validation.validate(default, schema, path)
    compiled = None if errors else rules.compile_rules(schema)
    if compiled is None:
        return errors
    # As if it had been there before, and as if it were new.
    found = rules.evaluate(compiled, default, default, path=path).errors
    return found or rules.evaluate(compiled, default, path=path).errors
