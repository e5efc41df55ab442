"""CSIDrivers.

Source: kubernetes/pkg/apis/storage/v1/defaults.go, validation/validation.go, pkg/registry/storage/csidriver.
"""

from __future__ import annotations

from typing import Any

from apimachinery.field import duplicate, invalid_value, not_supported, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import CSIDRIVERS
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import immutable
from apiserver.registry.strategy import AGE, NAME, NONE, Cell, CellOf, Column, Strategy, nothing, replace_all

GROUP_POLICIES = ("File", "None", "ReadWriteOnceWithFSType")
LIFECYCLE_MODES = ("Ephemeral", "Persistent")
TOKEN_SECONDS_MIN, TOKEN_SECONDS_MAX, UPDATE_SECONDS_MIN = 600, 2**32, 10
_DEFAULTS: dict[str, Any] = {
    "attachRequired": True,
    "podInfoOnMount": False,
    "storageCapacity": False,
    "fsGroupPolicy": "ReadWriteOnceWithFSType",
    "requiresRepublish": False,
    "seLinuxMount": False,
}


def default(driver: Object) -> None:
    """Volumes are attached to nodes, and outlive pods."""
    spec = driver.setdefault("spec", {})
    for field, value in _DEFAULTS.items():
        if spec.get(field) is None:
            spec[field] = value
    if not spec.get("volumeLifecycleModes"):
        spec["volumeLifecycleModes"] = ["Persistent"]


def validate(driver: Object) -> Errors:
    """What is wrong with a driver in itself."""
    errors: Errors = []
    spec = driver.get("spec") or {}
    # Kubernetes calls the first of these so.
    named = {"attachRequired": "attachedRequired"}
    for field in ("attachRequired", "podInfoOnMount", "storageCapacity", "seLinuxMount"):
        if spec.get(field) is None:
            errors.append(required(f"spec.{named.get(field, field)}"))
    checks.optional_choice(spec.get("fsGroupPolicy"), GROUP_POLICIES, "spec.fsGroupPolicy", errors)
    _validate_tokens(spec, errors)
    for mode in spec.get("volumeLifecycleModes") or ():
        if mode not in LIFECYCLE_MODES:
            errors.append(not_supported("spec.volumeLifecycleModes", mode, LIFECYCLE_MODES))
    period = spec.get("nodeAllocatableUpdatePeriodSeconds")
    if period is not None and period < UPDATE_SECONDS_MIN:
        why = f"must be greater than or equal to {UPDATE_SECONDS_MIN} seconds"
        errors.append(invalid_value("spec.nodeAllocatableUpdatePeriodSeconds", period, why))
    return errors


def _validate_tokens(spec: Fields, errors: Errors) -> None:
    requests, in_secrets = spec.get("tokenRequests") or (), spec.get("serviceAccountTokenInSecrets")
    seen: set[str] = set()
    for number, request in enumerate(requests):
        path, audience = f"spec.tokenRequests[{number}]", request.get("audience") or ""
        if audience in seen:
            errors.append(duplicate(f"{path}.audience", audience))
            continue
        seen.add(audience)
        seconds = request.get("expirationSeconds")
        if seconds is not None and seconds < TOKEN_SECONDS_MIN:
            why = "may not specify a duration less than 10 minutes"
            errors.append(invalid_value(f"{path}.expirationSeconds", seconds, why))
        if seconds is not None and seconds > TOKEN_SECONDS_MAX:
            why = "may not specify a duration larger than 2^32 seconds"
            errors.append(invalid_value(f"{path}.expirationSeconds", seconds, why))
    if in_secrets is not None and not requests:
        why = "serviceAccountTokenInSecrets is set but no tokenRequests are specified"
        errors.append(invalid_value("spec.serviceAccountTokenInSecrets", in_secrets, why))


def validate_update(driver: Object, old: Object) -> Errors:
    """Whether volumes are attached, and how long they live, stays."""
    errors: Errors = []
    spec, before = driver.get("spec") or {}, old.get("spec") or {}
    immutable(spec.get("attachRequired"), before.get("attachRequired"), "spec.attachedRequired", errors)
    modes, were = spec.get("volumeLifecycleModes"), before.get("volumeLifecycleModes")
    immutable(modes, were, "spec.volumeLifecycleModes", errors)
    return errors


def _flag(field: str) -> CellOf:
    def cell(driver: Object) -> Cell:
        return bool(get_path(driver, "spec", field, default=_DEFAULTS[field]))

    return cell


def _tokens(driver: Object) -> Cell:
    requests = get_path(driver, "spec", "tokenRequests")
    return "<unset>" if requests is None else ",".join(request.get("audience") or "" for request in requests)


def _modes(driver: Object) -> Cell:
    return ",".join(get_path(driver, "spec", "volumeLifecycleModes", default=())) or NONE


def _flags(*fields: tuple[str, str]) -> tuple[Column, ...]:
    return tuple(
        Column(f"{field[0].upper()}{field[1:]}", _flag(field), type="boolean", description=description)
        for field, description in fields
    )


STRATEGY = Strategy(
    CSIDRIVERS,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        *_flags(
            ("attachRequired", "Whether volumes are attached to nodes."),
            ("podInfoOnMount", "Whether the driver is told of the pod."),
            ("storageCapacity", "Whether the driver tells how much room it has."),
        ),
        Column("TokenRequests", _tokens, description="For whom the driver gets tokens."),
        *_flags(("requiresRepublish", "Whether the driver is called again and again.")),
        Column("Modes", _modes, description="How long volumes live."),
        AGE,
    ),
    counts_generations=True,
    unconditional_update=False,
)
