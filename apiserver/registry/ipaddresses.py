"""IPAddresses: each stands for one address of a Service, and is called by it.

Source: kubernetes/pkg/apis/networking/validation/validation.go, pkg/apis/networking/v1/conversion, the printers.
"""

from __future__ import annotations

from apimachinery.field import required
from apimachinery.meta import Object, get_path
from apimachinery.resources import IPADDRESSES
from apiserver.registry import checks
from apiserver.registry.checks import Errors
from apiserver.registry.equality import immutable
from apiserver.registry.strategy import NAME, NONE, Cell, Column, Strategy, nothing, replace_all


def validate(address: Object) -> Errors:
    """Who has it."""
    errors: Errors = []
    parent, path = get_path(address, "spec", "parentRef"), "spec.parentRef"
    if parent is None:
        return [required(path)]
    if parent.get("group"):
        checks.dns_subdomain(parent["group"], f"{path}.group", errors)
    for field in ("resource", "name"):
        checks.required_name(parent.get(field), checks.path_segment, f"{path}.{field}", errors)
    if parent.get("namespace"):
        checks.path_segment(parent["namespace"], f"{path}.namespace", errors)
    return errors


def validate_update(address: Object, old: Object) -> Errors:
    """Who has it keeps it."""
    errors: Errors = []
    parent, before = (get_path(one, "spec", "parentRef") for one in (address, old))
    immutable(parent, before, "spec.parentRef", errors)
    return errors


def _parent(address: Object) -> Cell:
    parent = get_path(address, "spec", "parentRef")
    if parent is None:
        return NONE
    group, resource = parent.get("group"), parent.get("resource") or ""
    steps = (f"{resource}.{group}" if group else resource).lower(), parent.get("namespace"), parent.get("name") or ""
    return "/".join(step for step in steps if step is not None and step != "")


STRATEGY = Strategy(
    IPADDRESSES,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    validate_name=checks.strict_ip_problems,
    columns=(NAME, Column("ParentRef", _parent, description="Who has the address.")),
)
