"""What is allocated to a Service: addresses, one of each IP family at most, and ports of the nodes.

`clusterIP` is the first of `clusterIPs`, for clients that know the older field only.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidateServiceClusterIPsRelatedFields),
https://kubernetes.io/docs/concepts/services-networking/dual-stack/
"""

from __future__ import annotations

from typing import Any

from apimachinery.field import duplicate, invalid_value, not_supported, required
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields

HEADLESS = "None"
FAMILIES = ("IPv4", "IPv6")
WITH_ADDRESS = ("ClusterIP", "LoadBalancer", "NodePort")
WITH_NODE_PORTS = ("LoadBalancer", "NodePort")
_POLICIES = ("PreferDualStack", "RequireDualStack", "SingleStack")
_FIXED = "may not change once set"


def headless(spec: Fields) -> bool:
    """True for a Service without an address: its name leads to its pods directly."""
    return (spec.get("clusterIPs") or [spec.get("clusterIP")]) == [HEADLESS]


def synchronize(spec: dict[str, Any], old: Fields | None) -> None:
    """Make the older and the newer field say the same; a client may know only one of them."""
    one, many = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if old is None:
        if one and not many:
            spec["clusterIPs"] = [one]
        return
    was, were = old.get("clusterIP") or "", old.get("clusterIPs") or []
    if one != was and (many == were or (one and not many)):
        if one:
            spec["clusterIPs"] = [one]
        else:
            spec.pop("clusterIPs", None)
    elif many != were and one == was:
        if many:
            spec["clusterIP"] = many[0]
        else:
            spec.pop("clusterIP", None)


def externally_accessible(spec: Fields) -> bool:
    """Whether traffic can come from outside of the cluster."""
    return spec.get("type") in WITH_NODE_PORTS or bool(spec.get("type") == "ClusterIP" and spec.get("externalIPs"))


def needs_health_check(spec: Fields) -> bool:
    """Whether a load balancer must find out which nodes have endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def keep_allocated(spec: dict[str, Any], old: Fields) -> None:
    """An update that doesn't repeat an address or a port does not mean to give it up."""
    if spec.get("type") in WITH_ADDRESS and old.get("type") in WITH_ADDRESS:
        if not spec.get("clusterIP") and not spec.get("clusterIPs"):
            spec.update({field: old[field] for field in ("clusterIP", "clusterIPs") if old.get(field)})
        for field in ("ipFamilies", "ipFamilyPolicy"):
            if not spec.get(field) and old.get(field):
                spec[field] = old[field]
    if spec.get("type") in WITH_NODE_PORTS and old.get("type") in WITH_NODE_PORTS:
        used = {port.get("nodePort") for port in spec.get("ports") or ()}
        was = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in old.get("ports") or ()}
        for port in spec.get("ports") or ():
            before = was.get((port.get("protocol"), port.get("port")))
            if not port.get("nodePort") and before and before not in used:
                port["nodePort"] = before
                used.add(before)
    if needs_health_check(spec) and needs_health_check(old) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = old.get("healthCheckNodePort")


def drop_with_type(spec: dict[str, Any], old: Fields) -> None:
    """A field that the new type does not have, and that the update just repeats, is dropped rather than refused."""
    if old.get("type") in WITH_ADDRESS and spec.get("type") not in WITH_ADDRESS:
        _drop_same(spec, old, "clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
    if old.get("type") in WITH_NODE_PORTS and spec.get("type") not in WITH_NODE_PORTS:
        were = {port.get("nodePort") for port in old.get("ports") or ()}
        for port in spec.get("ports") or ():
            if port.get("nodePort") in were:
                port.pop("nodePort", None)
    if needs_health_check(old) and not needs_health_check(spec):
        _drop_same(spec, old, "healthCheckNodePort")
    if old.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        _drop_same(spec, old, "allocateLoadBalancerNodePorts", "loadBalancerClass")
    if externally_accessible(old) and not externally_accessible(spec):
        _drop_same(spec, old, "externalTrafficPolicy")


def _drop_same(spec: dict[str, Any], old: Fields, *fields: str) -> None:
    for field in fields:
        if spec.get(field) == old.get(field):
            spec.pop(field, None)


def validate_addresses(spec: Fields, errors: Errors) -> None:
    """What may be asked for."""
    one, many = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    families = spec.get("ipFamilies") or []
    path = "spec.clusterIPs"
    if one:
        if not many:
            errors.append(required(path))
        elif many[0] != one:
            errors.append(invalid_value(path, many, "first value must match `clusterIP`"))
    elif many:
        errors.append(invalid_value(path, many, "must be empty when `clusterIP` is not specified"))
    repeated = checks.repeated(families)
    for number, family in enumerate(families):
        if family not in FAMILIES:
            errors.append(not_supported(f"spec.ipFamilies[{number}]", family, FAMILIES))
        if number in repeated:
            errors.append(duplicate(f"spec.ipFamilies[{number}]", family))
    checks.optional_choice(spec.get("ipFamilyPolicy"), _POLICIES, "spec.ipFamilyPolicy", errors)
    before = len(errors)
    for number, address in enumerate(many):
        if number == 0 and address == HEADLESS:
            if len(many) > 1:
                errors.append(invalid_value(path, many, "'None' must be the first and only value"))
            continue
        checks.ip_address(address, f"{path}[{number}]", errors)
    if len(many) > 2:
        errors.append(invalid_value(path, many, "may only hold up to 2 values"))
    if len(errors) > before:
        return
    if not checks.one_of_each_family(many):
        errors.append(invalid_value(path, many, "may specify no more than one IP for each IP family"))
    if headless(spec):
        return
    for number, (address, family) in enumerate(zip(many, families, strict=False)):
        if family in FAMILIES and family != family_of(address):
            why = f"expected an {family} value as indicated by `ipFamilies[{number}]`"
            errors.append(invalid_value(f"{path}[{number}]", address, why))


def family_of(address: str) -> str:
    """IPv4 or IPv6."""
    return "IPv6" if ":" in address else "IPv4"


def validate_addresses_update(spec: Fields, old: Fields, errors: Errors) -> None:
    """The first address stays; a second one may be added or given up."""
    if "ExternalName" in (spec.get("type"), old.get("type")):
        return
    if headless(spec) and headless(old):
        return
    many, were = spec.get("clusterIPs") or [], old.get("clusterIPs") or []
    _validate_kept(many, were, "clusterIPs", "clusterIP", spec, errors)
    if headless(spec) != headless(old):
        return
    families, before = spec.get("ipFamilies") or [], old.get("ipFamilies") or []
    _validate_kept(families, before, "ipFamilies", "ipFamily", spec, errors)


def _validate_kept(new: list[str], old: list[str], field: str, one: str, spec: Fields, errors: Errors) -> None:
    path = f"spec.{field}[0]"
    if len(new) == len(old):
        for number, (value, was) in enumerate(zip(new, old, strict=True)):
            if value != was:
                errors.append(invalid_value(f"spec.{field}[{number}]", new, _FIXED))
        return
    if old and not new:
        errors.append(invalid_value(path, new, f"primary {one} can not be unset"))
    elif old and new[0] != old[0]:
        errors.append(invalid_value(path, new, _FIXED))
    if len(new) == 1 and len(old) > 1 and spec.get("ipFamilyPolicy") != "SingleStack":
        why = f"must be set to 'SingleStack' when releasing the secondary {one}"
        errors.append(invalid_value("spec.ipFamilyPolicy", spec.get("ipFamilyPolicy"), why))
