"""Deployments.

Source: kubernetes/pkg/apis/apps/v1/defaults.go, validation/validation.go and pkg/registry/apps/deployment.
"""

from __future__ import annotations

from typing import Any

from apimachinery.field import forbidden_field, invalid_value, not_supported, required
from apimachinery.meta import Object, get_path
from apimachinery.pod_defaults import default_template
from apimachinery.resources import DEPLOYMENTS
from apiserver.registry import checks, workloads
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import equal, immutable
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Scale, Strategy, keep_spec, keep_status

HISTORY_LIMIT = 10
PROGRESS_DEADLINE_SECONDS = 600
QUARTER = "25%"
_COUNTS = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas")


def default(deployment: Object) -> None:
    """One replica, replaced a quarter at a time."""
    spec = deployment.setdefault("spec", {})
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    if spec.get("strategy") is None:
        spec["strategy"] = {}
    strategy = spec["strategy"]
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        for field in ("maxUnavailable", "maxSurge"):
            if rolling.get(field) is None:
                rolling[field] = QUARTER
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = HISTORY_LIMIT
    if spec.get("progressDeadlineSeconds") is None:
        spec["progressDeadlineSeconds"] = PROGRESS_DEADLINE_SECONDS
    if spec.get("template") is not None:
        default_template(spec["template"])


def prepare_update(deployment: Object, old: Object) -> None:
    """Annotations count as a change too: they are copied to the ReplicaSets."""
    keep_status(deployment, old)
    metadata, before = deployment["metadata"], old["metadata"]
    if not equal(metadata.get("annotations"), before.get("annotations")):
        metadata["generation"] = (before.get("generation") or 0) + 1


def prepare_status(deployment: Object, old: Object) -> None:
    """With the status annotations may be changed, but no labels."""
    keep_spec(deployment, old)
    deployment["metadata"].pop("labels", None)
    if "labels" in old["metadata"]:
        deployment["metadata"]["labels"] = old["metadata"]["labels"]


def validate(deployment: Object) -> Errors:
    """What is wrong with a Deployment in itself."""
    errors: Errors = []
    spec = deployment.get("spec") or {}
    template: dict[str, Any] = spec.get("template") or {}
    checks.not_negative(spec.get("replicas"), "spec.replicas", errors)
    workloads.validate_selector(spec.get("selector"), "deployment", "spec.selector", errors)
    workloads.validate_selected(spec.get("selector"), template, "spec.template", errors)
    workloads.validate_workload_template(template, "ReplicaSet", "spec.template", errors)
    _validate_strategy(spec.get("strategy") or {}, "spec.strategy", errors)
    for field in ("minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"):
        checks.not_negative(spec.get(field), f"spec.{field}", errors)
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= (spec.get("minReadySeconds") or 0):
        why = "must be greater than minReadySeconds"
        errors.append(invalid_value("spec.progressDeadlineSeconds", deadline, why))
    return errors


def _validate_strategy(strategy: Fields, path: str, errors: Errors) -> None:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    if kind == "Recreate":
        if rolling is not None:
            why = "may not be specified when strategy `type` is 'Recreate'"
            errors.append(forbidden_field(f"{path}.rollingUpdate", why))
    elif kind == "RollingUpdate":
        if rolling is None:
            errors.append(required(f"{path}.rollingUpdate", "this should be defaulted and never be nil"))
        else:
            _validate_rolling(rolling, f"{path}.rollingUpdate", errors)
    else:
        errors.append(not_supported(path, strategy, ("Recreate", "RollingUpdate")))


def _validate_rolling(rolling: Fields, path: str, errors: Errors) -> None:
    unavailable, surge = rolling.get("maxUnavailable"), rolling.get("maxSurge")
    checks.count_or_percent(unavailable, f"{path}.maxUnavailable", errors)
    checks.count_or_percent(surge, f"{path}.maxSurge", errors)
    if checks.count_or_percent_number(unavailable) == 0 and checks.count_or_percent_number(surge) == 0:
        why = "may not be 0 when `maxSurge` is 0"
        errors.append(invalid_value(f"{path}.maxUnavailable", unavailable, why))
    checks.at_most_all(unavailable, f"{path}.maxUnavailable", errors)


def validate_update(deployment: Object, old: Object) -> Errors:
    """The selector is what it was."""
    errors: Errors = []
    selector, before = get_path(deployment, "spec", "selector"), get_path(old, "spec", "selector")
    immutable(selector, before, "spec.selector", errors)
    return errors


def validate_status(deployment: Object, old: Object) -> Errors:
    """Numbers that fit together."""
    errors: Errors = []
    status = deployment.get("status") or {}
    workloads.validate_counts(status, _COUNTS, ("updatedReplicas", "readyReplicas", "availableReplicas"), errors)
    workloads.validate_collisions(deployment, old, errors)
    return errors


def _ready(deployment: Object) -> Cell:
    ready = get_path(deployment, "status", "readyReplicas", default=0)
    return f"{ready}/{get_path(deployment, 'spec', 'replicas', default=0)}"


STRATEGY = Strategy(
    DEPLOYMENTS,
    default=default,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    columns=(
        NAME,
        Column("Ready", _ready, description="Number of the pod with ready state"),
        Column(
            "Up-to-date",
            workloads.number("status", "updatedReplicas"),
            description="The number of pods that are made from the newest template.",
        ),
        Column(
            "Available",
            workloads.number("status", "availableReplicas"),
            description="The number of pods that have been ready for minReadySeconds.",
        ),
        AGE,
        workloads.CONTAINERS,
        workloads.IMAGES,
        workloads.SELECTOR,
    ),
    counts_generations=True,
    scale=Scale(),
    status_resets=("spec", "metadata.labels"),
)
