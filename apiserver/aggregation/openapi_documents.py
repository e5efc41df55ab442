"""Takes out of an extension server's OpenAPI 2 document what is about its group, and puts it beside ours. Pure.

Definitions are known by their names. What both have is taken as ours has it: these are the types that everybody
shares. Where two extension servers mean different things by one name, the second gets another name.

Source: k8s.io/kube-openapi/pkg/aggregator.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

DEFINITION, PARAMETER = "#/definitions/", "#/parameters/"
_SCHEMA = "#/components/schemas/"
_METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
_LISTS = ("tags", "produces", "consumes", "schemes")
# What of a parameter of OpenAPI 2 is its schema in OpenAPI 3.
_OF_SCHEMA = ("type", "format", "items", "enum", "default", "minimum", "maximum", "pattern", "uniqueItems")
_OF_PARAMETER = ("name", "in", "description", "required")
Document = dict[str, Any]


def part_of(document: Any, path: str) -> Document:
    """The paths below a path, and the definitions that they need. Raises ValueError."""
    paths, definitions = (_objects(document, key) for key in ("paths", "definitions"))
    parameters = _objects(document, "parameters")
    own = {
        name: _inlined(item, parameters)
        for name, item in paths.items()
        if name == path or name.startswith(f"{path}/")
    }
    needed: dict[str, Any] = {}
    waiting = [*_references(own)]
    while waiting:
        name = waiting.pop()
        if name in needed:
            continue
        if name not in definitions:
            raise ValueError(f"there is no definition {name}")
        needed[name] = definitions[name]
        waiting += _references(definitions[name])
    return {"paths": own, "definitions": dict(sorted(needed.items()))}


def own_version_3(index: Any, path: str) -> str | None:
    """Where a server says that its OpenAPI 3 document of a path is; None if it has none, or one of somewhere else."""
    described = _objects(index, "paths").get(path.removeprefix("/")) or {}
    url, expected = described.get("serverRelativeURL"), f"/openapi/v3{path}"
    return url if isinstance(url, str) and (url == expected or url.startswith(f"{expected}?")) else None


def merged(known: Mapping[str, Any], parts: Iterator[Document]) -> Document:
    """Parts of several servers in one: what `known` has of the definitions is left out."""
    paths: dict[str, Any] = {}
    definitions: dict[str, Any] = {}
    for part in parts:
        names: dict[str, str] = {}
        for name, schema in part["definitions"].items():
            if name not in known and definitions.get(name, schema) != schema:
                names[name] = _free(name, known, definitions)
        part = _renamed(part, names) if names else part
        paths |= {path: item for path, item in part["paths"].items() if path not in paths}
        definitions |= {name: schema for name, schema in part["definitions"].items() if name not in known}
    return {"paths": paths, "definitions": definitions}


def to_version_3(part: Document, info: Mapping[str, Any]) -> Document:
    """The same in OpenAPI 3."""
    schemas = {name: _moved(schema) for name, schema in part["definitions"].items()}
    paths = {path: _item(item) for path, item in part["paths"].items()}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def plain(part: Document) -> Document:
    """With nothing missing, and nothing in it, that the protobuf form is not made for."""
    paths = {path: _plain_item(item) for path, item in part["paths"].items()}
    definitions = {name: _plain_schema(schema) for name, schema in part["definitions"].items()}
    return {"paths": paths, "definitions": definitions}


def _text(holder: dict[str, Any], key: str) -> str:
    value = holder.get(key)
    return value if isinstance(value, str) else ""


def _schema_of(holder: dict[str, Any]) -> dict[str, Any]:
    value = holder.get("schema")
    return value if isinstance(value, dict) else {}


def _objects(document: Any, key: str) -> dict[str, dict[str, Any]]:
    found = (document if isinstance(document, dict) else {}).get(key) or {}
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise ValueError(f"{key} of the document are not named objects")
    return found


def _inlined(item: dict[str, Any], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """A path with the parameters that it only refers to."""

    def resolved(listed: Any) -> list[Any]:
        found = []
        for one in listed if isinstance(listed, list) else ():
            reference = one.get("$ref") if isinstance(one, dict) else None
            if isinstance(reference, str):
                one = parameters.get(reference.removeprefix(PARAMETER))
            if not isinstance(one, dict) or not isinstance(one.get("name"), str):
                raise ValueError(f"a parameter is none: {reference}")
            found.append(one)
        return found

    made = {**item, "parameters": resolved(item.get("parameters"))}
    operations = {method: item[method] for method in _METHODS if method in item}
    for method, operation in _objects({"operations": operations}, "operations").items():
        sent, answers = resolved(operation.get("parameters")), _objects(operation, "responses")
        lists = {key: _texts(operation, key) for key in _LISTS if key in operation}
        made[method] = {**operation, **lists, "parameters": sent, "responses": answers}
    return made


def _texts(operation: dict[str, Any], key: str) -> list[str]:
    values = operation[key]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"{key} of an operation is no list of texts")
    return values


def _references(node: Any) -> Iterator[str]:
    """The definitions that are referred to."""
    if isinstance(node, list):
        for one in node:
            yield from _references(one)
    elif isinstance(node, dict):
        reference = node.get("$ref")
        if isinstance(reference, str) and reference.startswith(DEFINITION):
            yield reference.removeprefix(DEFINITION)
        for value in node.values():
            yield from _references(value)


def _free(name: str, *taken: Mapping[str, Any]) -> str:
    number = 2
    while any(f"{name}_v{number}" in one for one in taken):
        number += 1
    return f"{name}_v{number}"


def _renamed(part: Document, names: Mapping[str, str]) -> Document:
    def renamed(node: Any) -> Any:
        if isinstance(node, list):
            return [renamed(one) for one in node]
        if not isinstance(node, dict):
            return node
        found = {key: renamed(value) for key, value in node.items()}
        reference = found.get("$ref")
        if isinstance(reference, str):
            name = reference.removeprefix(DEFINITION)
            found["$ref"] = DEFINITION + names.get(name, name)
        return found

    definitions = {names.get(name, name): renamed(schema) for name, schema in part["definitions"].items()}
    return {"paths": renamed(part["paths"]), "definitions": definitions}


def _moved(node: Any) -> Any:
    """A schema whose references lead to where OpenAPI 3 has schemas."""
    if isinstance(node, list):
        return [_moved(one) for one in node]
    if not isinstance(node, dict):
        return node
    found = {key: _moved(value) for key, value in node.items()}
    reference = found.get("$ref")
    if isinstance(reference, str) and reference.startswith(DEFINITION):
        found["$ref"] = _SCHEMA + reference.removeprefix(DEFINITION)
    return found


def _item(item: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"parameters": [_parameter(one) for one in item["parameters"]]}
    return made | {method: _operation(item[method]) for method in _METHODS if method in item}


def _operation(operation: dict[str, Any]) -> dict[str, Any]:
    kept = ("description", "operationId", "tags")
    made = {key: value for key, value in operation.items() if key in kept or key.startswith("x-")}
    body = next((one for one in operation["parameters"] if one.get("in") == "body"), None)
    made["parameters"] = [_parameter(one) for one in operation["parameters"] if one is not body]
    if body is not None:
        schema = {"schema": _moved(body.get("schema") or {})}
        media = {kind: schema for kind in operation.get("consumes") or ("*/*",)}
        made["requestBody"] = {"content": media, "required": bool(body.get("required"))}
    made["responses"] = {
        str(code): _response(one, operation.get("produces") or ("application/json",))
        for code, one in operation["responses"].items()
    }
    return made


def _response(response: dict[str, Any], produces: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"description": _text(response, "description")}
    if "schema" in response:
        made["content"] = {kind: {"schema": _moved(response["schema"])} for kind in produces}
    return made


def _parameter(one: dict[str, Any]) -> dict[str, Any]:
    made = {key: one[key] for key in _OF_PARAMETER if key in one}
    return {**made, "schema": {key: one[key] for key in _OF_SCHEMA if key in one}}


def _plain_item(item: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"parameters": _plain_parameters(item["parameters"])}
    for method in _METHODS:
        if method in item:
            operation = item[method]
            responses = {
                str(code): {"description": _text(one, "description")}
                | ({"schema": _plain_schema(one["schema"])} if isinstance(one.get("schema"), dict) else {})
                for code, one in operation["responses"].items()
            }
            texts = {key: _text(operation, key) for key in ("description", "operationId")}
            lists = {key: operation.get(key) or [] for key in _LISTS}
            extensions = {key: value for key, value in operation.items() if key.startswith("x-")}
            parameters = _plain_parameters(operation["parameters"])
            made[method] = {**texts, **lists, **extensions, "parameters": parameters, "responses": responses}
    return made


def _plain_parameters(parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for one in parameters:
        described = {"name": one["name"], "in": one.get("in"), "required": bool(one.get("required"))}
        if described["in"] == "body":
            found.append({**described, "schema": _plain_schema(_schema_of(one))})
        elif described["in"] in ("query", "path"):
            more = {"description": _text(one, "description"), "type": _text(one, "type") or "string"}
            found.append({**described, **more, "uniqueItems": bool(one.get("uniqueItems"))})
    return found


def _plain_schema(schema: dict[str, Any]) -> dict[str, Any]:
    made = {key: schema[key] for key in ("$ref", "format", "description") if isinstance(schema.get(key), str)}
    made |= {key: value for key, value in schema.items() if key.startswith("x-")}
    if isinstance(schema.get("type"), str):
        made["type"] = schema["type"]
    if isinstance(schema.get("required"), list):
        made["required"] = [one for one in schema["required"] if isinstance(one, str)]
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            made[key] = _plain_schema(schema[key])
    if isinstance(schema.get("properties"), dict):
        properties = schema["properties"].items()
        made["properties"] = {name: _plain_schema(one) for name, one in properties if isinstance(one, dict)}
    return made
