"""NetworkPolicies.

Source: kubernetes/pkg/apis/networking/v1/defaults.go, validation/validation.go and the printers.
"""

from __future__ import annotations

import ipaddress

from apimachinery.field import forbidden_field, invalid_value, not_supported, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import NETWORKPOLICIES
from apiserver.registry import checks, workloads
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_label_selector
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, nothing, replace_all

TYPES = ("Egress", "Ingress")
# The rules for each direction, and their field for who is on the other side.
DIRECTIONS = (("ingress", "from"), ("egress", "to"))
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def default(policy: Object) -> None:
    """Of what comes in, and of what goes out if there are rules for it; ports are TCP."""
    spec = policy.setdefault("spec", {})
    if not spec.get("policyTypes"):
        spec["policyTypes"] = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    for direction, _ in DIRECTIONS:
        for rule in spec.get(direction) or ():
            for port in rule.get("ports") or ():
                if port.get("protocol") is None:
                    port["protocol"] = "TCP"


def validate(policy: Object) -> Errors:
    """What is wrong with a policy in itself."""
    errors: Errors = []
    spec = policy.get("spec") or {}
    validate_label_selector(spec.get("podSelector"), "spec.podSelector", errors)
    for direction, other_side in DIRECTIONS:
        for number, rule in enumerate(spec.get(direction) or ()):
            path = f"spec.{direction}[{number}]"
            for index, port in enumerate(rule.get("ports") or ()):
                _validate_port(port, f"{path}.ports[{index}]", errors)
            for index, peer in enumerate(rule.get(other_side) or ()):
                _validate_peer(peer, f"{path}.{other_side}[{index}]", errors)
    types = spec.get("policyTypes") or []
    if len(types) > len(TYPES):
        errors.append(invalid_value("spec.policyTypes", types, "may not specify more than two policyTypes"))
        return errors
    for number, kind in enumerate(types):
        checks.optional_choice(kind, TYPES, f"spec.policyTypes[{number}]", errors)
    return errors


def _validate_port(port: Fields, path: str, errors: Errors) -> None:
    number, end, protocol = port.get("port"), port.get("endPort"), port.get("protocol")
    if protocol is not None and protocol not in checks.PROTOCOLS:
        errors.append(not_supported(f"{path}.protocol", protocol, checks.PROTOCOLS))
    if number is not None:
        checks.port(number, f"{path}.port", errors)
    if end is None:
        return
    if number is None:
        errors.append(invalid_value(f"{path}.endPort", end, "may not be specified when `port` is not specified"))
    elif isinstance(number, str):
        errors.append(invalid_value(f"{path}.endPort", end, "may not be specified when `port` is non-numeric"))
    else:
        if end < number:
            errors.append(invalid_value(f"{path}.endPort", number, "must be greater than or equal to `port`"))
        checks.port_number(end, f"{path}.endPort", errors)


def _validate_peer(peer: Fields, path: str, errors: Errors) -> None:
    selectors = [field for field in ("podSelector", "namespaceSelector") if peer.get(field) is not None]
    for field in selectors:
        validate_label_selector(peer[field], f"{path}.{field}", errors)
    block = peer.get("ipBlock")
    if block is not None:
        _validate_block(block, f"{path}.ipBlock", errors)
        if selectors:
            errors.append(forbidden_field(path, "may not specify both ipBlock and another peer"))
    elif not selectors:
        errors.append(required(path, "must specify a peer"))


def _validate_block(block: Fields, path: str, errors: Errors) -> None:
    if not block.get("cidr"):
        errors.append(required(f"{path}.cidr"))
        return
    network = _network(block["cidr"], f"{path}.cidr", errors)
    if network is None:
        return
    for number, text in enumerate(block.get("except") or ()):
        at = f"{path}.except[{number}]"
        part = _network(text, at, errors)
        if part is not None and not _is_part(part, network):
            errors.append(invalid_value(at, text, "must be a strict subset of `cidr`"))


def _network(text: str, path: str, errors: Errors) -> Network | None:
    before = len(errors)
    checks.cidr(text, path, errors)
    address, _, bits = text.partition("/")
    parsed = checks.parse_ip(address)
    if len(errors) > before or parsed is None:
        return None
    return ipaddress.ip_network(f"{parsed}/{int(bits)}", strict=False)


def _is_part(part: Network, network: Network) -> bool:
    return part.version == network.version and part.prefixlen > network.prefixlen and part.network_address in network


def _selector(policy: Object) -> Cell:
    return workloads.selector_text({"spec": {"selector": get_path(policy, "spec", "podSelector", default={})}})


STRATEGY = Strategy(
    NETWORKPOLICIES,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    columns=(NAME, Column("Pod-Selector", _selector, description="The labels of the pods that it is about."), AGE),
    counts_generations=True,
)
