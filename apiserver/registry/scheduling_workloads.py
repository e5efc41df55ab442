"""Workloads of scheduling.k8s.io: groups of pods, and how many of each group are placed together or not at all.

Source: kubernetes/pkg/apis/scheduling/validation/validation.go (ValidateWorkload…); https://kep.k8s.io/4671
"""

from __future__ import annotations

from apimachinery.field import duplicate, invalid_value, required, too_many
from apimachinery.meta import Object, get_path
from apimachinery.resources import WORKLOADS
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import immutable
from apiserver.registry.strategy import Strategy, nothing, replace_all

POD_GROUPS_MAX = 8
_POLICIES = ("basic", "gang")
_ONE_POLICY = "exactly one of `basic`, `gang` is required"


def validate(workload: Object) -> Errors:
    """One to eight groups of different names, each with one policy."""
    errors: Errors = []
    reference = get_path(workload, "spec", "controllerRef")
    if reference is not None:
        _validate_reference(reference, "spec.controllerRef", errors)
    groups, path = get_path(workload, "spec", "podGroups") or (), "spec.podGroups"
    if not groups:
        errors.append(required(path, "must have at least one item"))
    elif len(groups) > POD_GROUPS_MAX:
        errors.append(too_many(path, len(groups), POD_GROUPS_MAX))
    else:
        repeated = checks.repeated([group.get("name") or "" for group in groups])
        for number, group in enumerate(groups):
            _validate_group(group, f"{path}[{number}]", errors, is_repeated=number in repeated)
    return errors


def _validate_reference(reference: Fields, path: str, errors: Errors) -> None:
    if reference.get("apiGroup"):
        checks.dns_subdomain(reference["apiGroup"], f"{path}.apiGroup", errors)
    for field in ("kind", "name"):
        checks.required_name(reference.get(field), checks.path_segment, f"{path}.{field}", errors)


def _validate_group(group: Fields, path: str, errors: Errors, *, is_repeated: bool) -> None:
    name, policy = group.get("name") or "", group.get("policy") or {}
    checks.dns_label(name, f"{path}.name", errors)
    if is_repeated:
        errors.append(duplicate(f"{path}.name", name))
    chosen = [f"`{kind}`" for kind in _POLICIES if policy.get(kind) is not None]
    if not chosen:
        errors.append(required(f"{path}.policy", _ONE_POLICY))
    elif len(chosen) > 1:
        why = f"{_ONE_POLICY}, but multiple fields are set"
        errors.append(invalid_value(f"{path}.policy", f"{{{', '.join(chosen)}}}", why))
    elif policy.get("gang") is not None:
        checks.positive(policy["gang"].get("minCount"), f"{path}.policy.gang.minCount", errors)


def validate_update(workload: Object, old: Object) -> Errors:
    """Pods have been placed by what the groups say: that stays, as does whom the Workload was made for."""
    errors: Errors = []
    spec, before = workload.get("spec") or {}, old.get("spec") or {}
    if before.get("controllerRef") is not None:
        immutable(spec.get("controllerRef"), before["controllerRef"], "spec.controllerRef", errors)
    immutable(spec.get("podGroups"), before.get("podGroups"), "spec.podGroups", errors)
    return errors


STRATEGY = Strategy(
    WORKLOADS,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
)
