"""Leases.

Source: kubernetes/pkg/apis/coordination/validation/validation.go.
"""

from __future__ import annotations

from apimachinery.field import invalid_value, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import LEASES
from apiserver.registry import checks
from apiserver.registry.checks import Errors
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, nothing, replace_all

_STRATEGIES = ("OldestEmulationVersion",)


def validate(lease: Object) -> Errors:
    """A duration that is one, and a count."""
    errors: Errors = []
    spec = lease.get("spec") or {}
    duration = spec.get("leaseDurationSeconds")
    if duration is not None and duration <= 0:
        errors.append(invalid_value("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    transitions = spec.get("leaseTransitions")
    if transitions is not None and transitions < 0:
        why = "must be greater than or equal to 0"
        errors.append(invalid_value("spec.leaseTransitions", transitions, why))
    strategy = spec.get("strategy")
    if strategy is not None and "/" not in strategy:
        checks.optional_choice(strategy, _STRATEGIES, "spec.strategy", errors)
    if spec.get("preferredHolder") and not strategy:
        why = "strategy must be specified if preferredHolder is specified"
        errors.append(required("spec.strategy", why))
    return errors


def _holder(lease: Object) -> Cell:
    found: str = get_path(lease, "spec", "holderIdentity", default="")
    return found


STRATEGY = Strategy(
    LEASES,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    columns=(NAME, Column("Holder", _holder, description="Who has the lease."), AGE),
    create_on_update=True,
    unconditional_update=False,
)
