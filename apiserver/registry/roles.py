"""Roles: what may be done in one namespace. Who may grant it is checked at admission."""

from __future__ import annotations

from apimachinery import names
from apimachinery.meta import Object
from apimachinery.resources import ROLES
from apiserver.registry.checks import Errors
from apiserver.registry.rbac_rules import validate_rules
from apiserver.registry.strategy import Strategy, nothing, replace_all


def validate(role: Object) -> Errors:
    """What is wrong with a role in itself."""
    errors: Errors = []
    validate_rules(role.get("rules") or (), errors, namespaced=True)
    return errors


STRATEGY = Strategy(
    ROLES,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_name=names.path_segment,
    create_on_update=True,
)
