"""ResourceClaims: devices that are asked for, and which ones have been given.

Source: kubernetes/pkg/apis/resource/validation/validation.go, pkg/registry/resource/resourceclaim.
"""

from __future__ import annotations

from typing import Any

from apimachinery.field import forbidden_field, invalid_value, required
from apimachinery.meta import Object, deletion_requested, get_path
from apimachinery.resources import RESOURCECLAIMS
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.conditions import validate_conditions
from apiserver.registry.device_requests import (
    CONFIGS_MAX,
    RequestNames,
    default_devices,
    request_names,
    validate_binding_conditions,
    validate_configuration,
    validate_devices,
    validate_list,
    validate_pool_name,
    validate_raw,
    validate_request_reference,
    validate_request_references,
    validate_set,
)
from apiserver.registry.equality import immutable
from apiserver.registry.pod_scheduling import validate_node_selector
from apiserver.registry.pod_volumes import validate_driver
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, only_status

CONSUMERS_MAX, RESULTS_MAX, DEVICE_STATUSES_MAX = 256, 32, 256
_DEVICE = ("driver", "pool", "device", "shareID")


def default(claim: Object) -> None:
    """One device."""
    default_devices(get_path(claim, "spec", "devices"))


def prepare_status(claim: Object, old: Object) -> None:
    """With the devices goes what their drivers have told of them."""
    only_status(claim, old)
    status = claim.get("status") or {}
    if status.get("allocation") is None and get_path(old, "status", "allocation") is not None:
        given = _allocated(old.get("status") or {})
        left = [device for device in status.get("devices") or () if _key(device) not in given]
        status.pop("devices", None)
        if left:
            status["devices"] = left


def validate(claim: Object) -> Errors:
    """What is wrong with a claim in itself."""
    errors: Errors = []
    # One that is stored has a version, and does not change.
    if not claim["metadata"].get("resourceVersion"):
        validate_devices(get_path(claim, "spec", "devices", default={}), "spec.devices", errors)
    return errors


def validate_update(claim: Object, old: Object) -> Errors:
    """What is asked for stays."""
    errors: Errors = []
    immutable(claim.get("spec") or {}, old.get("spec") or {}, "spec", errors)
    return errors


def _key(device: Fields) -> tuple[Any, ...]:
    return tuple(device.get(field) or "" for field in _DEVICE)


def _allocated(status: Fields) -> set[tuple[Any, ...]]:
    return {_key(result) for result in get_path(status, "allocation", "devices", "results", default=())}


def validate_status(claim: Object, old: Object) -> Errors:
    """What has been given, to whom, and in which state it is."""
    errors: Errors = []
    status, before = claim.get("status") or {}, old.get("status") or {}
    consumers, path = status.get("reservedFor") or (), "status.reservedFor"
    validate_set(consumers, CONSUMERS_MAX, _validate_consumer, path, errors, lambda one: one.get("uid") or "")
    allocation, was = status.get("allocation"), before.get("allocation")
    given = _allocated(status)

    def device(one: Fields, at: str, found: Errors) -> None:
        _validate_device(one, at, found)
        if _key(one) not in given:
            found.append(invalid_value(at, dict(one), "must be an allocated device in the claim"))

    devices = status.get("devices") or ()
    validate_set(devices, DEVICE_STATUSES_MAX, device, "status.devices", errors, _key)
    if consumers and allocation is None:
        errors.append(forbidden_field(path, "may not be specified when `allocated` is not set"))
    elif consumers and deletion_requested(claim):
        were = before.get("reservedFor") or ()
        if any(consumer not in were for consumer in consumers):
            why = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
            errors.append(forbidden_field(path, why))
    if allocation is not None and was is not None:
        immutable(allocation, was, "status.allocation", errors)
    elif allocation is not None:
        names = request_names(get_path(claim, "spec", "devices", default={}))
        _validate_allocation(allocation, names, "status.allocation", errors)
    return errors


def _validate_consumer(consumer: Fields, path: str, errors: Errors) -> None:
    for field in ("resource", "name", "uid"):
        if not consumer.get(field):
            errors.append(required(f"{path}.{field}"))


def _validate_place(device: Fields, path: str, errors: Errors) -> None:
    validate_driver(device.get("driver") or "", f"{path}.driver", errors)
    validate_pool_name(device.get("pool"), f"{path}.pool", errors)
    checks.dns_label(device.get("device") or "", f"{path}.device", errors)


def _validate_device(device: Fields, path: str, errors: Errors) -> None:
    _validate_place(device, path, errors)
    validate_conditions(device.get("conditions") or (), f"{path}.conditions", errors)
    if device.get("data"):
        validate_raw(device["data"], f"{path}.data", errors)


def _validate_allocation(allocation: Fields, names: RequestNames, path: str, errors: Errors) -> None:
    devices = allocation.get("devices") or {}

    def result(one: Fields, at: str, found: Errors) -> None:
        validate_request_reference(one.get("request") or "", names, f"{at}.request", found)
        _validate_place(one, at, found)
        validate_binding_conditions(one, at, found)

    def config(one: Fields, at: str, found: Errors) -> None:
        checks.choice(one.get("source"), ("FromClaim", "FromClass"), f"{at}.source", found)
        validate_request_references(one.get("requests") or (), names, f"{at}.requests", found)
        validate_configuration(one, at, found)

    validate_list(devices.get("results") or (), RESULTS_MAX, result, f"{path}.devices.results", errors)
    # Those of the class and those of the claim.
    validate_list(devices.get("config") or (), 2 * CONFIGS_MAX, config, f"{path}.devices.config", errors)
    if allocation.get("nodeSelector") is not None:
        validate_node_selector(allocation["nodeSelector"], f"{path}.nodeSelector", errors)


def _state(claim: Object) -> Cell:
    deleted = deletion_requested(claim)
    states = ["deleted"] if deleted else []
    if get_path(claim, "status", "allocation") is None:
        states += [] if deleted else ["pending"]
    else:
        states += ["allocated", "reserved"] if get_path(claim, "status", "reservedFor") else ["allocated"]
    return ",".join(states)


STRATEGY = Strategy(
    RESOURCECLAIMS,
    default=default,
    prepare_status=prepare_status,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    columns=(
        NAME,
        Column(
            "State",
            _state,
            description="A summary of the current state (allocated, pending, reserved, etc.).",
        ),
        AGE,
    ),
    status_resets=("spec", "metadata"),
)
