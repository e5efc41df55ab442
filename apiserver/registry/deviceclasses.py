"""DeviceClasses: kinds of devices that claims ask for.

Source: kubernetes/pkg/apis/resource/validation/validation.go, pkg/registry/resource/deviceclass.
"""

from __future__ import annotations

from apimachinery.field import invalid_value
from apimachinery.meta import Object
from apimachinery.pod_resources import is_extended
from apimachinery.resources import DEVICECLASSES
from apiserver.registry.checks import Errors
from apiserver.registry.device_requests import (
    CONFIGS_MAX,
    SELECTORS_MAX,
    validate_configuration,
    validate_list,
    validate_selector,
)
from apiserver.registry.strategy import AGE, NAME, Strategy, nothing, replace_all


def validate(device_class: Object) -> Errors:
    """What devices of the class are, and what their driver is told."""
    errors: Errors = []
    spec = device_class.get("spec") or {}
    validate_list(spec.get("selectors") or (), SELECTORS_MAX, validate_selector, "spec.selectors", errors)
    validate_list(spec.get("config") or (), CONFIGS_MAX, validate_configuration, "spec.config", errors)
    name = spec.get("extendedResourceName")
    if name is not None and not is_extended(name):
        errors.append(invalid_value("spec.extendedResourceName", name, "must be a valid extended resource name"))
    return errors


STRATEGY = Strategy(
    DEVICECLASSES,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    columns=(NAME, AGE),
    counts_generations=True,
)
