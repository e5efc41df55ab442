"""PodDisruptionBudgets.

Source: kubernetes/pkg/apis/policy/validation/validation.go, pkg/registry/policy/poddisruptionbudget.
"""

from __future__ import annotations

from apimachinery.field import invalid_value
from apimachinery.meta import Object, get_path
from apimachinery.resources import PODDISRUPTIONBUDGETS
from apiserver.registry import checks, workloads
from apiserver.registry.checks import Errors
from apiserver.registry.conditions import validate_conditions
from apiserver.registry.metadata import validate_label_selector
from apiserver.registry.strategy import AGE, NAME, Cell, CellOf, Column, Strategy, keep_spec

POLICIES = ("AlwaysAllow", "IfHealthyBudget")
_COUNTS = ("disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods")


def validate(budget: Object) -> Errors:
    """What is wrong with a budget in itself."""
    errors: Errors = []
    spec = budget.get("spec") or {}
    fields = ("minAvailable", "maxUnavailable")
    if all(spec.get(field) is not None for field in fields):
        errors.append(invalid_value("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for field in fields:
        if spec.get(field) is not None:
            checks.count_or_percent(spec[field], f"spec.{field}", errors)
            checks.at_most_all(spec[field], f"spec.{field}", errors)
    validate_label_selector(spec.get("selector"), "spec.selector", errors)
    policy = spec.get("unhealthyPodEvictionPolicy")
    checks.optional_choice(policy, POLICIES, "spec.unhealthyPodEvictionPolicy", errors)
    return errors


def validate_status(budget: Object, old: Object) -> Errors:
    """Conditions and numbers that can be."""
    errors: Errors = []
    status = budget.get("status") or {}
    validate_conditions(status.get("conditions") or (), "status.conditions", errors)
    for field in _COUNTS:
        checks.not_negative(status.get(field), f"status.{field}", errors)
    return errors


def _bound(field: str) -> CellOf:
    def cell(budget: Object) -> Cell:
        return str(get_path(budget, "spec", field, default="N/A"))

    return cell


STRATEGY = Strategy(
    PODDISRUPTIONBUDGETS,
    prepare_status=keep_spec,
    validate=validate,
    validate_status=validate_status,
    columns=(
        NAME,
        Column(
            "Min Available",
            _bound("minAvailable"),
            description="The minimum number of pods that must be available.",
        ),
        Column(
            "Max Unavailable",
            _bound("maxUnavailable"),
            description="The maximum number of pods that may be unavailable.",
        ),
        Column(
            "Allowed Disruptions",
            workloads.number("status", "disruptionsAllowed"),
            type="integer",
            description="Calculated number of pods that may be disrupted at this time.",
        ),
        AGE,
    ),
    counts_generations=True,
    unconditional_update=False,
)
