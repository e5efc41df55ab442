"""What is wrong with an object by its schema: the full list of causes, in Kubernetes' words.

Only objects that the compiled check has refused come here. On an update the old object comes along: what was wrong
before and is unchanged passes.

Source: k8s.io/kube-openapi/pkg/validation/validate, whose words are used, and k8s.io/apiextensions-apiserver
(pkg/apiserver/validation).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from apimachinery.field import FieldError, invalid_value, required, too_long, too_many, wrong_type
from apimachinery.structural.correlation import Correlated
from apimachinery.structural.formats import FORMATS, normalized
from apimachinery.structural.patterns import matches
from apimachinery.structural.walk import Schema, items_of, properties_of, values_of

# How Kubernetes names the place of what concerns the object as a whole.
NOWHERE = "<nil>"
INT64_MAX = 2**63 - 1
_TYPES = {bool: "boolean", str: "string", int: "integer", float: "number", list: "array", dict: "object"}


@dataclass(slots=True)
class _Result:
    """What was found. `matches` counts what fitted: of several schemas the one that fits best tells what is wrong."""

    errors: list[FieldError] = field(default_factory=list)
    matches: int = 0

    def merge(self, other: _Result) -> None:
        self.errors += other.errors
        self.matches += other.matches


def validate(value: Any, schema: Schema, path: str = "", correlated: Correlated | None = None) -> list[FieldError]:
    """What is wrong with a value; `correlated` compares it with the value that it replaces."""
    return _Validator(path).ratcheted(value, schema, "", correlated).errors


class _Validator:
    """Names of places begin below `root`; messages name them from there, as Kubernetes' do."""

    def __init__(self, root: str) -> None:
        self._root = root

    def ratcheted(self, value: Any, schema: Schema, path: str, correlated: Correlated | None) -> _Result:
        result = self._validate(value, schema, path, correlated)
        if result.errors and correlated is not None and correlated.unchanged:
            return _Result()
        return result

    def _validate(self, value: Any, schema: Schema, path: str, correlated: Correlated | None) -> _Result:
        result = _Result()
        if value is None:
            self._type(value, schema, path, result)
            self._enum(value, schema, path, result)
            return result
        if schema.get("type") or schema.get("format") or schema.get("x-kubernetes-int-or-string"):
            self._type(value, schema, path, result)
            result.matches += 1
        self._junctors(value, schema, path, result)
        result.matches += 1
        if isinstance(value, str):
            self._string(value, schema, path, result)
            result.matches += 1
        elif isinstance(value, int | float) and not isinstance(value, bool):
            self._number(value, schema, path, result)
            result.matches += 2
        elif isinstance(value, list):
            self._list(value, schema, path, correlated, result)
            result.matches += 2
        self._enum(value, schema, path, result)
        result.matches += 1
        if isinstance(value, dict):
            self._object(value, schema, path, correlated, result)
            result.matches += 1
        result.matches += 1
        return result

    def _at(self, path: str) -> str:
        return ".".join(filter(None, (self._root, path.removeprefix(".")))) or NOWHERE

    def _wrong(self, result: _Result, path: str, value: Any, why: str) -> None:
        result.errors.append(invalid_value(self._at(path), value, f"{path} in body {why}"))

    def _type(self, value: Any, schema: Schema, path: str, result: _Result) -> None:
        kinds = ("integer", "string") if schema.get("x-kubernetes-int-or-string") else (schema.get("type"),)
        if kinds == (None,):
            result.matches += value is not None
            return
        have = "null" if value is None else _TYPES[type(value)]
        if have == "integer" and not -INT64_MAX - 1 <= value <= INT64_MAX:
            have = "number"
        if value is None and schema.get("nullable"):
            return
        is_whole = isinstance(value, float) and value.is_integer() and "integer" in kinds
        if have in kinds or is_whole or (have == "integer" and "number" in kinds):
            result.matches += 1
            return
        told = f'{path} in body must be of type {",".join(map(str, kinds))}: "{have}"'
        result.errors.append(wrong_type(self._at(path), have, told))

    def _junctors(self, value: Any, schema: Schema, path: str, result: _Result) -> None:
        """What several schemas say together. Nothing in them passes as unchanged: that might fail others."""
        if schema.get("anyOf"):
            results = self._each(value, schema["anyOf"], path)
            if all(one.errors for one in results):
                self._whole(result, f'"{path}" must validate at least one schema (anyOf)')
                result.merge(_best(results))
            else:
                result.merge(next(one for one in results if not one.errors))
        if schema.get("oneOf"):
            results = self._each(value, schema["oneOf"], path)
            valid = [one for one in results if not one.errors]
            if len(valid) == 1:
                result.merge(valid[0])
            else:
                found = f"Found {len(valid)} valid alternatives" if valid else "Found none valid"
                self._whole(result, f'"{path}" must validate one and only one schema (oneOf). {found}')
                if not valid:
                    result.merge(_best(results))
        if schema.get("allOf"):
            results = self._each(value, schema["allOf"], path)
            for one in results:
                result.merge(one)
            failed = sum(bool(one.errors) for one in results)
            if failed:
                none = ". None validated" if failed == len(results) else ""
                self._whole(result, f'"{path}" must validate all the schemas (allOf){none}')
        if schema.get("not") is not None and not self._validate(value, schema["not"], path, None).errors:
            self._whole(result, f'"{path}" must not validate the schema (not)')
        result.matches += 1

    def _each(self, value: Any, schemas: Iterable[Schema], path: str) -> list[_Result]:
        return [self._validate(value, one, path, None) for one in schemas]

    def _whole(self, result: _Result, why: str) -> None:
        result.errors.append(invalid_value(self._root or NOWHERE, "", why))

    def _string(self, value: str, schema: Schema, path: str, result: _Result) -> None:
        longest, shortest, pattern = schema.get("maxLength"), schema.get("minLength"), schema.get("pattern")
        if longest is not None and len(value) > longest:
            result.errors.append(too_long(self._at(path), longest))
        elif shortest is not None and len(value) < shortest:
            self._wrong(result, path, value, f"should be at least {shortest} chars long")
        elif pattern and not matches(pattern, value):
            self._wrong(result, path, value, f"should match '{pattern}'")
        name = schema.get("format") or ""
        check = FORMATS.get(normalized(name))
        if check is not None:
            result.matches += 1
            if not check(value):
                told = f"{path} in body must be of type {name}: {orjson.dumps(value).decode()}"
                result.errors.append(wrong_type(self._at(path), value, told))

    def _number(self, value: float, schema: Schema, path: str, result: _Result) -> None:
        factor, largest, smallest = (schema.get(key) for key in ("multipleOf", "maximum", "minimum"))
        if factor is not None:
            if factor <= 0:
                why = f"factor MultipleOf declared for {path} must be positive: {_number(factor)}"
                result.errors.append(invalid_value(self._at(path), factor, why))
            elif not _is_multiple(value, factor):
                self._wrong(result, path, value, f"should be a multiple of {_number(factor)}")
        if smallest is not None:
            exclusive = schema.get("exclusiveMinimum")
            if value < smallest or (exclusive and value == smallest):
                than = "greater than" if exclusive else "greater than or equal to"
                self._wrong(result, path, value, f"should be {than} {_number(smallest)}")
        if largest is not None:
            exclusive = schema.get("exclusiveMaximum")
            if value > largest or (exclusive and value == largest):
                than = "less than" if exclusive else "less than or equal to"
                self._wrong(result, path, value, f"should be {than} {_number(largest)}")

    def _list(
        self, value: list[Any], schema: Schema, path: str, correlated: Correlated | None, result: _Result
    ) -> None:
        items = items_of(schema)
        for number, item in enumerate(value) if items is not None else ():
            inner = correlated.index(number) if correlated is not None else None
            assert items is not None
            result.merge(self.ratcheted(item, items, f"{path}[{number}]", inner))
        fewest, most = schema.get("minItems"), schema.get("maxItems")
        if fewest is not None and len(value) < fewest:
            self._wrong(result, path, len(value), f"should have at least {fewest} items")
        if most is not None and len(value) > most:
            result.errors.append(too_many(self._at(path), len(value), most))

    def _enum(self, value: Any, schema: Schema, path: str, result: _Result) -> None:
        enum = schema.get("enum")
        if not enum or (value is not None and any(_equal(value, choice) for choice in enum)):
            return
        shown = [one if isinstance(one, str) else orjson.dumps(one).decode() for one in enum]
        told = f"supported values: {', '.join(orjson.dumps(one).decode() for one in shown)}"
        result.errors.append(FieldError(self._at(path), "FieldValueNotSupported", value, told))

    def _object(
        self, value: dict[str, Any], schema: Schema, path: str, correlated: Correlated | None, result: _Result
    ) -> None:
        fewest, most = schema.get("minProperties"), schema.get("maxProperties")
        if fewest is not None and len(value) < fewest:
            self._wrong(result, path, len(value), f"should have at least {fewest} properties")
        if most is not None and len(value) > most:
            result.errors.append(too_many(self._at(path), len(value), most))
        properties, extra = properties_of(schema), values_of(schema)
        for key, inner in value.items():
            known = properties.get(key)
            if known is None and schema.get("additionalProperties") is False:
                why = f"{path}.{key} in body is a forbidden property"
                result.errors.append(invalid_value(self._at(path), key, why))
            elif known is not None or extra is not None:
                where = f"{path}.{key}" if path or known is None else key
                result.merge(self._child(key, inner, known or extra or {}, where, correlated))
        for key in schema.get("required") or ():
            if key not in value:
                result.errors.append(required(self._at(f"{path}.{key}")))

    def _child(self, key: str, value: Any, schema: Schema, path: str, correlated: Correlated | None) -> _Result:
        # apiVersion and kind are those of the request on both sides, so their change can't be seen.
        if correlated is None or path in ("apiVersion", "kind"):
            return self._validate(value, schema, path, None)
        inner = correlated.key(key)
        return self.ratcheted(value, schema, path, inner)


def _best(results: list[_Result]) -> _Result:
    return max(results, key=lambda one: one.matches)


def _is_multiple(value: float, factor: float) -> bool:
    if isinstance(value, int) and float(factor).is_integer():
        return value % int(factor) == 0
    quotient = 1 / factor * value if factor < 1 else value / factor
    return abs(quotient - round(quotient)) < 1e-9


def _number(value: float) -> str:
    """As Go prints what it keeps as a floating point number."""
    return f"{int(value)}" if float(value).is_integer() and abs(value) < 1e21 else f"{value!r}"


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping | list):
        return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)
    return bool(one == other)
