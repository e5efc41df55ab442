"""ResourceClaimTemplates: the claims that are made for pods.

Source: kubernetes/pkg/apis/resource/validation/validation.go, pkg/registry/resource/resourceclaimtemplate.
"""

from __future__ import annotations

from apimachinery.field import forbidden_field
from apimachinery.meta import Object, get_path
from apimachinery.resources import RESOURCECLAIMTEMPLATES
from apiserver.registry.checks import Errors
from apiserver.registry.device_requests import default_devices, validate_devices
from apiserver.registry.equality import immutable
from apiserver.registry.metadata import validate_annotations, validate_labels
from apiserver.registry.strategy import AGE, NAME, Strategy, nothing, replace_all


def default(template: Object) -> None:
    """One device."""
    default_devices(get_path(template, "spec", "spec", "devices"))


def validate(template: Object) -> Errors:
    """Labels and annotations for the claims, and what they ask for."""
    errors: Errors = []
    metadata = get_path(template, "spec", "metadata", default={})
    validate_annotations(metadata.get("annotations") or {}, "spec.metadata.annotations", errors)
    validate_labels(metadata.get("labels") or {}, "spec.metadata.labels", errors)
    for field, value in metadata.items():
        if value and field not in ("annotations", "labels"):
            errors.append(forbidden_field(f"spec.metadata.{field}", "cannot be set"))
    validate_devices(get_path(template, "spec", "spec", "devices", default={}), "spec.spec.devices", errors)
    return errors


def validate_update(template: Object, old: Object) -> Errors:
    """The claims stay what they are."""
    errors: Errors = []
    immutable(template.get("spec") or {}, old.get("spec") or {}, "spec", errors)
    return errors


STRATEGY = Strategy(
    RESOURCECLAIMTEMPLATES,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(NAME, AGE),
)
