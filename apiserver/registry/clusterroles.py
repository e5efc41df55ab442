"""ClusterRoles: what may be done in the whole cluster, or in each namespace for which it is granted.

One with an aggregationRule gets the rules of others from a controller.
"""

from __future__ import annotations

from apimachinery import names
from apimachinery.field import required
from apimachinery.meta import Object
from apimachinery.resources import CLUSTERROLES
from apiserver.registry.checks import Errors
from apiserver.registry.metadata import validate_label_selector
from apiserver.registry.rbac_rules import validate_rules
from apiserver.registry.strategy import Strategy, nothing, replace_all


def validate(role: Object) -> Errors:
    """What is wrong with a role in itself."""
    errors: Errors = []
    validate_rules(role.get("rules") or (), errors, namespaced=False)
    aggregation = role.get("aggregationRule")
    if aggregation is not None:
        path, selectors = "aggregationRule.clusterRoleSelectors", aggregation.get("clusterRoleSelectors") or ()
        if not selectors:
            why = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            errors.append(required(path, why))
        for number, selector in enumerate(selectors):
            validate_label_selector(selector, f"{path}[{number}]", errors)
    return errors


STRATEGY = Strategy(
    CLUSTERROLES,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_name=names.path_segment,
    create_on_update=True,
)
