"""ResourceSlices: devices that a driver has.

Source: kubernetes/pkg/apis/resource/validation/validation.go, pkg/registry/resource/resourceslice.
"""

from __future__ import annotations

import re
from typing import Any

from apimachinery import names
from apimachinery.field import invalid_value, required, too_long, too_many
from apimachinery.meta import Object, get_path
from apimachinery.resources import RESOURCESLICES
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.device_requests import (
    EFFECTS,
    name_of,
    validate_binding_conditions,
    validate_list,
    validate_pool_name,
    validate_qualified_name,
    validate_set,
)
from apiserver.registry.equality import immutable
from apiserver.registry.metadata import validate_label_key
from apiserver.registry.pod_scheduling import validate_node_selector
from apiserver.registry.pod_volumes import validate_driver
from apiserver.registry.strategy import AGE, NAME, Cell, CellOf, Column, Strategy, nothing, replace_all

DEVICES_MAX, DEVICES_MAX_WITH_TAINTS = 128, 64
COUNTER_SETS_MAX, COUNTERS_MAX, CONSUMPTIONS_MAX = 8, 32, 2
ATTRIBUTES_MAX, ATTRIBUTE_MAX, TAINTS_MAX = 32, 64, 16
_WHERE = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
_VALUES = ("bool", "int", "string", "version")
_NUMBER, _WORD = r"(0|[1-9]\d*)", r"(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)"
_VERSION = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(-{_WORD}(\.{_WORD})*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?", re.ASCII
)


def validate(resource_slice: Object) -> Errors:
    """What is wrong with a slice in itself."""
    errors: Errors = []
    spec = resource_slice.get("spec") or {}
    pool, devices = spec.get("pool") or {}, spec.get("devices") or ()
    validate_driver(spec.get("driver") or "", "spec.driver", errors)
    validate_pool_name(pool.get("name"), "spec.pool.name", errors)
    checks.positive(pool.get("resourceSliceCount"), "spec.pool.resourceSliceCount", errors)
    if (pool.get("generation") or 0) < 0:
        why = "must be greater than or equal to zero"
        errors.append(invalid_value("spec.pool.generation", pool["generation"], why))
    _validate_where(spec, errors)
    counters = spec.get("sharedCounters")
    if counters is not None and spec.get("devices") is not None:
        errors.append(invalid_value("spec", "", "only one of `sharedCounters` or `devices` is allowed"))
    costly = any(device.get("taints") or device.get("consumesCounters") for device in devices)
    maximum = DEVICES_MAX_WITH_TAINTS if costly else DEVICES_MAX
    each = bool(spec.get("perDeviceNodeSelection"))

    def device(one: Fields, at: str, found: Errors) -> None:
        _validate_device(one, at, found, each=each)

    validate_set(devices, maximum, device, "spec.devices", errors, name_of)
    validate_set(counters or (), COUNTER_SETS_MAX, _validate_counter_set, "spec.sharedCounters", errors, name_of)
    return errors


def _set_fields(place: Fields, fields: tuple[str, ...], path: str, errors: Errors, empty: str) -> list[str]:
    """Which of the fields say where devices are."""
    found = []
    for field in fields:
        value = place.get(field)
        if field == "nodeName" and value == "":
            errors.append(invalid_value(f"{path}.{field}", value, empty))
        elif value is False:
            errors.append(invalid_value(f"{path}.{field}", value, "must be either unset or set to true"))
        elif value is not None:
            found.append(field)
    if place.get("nodeName"):
        checks.dns_subdomain(place["nodeName"], f"{path}.nodeName", errors)
    if place.get("nodeSelector") is not None:
        validate_node_selector(place["nodeSelector"], f"{path}.nodeSelector", errors)
    return found


def _validate_where(spec: Fields, errors: Errors) -> None:
    found = _set_fields(spec, _WHERE, "spec", errors, "must be either unset or set to a non-empty string")
    terms = get_path(spec, "nodeSelector", "nodeSelectorTerms", default=[])
    if spec.get("nodeSelector") is not None and len(terms) != 1:
        path = "spec.nodeSelector.nodeSelectorTerms"
        errors.append(invalid_value(path, terms, "must have exactly one node selector term"))
    one_of = f"exactly one of {', '.join(f'`{field}`' for field in _WHERE)} is required"
    if not found:
        errors.append(required("spec", one_of))
    elif len(found) > 1:
        shown = "{" + ", ".join(f"`{field}`" for field in found) + "}"
        errors.append(invalid_value("spec", shown, f"{one_of}, but multiple fields are set"))


