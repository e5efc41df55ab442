"""ReplicaSets.

Source: kubernetes/pkg/apis/apps/v1/defaults.go, validation/validation.go and pkg/registry/apps/replicaset.
"""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object, get_path
from apimachinery.pod_defaults import default_template
from apimachinery.resources import REPLICASETS
from apiserver.registry import checks, workloads
from apiserver.registry.checks import Errors
from apiserver.registry.equality import immutable
from apiserver.registry.strategy import AGE, NAME, Column, Scale, Strategy, keep_spec

COUNTS = ("replicas", "fullyLabeledReplicas", "readyReplicas", "availableReplicas")


def default(replica_set: Object) -> None:
    """One replica."""
    spec = replica_set.setdefault("spec", {})
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    if spec.get("template") is not None:
        default_template(spec["template"])


def validate(replica_set: Object) -> Errors:
    """What is wrong with a ReplicaSet in itself."""
    errors: Errors = []
    spec = replica_set.get("spec") or {}
    template: dict[str, Any] = spec.get("template") or {}
    for field in ("replicas", "minReadySeconds"):
        checks.not_negative(spec.get(field), f"spec.{field}", errors)
    # Kubernetes says `deployment` here as well.
    workloads.validate_selector(spec.get("selector"), "deployment", "spec.selector", errors)
    workloads.validate_selected(spec.get("selector"), template, "spec.template", errors)
    workloads.validate_workload_template(template, "ReplicaSet", "spec.template", errors)
    return errors


def validate_update(replica_set: Object, old: Object) -> Errors:
    """The selector is what it was."""
    errors: Errors = []
    selector, before = get_path(replica_set, "spec", "selector"), get_path(old, "spec", "selector")
    immutable(selector, before, "spec.selector", errors)
    return errors


def validate_status(replica_set: Object, old: Object) -> Errors:
    """Numbers that fit together."""
    errors: Errors = []
    workloads.validate_counts(replica_set.get("status") or {}, COUNTS, COUNTS[1:], errors)
    return errors


STRATEGY = Strategy(
    REPLICASETS,
    default=default,
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    columns=(
        NAME,
        Column(
            "Desired",
            workloads.number("spec", "replicas"),
            type="integer",
            description=workloads.REPLICAS_DESCRIPTION,
        ),
        Column(
            "Current",
            workloads.number("status", "replicas"),
            type="integer",
            description="The number of pods that there are.",
        ),
        Column(
            "Ready",
            workloads.number("status", "readyReplicas"),
            type="integer",
            description="The number of pods that are ready.",
        ),
        AGE,
        workloads.CONTAINERS,
        workloads.IMAGES,
        workloads.SELECTOR,
    ),
    selectable=("status.replicas",),
    counts_generations=True,
    scale=Scale(),
)
