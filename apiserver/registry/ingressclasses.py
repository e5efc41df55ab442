"""IngressClasses.

Source: kubernetes/pkg/apis/networking/v1/defaults.go, validation/validation.go, pkg/registry/networking/ingressclass.
"""

from __future__ import annotations

from apimachinery.field import forbidden_field, not_supported, required, too_long
from apimachinery.meta import Object, get_path
from apimachinery.resources import INGRESSCLASSES
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import immutable
from apiserver.registry.ingresses import validate_reference
from apiserver.registry.strategy import AGE, NAME, NONE, Cell, Column, Strategy, nothing, replace_all

CONTROLLER_MAX = 250
SCOPES = ("Cluster", "Namespace")


def default(ingress_class: Object) -> None:
    """Parameters belong to the whole cluster."""
    parameters = get_path(ingress_class, "spec", "parameters")
    if parameters is not None and parameters.get("scope") is None:
        parameters["scope"] = "Cluster"


def validate(ingress_class: Object) -> Errors:
    """What is wrong with a class in itself."""
    errors: Errors = []
    spec = ingress_class.get("spec") or {}
    controller = spec.get("controller") or ""
    if len(controller) > CONTROLLER_MAX:
        errors.append(too_long("spec.controller", CONTROLLER_MAX))
    checks.domain_path(controller, "spec.controller", errors)
    if spec.get("parameters") is not None:
        _validate_parameters(spec["parameters"], "spec.parameters", errors)
    return errors


def _validate_parameters(parameters: Fields, path: str, errors: Errors) -> None:
    validate_reference(parameters, path, errors)
    scope, namespace = parameters.get("scope"), parameters.get("namespace")
    if scope is None:
        errors.append(required(f"{path}.scope"))
    elif scope not in SCOPES:
        errors.append(not_supported(f"{path}.scope", scope, SCOPES))
    elif scope == "Namespace":
        if namespace is None:
            errors.append(required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
        else:
            checks.dns_label(namespace, f"{path}.namespace", errors)
    elif namespace is not None:
        errors.append(forbidden_field(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))


def validate_update(ingress_class: Object, old: Object) -> Errors:
    """Who implements it stays."""
    errors: Errors = []
    controller, before = (get_path(one, "spec", "controller") for one in (ingress_class, old))
    immutable(controller, before, "spec.controller", errors)
    return errors


def _controller(ingress_class: Object) -> Cell:
    found: str = get_path(ingress_class, "spec", "controller", default="")
    return found


def _parameters(ingress_class: Object) -> Cell:
    parameters = get_path(ingress_class, "spec", "parameters")
    if parameters is None:
        return NONE
    group = parameters.get("apiGroup")
    kind = parameters.get("kind") or ""
    return f"{kind}{'' if group is None else f'.{group}'}/{parameters.get('name') or ''}"


STRATEGY = Strategy(
    INGRESSCLASSES,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Controller", _controller, description="Controller that is responsible for handling this class"),
        Column("Parameters", _parameters, description="A reference to a resource with additional parameters"),
        AGE,
    ),
    counts_generations=True,
)
