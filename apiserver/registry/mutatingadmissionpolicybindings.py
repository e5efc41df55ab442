"""MutatingAdmissionPolicyBindings: where a policy changes requests, and with which parameters.

Source: kubernetes/pkg/apis/admissionregistration/validation/validation.go and the printers.
"""

from __future__ import annotations

from apimachinery.meta import Object, get_path
from apimachinery.resources import MUTATINGADMISSIONPOLICYBINDINGS
from apiserver.registry.checks import Errors
from apiserver.registry.mutatingadmissionpolicies import validate_operations
from apiserver.registry.strategy import Strategy, nothing, replace_all
from apiserver.registry.validatingadmissionpolicybindings import COLUMNS, default, validate_binding


def validate(binding: Object) -> Errors:
    """What is wrong with a binding in itself."""
    errors: Errors = []
    validate_binding(binding.get("spec") or {}, errors)
    rules = get_path(binding, "spec", "matchResources", "resourceRules", default=())
    validate_operations(rules, "spec.matchResources.resourceRules.operations", errors)
    return errors


STRATEGY = Strategy(
    MUTATINGADMISSIONPOLICYBINDINGS,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    columns=COLUMNS,
    counts_generations=True,
    unconditional_update=False,
)
