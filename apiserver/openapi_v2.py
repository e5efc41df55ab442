"""OpenAPI 2, made from version 3: other names for the same things, and no schema that is one of several types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apiserver.openapi_operations import Operation, Parameter

_REFERENCE_3, _REFERENCE_2 = "#/components/schemas/", "#/definitions/"
_ONE_TYPE = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"type": "string"},
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"type": "string", "format": "int-or-string"},
}


def convert(document: dict[str, Any], operations: Iterable[Operation]) -> dict[str, Any]:
    """The OpenAPI 2 document of the same schemas and operations."""
    definitions = {}
    for name, schema in document["components"]["schemas"].items():
        definitions[name] = {**_schema(schema), **_ONE_TYPE.get(name, {})}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        item = paths.setdefault(operation.path, {"parameters": list(map(_parameter, operation.path_parameters))})
        item[operation.method] = _operation(operation)
    return {"swagger": "2.0", "info": document["info"], "paths": paths, "definitions": definitions}


def _schema(node: Any) -> Any:
    if isinstance(node, list):
        return [_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "allOf" in node:  # a reference that was wrapped for what stands beside it
        rest = {key: _member(key, value) for key, value in node.items() if key != "allOf"}
        return {**_schema(node["allOf"][0]), **rest}
    found = {key: _member(key, value) for key, value in node.items() if key not in ("oneOf", "anyOf", "not")}
    if isinstance(found.get("$ref"), str):
        found["$ref"] = _REFERENCE_2 + found["$ref"].removeprefix(_REFERENCE_3)
    return found


def _member(key: str, value: Any) -> Any:
    """A field of a schema; the properties of one may be called `allOf` and the like, as those of a schema are."""
    if key == "properties" and isinstance(value, dict):
        return {name: _schema(inner) for name, inner in value.items()}
    return _schema(value)


def _operation(operation: Operation) -> dict[str, Any]:
    parameters = list(map(_parameter, operation.query_parameters))
    if operation.body is not None:
        schema = {"$ref": _REFERENCE_2 + operation.body}
        parameters.insert(0, {"name": "body", "in": "body", "required": operation.body_required, "schema": schema})
    answer = {"type": "string"} if operation.answer == "string" else {"$ref": _REFERENCE_2 + operation.answer}
    return {
        "description": operation.description,
        "operationId": operation.id,
        "tags": [operation.tag],
        "schemes": ["https"],
        "consumes": list(operation.consumes),
        "produces": list(operation.produces),
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "schema": answer}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": operation.kind,
    }


def _parameter(parameter: Parameter) -> dict[str, Any]:
    name, where, kind, description = parameter
    required = {"required": True} if where == "path" else {}
    return {"name": name, "in": where, "description": description, "type": kind, "uniqueItems": True, **required}
