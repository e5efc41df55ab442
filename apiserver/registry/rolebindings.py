"""RoleBindings: who has a role in one namespace."""

from __future__ import annotations

from apimachinery import names
from apimachinery.meta import Object
from apimachinery.resources import ROLEBINDINGS
from apiserver.registry.checks import Errors
from apiserver.registry.rbac_rules import (
    BINDING_COLUMNS,
    default_binding,
    validate_binding,
    validate_binding_update,
)
from apiserver.registry.strategy import Strategy, nothing, replace_all


def validate(binding: Object) -> Errors:
    """What is wrong with a binding in itself."""
    return validate_binding(binding, ("ClusterRole", "Role"), namespaced=True)


STRATEGY = Strategy(
    ROLEBINDINGS,
    default=default_binding,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_binding_update,
    validate_name=names.path_segment,
    columns=BINDING_COLUMNS,
    create_on_update=True,
)
