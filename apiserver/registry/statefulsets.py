"""StatefulSets.

Source: kubernetes/pkg/apis/apps/v1/defaults.go, validation/validation.go and pkg/registry/apps/statefulset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apimachinery import names
from apimachinery.field import forbidden_field, invalid_value, required
from apimachinery.meta import Object, get_path
from apimachinery.pod_defaults import default_claim_spec, default_template
from apimachinery.resources import STATEFULSETS
from apiserver.registry import checks, workloads
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.claims import validate_claim_spec
from apiserver.registry.equality import equal
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Scale, Strategy, keep_spec

HISTORY_LIMIT = 10
_COUNTS = ("replicas", "readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
_POLICIES = ("Delete", "Retain")
# What may be changed; all else of the spec stays.
_CHANGEABLE = (
    *("replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit"),
    *("persistentVolumeClaimRetentionPolicy", "minReadySeconds"),
)
_FORBIDDEN = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


def default(stateful_set: Object) -> None:
    """One replica; pods start one after the other and are replaced one at a time, and claims stay."""
    spec = stateful_set.setdefault("spec", {})
    if not spec.get("podManagementPolicy"):
        spec["podManagementPolicy"] = "OrderedReady"
    if spec.get("updateStrategy") is None:
        spec["updateStrategy"] = {}
    strategy = spec["updateStrategy"]
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
        if strategy.get("rollingUpdate") is None:
            strategy["rollingUpdate"] = {}
    if strategy["type"] == "RollingUpdate" and strategy.get("rollingUpdate") is not None:
        for field, value in (("partition", 0), ("maxUnavailable", 1)):
            if strategy["rollingUpdate"].get(field) is None:
                strategy["rollingUpdate"][field] = value
    if spec.get("persistentVolumeClaimRetentionPolicy") is None:
        spec["persistentVolumeClaimRetentionPolicy"] = {}
    for field in ("whenDeleted", "whenScaled"):
        if not spec["persistentVolumeClaimRetentionPolicy"].get(field):
            spec["persistentVolumeClaimRetentionPolicy"][field] = "Retain"
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = HISTORY_LIMIT
    for claim in spec.get("volumeClaimTemplates") or ():
        _default_claim(claim)
    if spec.get("template") is not None:
        default_template(spec["template"])


def _default_claim(claim: dict[str, Any]) -> None:
    claim.setdefault("kind", "PersistentVolumeClaim")
    claim.setdefault("apiVersion", "v1")
    default_claim_spec(claim.get("spec"))
    status = claim["status"] = claim.get("status") or {}
    if not status.get("phase"):
        status["phase"] = "Pending"


def validate(stateful_set: Object) -> Errors:
    """What is wrong with a StatefulSet in itself."""
    errors: Errors = []
    spec = stateful_set.get("spec") or {}
    template: dict[str, Any] = spec.get("template") or {}
    policy = spec.get("podManagementPolicy")
    if not policy:
        errors.append(required("spec.podManagementPolicy"))
    elif policy not in ("OrderedReady", "Parallel"):
        errors.append(invalid_value("spec.podManagementPolicy", policy, "must be 'OrderedReady' or 'Parallel'"))
    _validate_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy", errors)
    retention = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    for field in ("whenDeleted", "whenScaled"):
        at = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
        checks.optional_choice(retention.get(field), _POLICIES, at, errors)
    for field in ("replicas", "minReadySeconds"):
        checks.not_negative(spec.get(field), f"spec.{field}", errors)
    checks.not_negative((spec.get("ordinals") or {}).get("start"), "spec.ordinals.start", errors)
    workloads.validate_selector(spec.get("selector"), "statefulset", "spec.selector", errors)
    workloads.validate_selected(spec.get("selector"), template, "spec.template", errors)
    claims = spec.get("volumeClaimTemplates") or ()
    for number, claim in enumerate(claims):
        validate_claim_spec(claim.get("spec") or {}, f"spec.volumeClaimTemplates[{number}].spec", errors)
    workloads.validate_workload_template(_with_claims(template, claims), "StatefulSet", "spec.template", errors)
    if spec.get("serviceName"):
        checks.dns_label(spec["serviceName"], "spec.serviceName", errors)
    checks.not_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit", errors)
    return errors


def _with_claims(template: dict[str, Any], claims: Sequence[Fields]) -> dict[str, Any]:
    """The template as its pods will have it: each claim is a volume, in the place of one of the same name."""
    if not claims:
        return template
    claimed = [(claim.get("metadata") or {}).get("name") or "" for claim in claims]
    spec = template.get("spec") or {}
    volumes = [volume for volume in spec.get("volumes") or () if volume.get("name") not in claimed]
    made = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claimed]
    return {**template, "spec": {**spec, "volumes": [*volumes, *made]}}


def _validate_strategy(strategy: Fields, path: str, errors: Errors) -> None:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if not kind:
        errors.append(required(path))
    elif kind == "OnDelete":
        if rolling is not None:
            why = "only allowed for updateStrategy 'RollingUpdate'"
            errors.append(invalid_value(f"{path}.rollingUpdate", rolling, why))
    elif kind != "RollingUpdate":
        errors.append(invalid_value(path, strategy, "must be 'RollingUpdate' or 'OnDelete'"))
    elif rolling is not None:
        path = f"{path}.rollingUpdate"
        checks.not_negative(rolling.get("partition"), f"{path}.partition", errors)
        unavailable = rolling.get("maxUnavailable")
        if unavailable is not None:
            checks.count_or_percent(unavailable, f"{path}.maxUnavailable", errors)
            if checks.count_or_percent_number(unavailable) == 0:
                errors.append(invalid_value(f"{path}.maxUnavailable", unavailable, "cannot be 0"))
            checks.at_most_all(unavailable, f"{path}.maxUnavailable", errors)


def validate_update(stateful_set: Object, old: Object) -> Errors:
    """Most of the spec is what it was: the pods and their claims depend on it."""
    spec, before = stateful_set.get("spec") or {}, old.get("spec") or {}
    rest = {**spec, **{field: before.get(field) for field in _CHANGEABLE}}
    return [] if equal(rest, before) else [forbidden_field("spec", _FORBIDDEN)]


def validate_status(stateful_set: Object, old: Object) -> Errors:
    """Numbers that fit together."""
    errors: Errors = []
    status = stateful_set.get("status") or {}
    others = ("readyReplicas", "currentReplicas", "updatedReplicas", "availableReplicas")
    workloads.validate_counts(status, _COUNTS, others, errors, "status.readyReplicas")
    workloads.validate_collisions(stateful_set, old, errors)
    return errors


def _ready(stateful_set: Object) -> Cell:
    ready = get_path(stateful_set, "status", "readyReplicas", default=0)
    return f"{ready}/{get_path(stateful_set, 'spec', 'replicas', default=0)}"


STRATEGY = Strategy(
    STATEFULSETS,
    default=default,
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    validate_name=names.dns1123_label,
    columns=(
        NAME,
        Column("Ready", _ready, description="Number of the pod with ready state"),
        AGE,
        workloads.CONTAINERS,
        workloads.IMAGES,
    ),
    counts_generations=True,
    scale=Scale(),
)
