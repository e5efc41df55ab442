"""The spec of a claim for a volume, in a PersistentVolumeClaim and in the templates for one.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidatePersistentVolumeClaimSpec).
"""

from __future__ import annotations

from collections.abc import Sequence

from apimachinery.field import forbidden_field, invalid_value, required
from apiserver.registry import amounts, checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_annotations, validate_label_selector, validate_labels

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")


def validate_access_modes(modes: Sequence[str], path: str, errors: Errors) -> None:
    """How many nodes or pods may use a volume at a time."""
    for mode in modes:
        checks.optional_choice(mode, ACCESS_MODES, path, errors)
    if "ReadWriteOncePod" in modes and any(mode != "ReadWriteOncePod" for mode in modes if mode in ACCESS_MODES):
        errors.append(forbidden_field(path, "may not use ReadWriteOncePod with other access modes"))


def validate_claim_spec(spec: Fields, path: str, errors: Errors) -> None:
    """What is asked for."""
    modes = spec.get("accessModes") or ()
    if not modes:
        errors.append(required(f"{path}.accessModes", "at least 1 access mode is required"))
    validate_label_selector(spec.get("selector"), f"{path}.selector", errors)
    validate_access_modes(modes, f"{path}.accessModes", errors)
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    at = f"{path}.resources[storage]"
    if storage is None:
        errors.append(required(at))
    else:
        found = amounts.amount(storage)
        if found is not None and found.nanos <= 0:
            errors.append(invalid_value(at, storage, checks.NOT_POSITIVE))
        else:
            amounts.quantity("storage", storage, at, errors)
    if spec.get("storageClassName"):
        checks.dns_subdomain(spec["storageClassName"], f"{path}.storageClassName", errors)
    checks.optional_choice(spec.get("volumeMode"), VOLUME_MODES, f"{path}.volumeMode", errors)
    source, reference = spec.get("dataSource"), spec.get("dataSourceRef")
    if source is not None:
        _validate_source(source, f"{path}.dataSource", errors)
    if reference is not None:
        _validate_source(reference, f"{path}.dataSourceRef", errors)
        if reference.get("namespace"):
            checks.dns_label(reference["namespace"], f"{path}.dataSourceRef.namespace", errors)
    if source is not None and reference is not None:
        if reference.get("namespace"):
            why = "may not be specified when dataSourceRef.namespace is specified"
            errors.append(invalid_value(path, f"{path}.dataSource", why))
        elif any(source.get(key) != reference.get(key) for key in ("apiGroup", "kind", "name")):
            errors.append(invalid_value(path, f"{path}.dataSource", "must match dataSourceRef"))
    if spec.get("volumeAttributesClassName"):
        at = f"{path}.volumeAttributesClassName"
        checks.dns_subdomain(spec["volumeAttributesClassName"], at, errors)


def _validate_source(source: Fields, path: str, errors: Errors) -> None:
    group, kind = source.get("apiGroup") or "", source.get("kind") or ""
    if not source.get("name"):
        errors.append(required(f"{path}.name"))
    if not kind:
        errors.append(required(f"{path}.kind"))
    if not group and kind != "PersistentVolumeClaim":
        why = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        errors.append(invalid_value(path, kind, why))
    if group:
        checks.dns_subdomain(group, f"{path}.apiGroup", errors)


def validate_claim_template(template: Fields, path: str, errors: Errors) -> None:
    """The claim that an ephemeral volume makes for its pod."""
    metadata = template.get("metadata") or {}
    validate_annotations(metadata.get("annotations") or {}, f"{path}.metadata.annotations", errors)
    validate_labels(metadata.get("labels") or {}, f"{path}.metadata.labels", errors)
    for field, value in metadata.items():
        if value and field not in ("annotations", "labels"):
            errors.append(forbidden_field(f"{path}.metadata.{field}", "cannot be set"))
    validate_claim_spec(template.get("spec") or {}, f"{path}.spec", errors)
