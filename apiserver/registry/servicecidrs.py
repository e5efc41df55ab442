"""ServiceCIDRs: the networks from which Services get their addresses.

Source: kubernetes/pkg/apis/networking/validation/validation.go, pkg/registry/networking/servicecidr.
"""

from __future__ import annotations

from apimachinery.field import invalid_value, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import SERVICECIDRS
from apiserver.registry import checks
from apiserver.registry.checks import Errors
from apiserver.registry.metadata import IMMUTABLE
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, nothing

_PATH = "spec.cidrs"


def validate(service_cidr: Object) -> Errors:
    """One network, or one of each IP family."""
    errors: Errors = []
    networks = get_path(service_cidr, "spec", "cidrs", default=[])
    if not networks:
        return [required(_PATH, "at least one CIDR required")]
    if len(networks) > 2:
        return [invalid_value(_PATH, networks, "may only hold up to 2 values")]
    for number, network in enumerate(networks):
        checks.strict_cidr(network, f"{_PATH}[{number}]", errors)
    if not errors and not checks.one_of_each_family(networks):
        why = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
        errors.append(invalid_value(_PATH, networks, why))
    return errors


def validate_update(service_cidr: Object, old: Object) -> Errors:
    """A second network may join; else they stay."""
    networks, before = (get_path(one, "spec", "cidrs", default=[]) for one in (service_cidr, old))
    if len(networks) != len(before) and (len(before), len(networks)) != (1, 2):
        return [invalid_value(_PATH, networks, IMMUTABLE)]
    pairs = enumerate(zip(networks, before, strict=False))
    return [invalid_value(f"{_PATH}[{number}]", new, IMMUTABLE) for number, (new, was) in pairs if new != was]


def _networks(service_cidr: Object) -> Cell:
    return ",".join(get_path(service_cidr, "spec", "cidrs", default=()))


STRATEGY = Strategy(
    SERVICECIDRS,
    prepare_create=nothing,
    validate=validate,
    validate_update=validate_update,
    columns=(NAME, Column("CIDRs", _networks, description="The networks."), AGE),
    status_resets=("spec", "metadata"),
)
