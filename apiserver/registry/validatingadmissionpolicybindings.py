"""ValidatingAdmissionPolicyBindings: where a policy holds, with which parameters, and what happens then.

Source: kubernetes/pkg/apis/admissionregistration/validation/validation.go and the printers.
"""

from __future__ import annotations

from apimachinery.field import duplicate, forbidden_field, invalid_value, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import VALIDATINGADMISSIONPOLICYBINDINGS
from apiserver.registry import checks
from apiserver.registry.admission_policies import default_match_resources
from apiserver.registry.admission_rules import validate_match_resources
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_label_selector
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, nothing, replace_all
from apiserver.registry.workloads import parsed_selector

ACTIONS = ("Audit", "Deny", "Warn")
_EXCLUSIVE = "name and selector are mutually exclusive"


def default(binding: Object) -> None:
    """Wherever the policy is about."""
    default_match_resources(get_path(binding, "spec", "matchResources"))


def validate(binding: Object) -> Errors:
    """What is wrong with a binding in itself."""
    errors: Errors = []
    spec = binding.get("spec") or {}
    validate_binding(spec, errors)
    actions, path = spec.get("validationActions") or [], "spec.validationActions"
    for number, action in enumerate(actions):
        checks.optional_choice(action, ACTIONS, f"{path}[{number}]", errors)
        if action in actions[:number]:
            errors.append(duplicate(f"{path}[{number}]", action))
    if "Deny" in actions and "Warn" in actions:
        why = (
            "must not contain both Deny and Warn (repeating the same validation failure information in the API "
            "response and headers serves no purpose)"
        )
        errors.append(invalid_value(path, actions, why))
    if not actions:
        errors.append(required(path, "at least one validation action is required"))
    return errors


def validate_binding(spec: Fields, errors: Errors) -> None:
    """Which policy is bound, with what, and where: of both kinds of policies."""
    checks.required_name(spec.get("policyName"), checks.dns_subdomain, "spec.policyName", errors)
    if spec.get("paramRef") is not None:
        _validate_reference(spec["paramRef"], "spec.paramRef", errors)
    if spec.get("matchResources") is not None:
        validate_match_resources(spec["matchResources"], "spec.matchResources", errors)


def _validate_reference(reference: Fields, path: str, errors: Errors) -> None:
    name, selector = reference.get("name"), reference.get("selector")
    if name:
        checks.path_segment(name, f"{path}.name", errors)
        if selector is not None:
            errors += [forbidden_field(f"{path}.{field}", _EXCLUSIVE) for field in ("name", "selector")]
    validate_label_selector(selector, f"{path}.selector", errors)
    if not name and selector is None:
        errors.append(required(path, "one of name or selector must be specified"))
    action = reference.get("parameterNotFoundAction")
    checks.choice(action, ("Allow", "Deny"), f"{path}.parameterNotFoundAction", errors)


def _policy(binding: Object) -> Cell:
    found: str = get_path(binding, "spec", "policyName", default="")
    return found


def _parameters(binding: Object) -> Cell:
    reference = get_path(binding, "spec", "paramRef", default={})
    if reference.get("name"):
        return f"{reference.get('namespace') or '*'}/{reference['name']}"
    selector = reference.get("selector")
    parsed = parsed_selector(selector) if selector is not None else None
    return "<unset>" if parsed is None else str(parsed)


COLUMNS = (
    NAME,
    Column(
        "PolicyName",
        _policy,
        description="PolicyName indicates the policy definition which the policy binding binded to",
    ),
    Column(
        "ParamRef",
        _parameters,
        description="ParamRef indicates the param resource which sets the configuration param",
    ),
    AGE,
)

STRATEGY = Strategy(
    VALIDATINGADMISSIONPOLICYBINDINGS,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    columns=COLUMNS,
    counts_generations=True,
    unconditional_update=False,
)