def _validate_device(device: Fields, path: str, errors: Errors, *, each: bool) -> None:
    checks.dns_label(name_of(device), f"{path}.name", errors)
    attributes, capacity = device.get("attributes") or {}, device.get("capacity") or {}
    together = len(attributes) + len(capacity)
    if together > ATTRIBUTES_MAX:
        why = f"the total number of attributes and capacities must not exceed {ATTRIBUTES_MAX}"
        errors.append(invalid_value(path, together, why))
    for name, attribute in attributes.items():
        at = f"{path}.attributes[{name}]"
        validate_qualified_name(name, at, errors)
        _validate_attribute(attribute, at, errors)
    for name in capacity:
        validate_qualified_name(name, f"{path}.capacity[{name}]", errors)
    validate_list(device.get("taints") or (), TAINTS_MAX, _validate_taint, f"{path}.taints", errors)
    consumed, at = device.get("consumesCounters") or (), f"{path}.consumesCounters"
    validate_set(
        consumed, CONSUMPTIONS_MAX, _validate_consumption, at, errors, lambda one: one.get("counterSet") or ""
    )
    _validate_device_place(device, path, errors, each=each)
    validate_binding_conditions(device, path, errors)


def _validate_device_place(device: Fields, path: str, errors: Errors, *, each: bool) -> None:
    fields = _WHERE[:3]
    if each:
        found = _set_fields(device, fields, path, errors, "must not be empty")
        why = (
            "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is "
            "set to true in the ResourceSlice spec"
        )
        if not found:
            errors.append(required(path, why))
        elif len(found) > 1:
            errors.append(invalid_value(path, "{" + ", ".join(f"`{field}`" for field in found) + "}", why))
    elif any(device.get(field) is not None for field in fields):
        why = (
            "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in "
            "the ResourceSlice spec"
        )
        errors.append(invalid_value(path, None, why))


def _validate_attribute(attribute: Fields, path: str, errors: Errors) -> None:
    present = [field for field in _VALUES if attribute.get(field) is not None]
    for field in ("string", "version"):
        text = attribute.get(field)
        if text is None:
            continue
        if field == "version" and not _VERSION.fullmatch(text):
            why = "must be a string compatible with semver.org spec 2.0.0"
            errors.append(invalid_value(f"{path}.{field}", text, why))
        if len(text.encode()) > ATTRIBUTE_MAX:
            errors.append(too_long(f"{path}.{field}", ATTRIBUTE_MAX))
    if len(present) != 1:
        errors.append(invalid_value(path, dict(attribute) if present else "", "exactly one value must be specified"))


def _validate_taint(taint: Fields, path: str, errors: Errors) -> None:
    validate_label_key(taint.get("key") or "", f"{path}.key", errors)
    value = taint.get("value") or ""
    errors += [invalid_value(f"{path}.value", value, why) for why in names.label_value(value)]
    checks.choice(taint.get("effect"), EFFECTS, f"{path}.effect", errors)


def _validate_counters(counters: dict[str, Any], path: str, errors: Errors) -> None:
    if not counters:
        errors.append(required(path))
    elif len(counters) > COUNTERS_MAX:
        errors.append(too_many(path, len(counters), COUNTERS_MAX))
    else:
        for name in counters:
            checks.dns_label(name, f"{path}[{name}]", errors)


def _validate_counter_set(counter_set: Fields, path: str, errors: Errors) -> None:
    checks.required_name(counter_set.get("name"), checks.dns_label, f"{path}.name", errors)
    _validate_counters(counter_set.get("counters") or {}, f"{path}.counters", errors)


def _validate_consumption(consumption: Fields, path: str, errors: Errors) -> None:
    checks.required_name(consumption.get("counterSet"), checks.dns_label, f"{path}.counterSet", errors)
    _validate_counters(consumption.get("counters") or {}, f"{path}.counters", errors)


def validate_update(resource_slice: Object, old: Object) -> Errors:
    """Whose devices these are, and where, stays."""
    errors: Errors = []
    for path in (("pool", "name"), ("driver",), ("nodeName",)):
        value, before = (get_path(one, "spec", *path) for one in (resource_slice, old))
        immutable(value, before, f"spec.{'.'.join(path)}", errors)
    return errors


def _text(*path: str) -> CellOf:
    def cell(resource_slice: Object) -> Cell:
        found: str = get_path(resource_slice, "spec", *path, default="")
        return found

    return cell


STRATEGY = Strategy(
    RESOURCESLICES,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Node", _text("nodeName"), description="The node that the devices are on."),
        Column("Driver", _text("driver"), description="Whose devices these are."),
        Column("Pool", _text("pool", "name"), description="The pool that they belong to."),
        AGE,
    ),
    selectable=("spec.nodeName", "spec.driver"),
    counts_generations=True,
)
