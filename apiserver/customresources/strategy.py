"""The rules of a custom resource's objects in one version, made from its definition.

Source: k8s.io/apiextensions-apiserver/pkg/registry/customresource (strategy.go, status_strategy.go, validator.go),
whose words are used.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from apimachinery.field import FieldError, invalid_value, warning
from apimachinery.meta import Object
from apimachinery.names import qualified_name
from apimachinery.resources import Resource
from apimachinery.structural.listtypes import validate_lists
from apimachinery.structural.validation import NOWHERE
from apiserver.customresources.columns import columns
from apiserver.customresources.definition import Fields, Version
from apiserver.customresources.schema import VersionSchema
from apiserver.registry.embedded import validate_embedded
from apiserver.registry.metadata import STANDARD_FINALIZERS
from apiserver.registry.strategy import (
    Scale,
    Strategy,
    drop_status,
    keep_status,
    nothing,
    only_status,
    replace_all,
)

Errors = list[FieldError]

INT32_MAX = 2**31 - 1
PATCHES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
# With these wrong, what rules would say of the object means nothing.
_BLOCKING = (
    *("FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany"),
    "FieldValueTypeInvalid",
)
_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
_GO_TYPES = {str: "string", bool: "bool", float: "float64", dict: "map[string]interface {}", list: "[]interface {}"}
_PREFER = "to avoid accidental conflicts with other finalizer writers"


def make(resource: Resource, version: Version, schema: VersionSchema) -> Strategy:
    """The rules of one version."""
    has_status, scale = "status" in version.subresources, version.subresources.get("scale")
    return Strategy(
        resource,
        coerce=schema.coerce,
        default=schema.default,
        prepare_create=drop_status if has_status else nothing,
        prepare_update=keep_status if has_status else replace_all,
        prepare_status=only_status,
        validate=partial(_validate, schema, scale),
        validate_update=partial(_validate_update, schema, scale),
        validate_status=partial(_validate_status, schema, scale),
        columns=columns(version.columns),
        selectable=version.selectable,
        counts_generations=True,
        counts_status=not has_status,
        compares_updates=True,
        restricts_finalizers=False,
        scale=_scale(scale) if scale is not None else None,
        patches=PATCHES,
        unconditional_update=False,
        status_resets=("spec", "metadata"),
    )


def _scale(scale: Fields) -> Scale:
    selector = scale.get("labelSelectorPath") or ""
    return Scale(
        _steps(scale["specReplicasPath"]),
        _steps(scale["statusReplicasPath"]),
        selector=(),
        selector_text=_steps(selector) if selector else (),
        must_be_set=scale["specReplicasPath"],
    )


def _steps(path: str) -> tuple[str, ...]:
    return tuple(path.removeprefix(".").split("."))


def _validate(schema: VersionSchema, scale: Fields | None, obj: Object) -> Errors:
    errors = schema.wrong_values(obj, None)
    errors += [*_wrong_replicas(obj, scale), *_wrong_scale_status(obj, scale)]
    errors += validate_embedded(obj, schema.node)
    errors += validate_lists(obj, schema.node)
    return _judged(schema, obj, None, errors) + _warnings(obj, None)


def _validate_update(schema: VersionSchema, scale: Fields | None, obj: Object, old: Object) -> Errors:
    errors = schema.wrong_values(obj, old)
    errors += [*_wrong_replicas(obj, scale), *_wrong_scale_status(obj, scale)]
    errors += validate_embedded(obj, schema.node)
    errors += _wrong_lists(schema, obj, old)
    return _judged(schema, obj, old, errors) + _warnings(obj, old)


def _validate_status(schema: VersionSchema, scale: Fields | None, obj: Object, old: Object) -> Errors:
    errors = [*schema.wrong_status(obj, old), *_wrong_scale_status(obj, scale), *_wrong_lists(schema, obj, old)]
    return _judged(schema, obj, old, errors)


def _wrong_lists(schema: VersionSchema, obj: Object, old: Object) -> Errors:
    errors = validate_lists(obj, schema.node)
    return errors if errors and not validate_lists(old, schema.node) else []


def _judged(schema: VersionSchema, obj: Object, old: Object | None, errors: Errors) -> Errors:
    """What is wrong together with what the rules have against the object."""
    if any(error.type in _BLOCKING for error in errors):
        return [*errors, invalid_value(NOWHERE, None, _NOT_CHECKED)] if schema.has_rules else errors
    return errors + schema.judge(obj, old)


def _wrong_replicas(obj: Object, scale: Fields | None) -> Iterable[FieldError]:
    return _wrong_number(obj, scale["specReplicasPath"]) if scale is not None else ()


def _wrong_scale_status(obj: Object, scale: Fields | None) -> Iterable[FieldError]:
    if scale is None:
        return
    yield from _wrong_number(obj, scale["statusReplicasPath"])
    path = scale.get("labelSelectorPath")
    if path:
        _, problem = _nested(obj, path, str, "string")
        if problem:
            yield invalid_value(path, "", problem)


def _wrong_number(obj: Object, path: str) -> Iterable[FieldError]:
    replicas, problem = _nested(obj, path, int, "int64")
    if problem:
        yield invalid_value(path, 0, problem)
    elif replicas is not None and replicas < 0:
        yield invalid_value(path, replicas, "should be a non-negative integer")
    elif replicas is not None and replicas > INT32_MAX:
        yield invalid_value(path, replicas, f"should be less than or equal to {INT32_MAX}")


def _nested(obj: Object, path: str, wanted: type, wanted_name: str) -> tuple[Any, str]:
    """(the value at a path, None if it is not there; why it is none that can be used)."""
    value: Any = obj
    steps = _steps(path)
    for number, step in enumerate(steps):
        if not isinstance(value, dict):
            told, where = "map[string]interface{}", steps[: number + 1]
            return (
                None,
                f".{'.'.join(where)} accessor error: {value} is of the type {_go_type(value)}, expected {told}",
            )
        value = value.get(step)
        if value is None:
            return None, ""
    if type(value) is not wanted:
        return None, f"{path} accessor error: {value} is of the type {_go_type(value)}, expected {wanted_name}"
    return value, ""


def _go_type(value: Any) -> str:
    return _GO_TYPES.get(type(value), "int64")


def _warnings(obj: Object, old: Object | None) -> Errors:
    """Finalizers whose names somebody else may choose too."""
    before = (old["metadata"].get("finalizers") or ()) if old is not None else ()
    new = sorted(set(obj["metadata"].get("finalizers") or ()).difference(before))
    found = []
    for finalizer in new:
        found += [f'metadata.finalizers: "{finalizer}": {problem}' for problem in qualified_name(finalizer)]
        if "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            what = "name including a path (/) " if "." in finalizer else "name "
            found.append(f'metadata.finalizers: "{finalizer}": prefer a domain-qualified finalizer {what}{_PREFER}')
    return list(map(warning, found))
