"""Endpoints.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidateEndpoints) and the printers.
"""

from __future__ import annotations

from apimachinery.field import required
from apimachinery.meta import Object
from apimachinery.resources import ENDPOINTS
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, nothing, replace_all

_SHOWN_MAX = 3


def default(endpoints: Object) -> None:
    """Ports are TCP."""
    for subset in endpoints.get("subsets") or ():
        for port in subset.get("ports") or ():
            if not port.get("protocol"):
                port["protocol"] = "TCP"


def validate(endpoints: Object) -> Errors:
    """Addresses that can be reached, and ports."""
    errors: Errors = []
    for number, subset in enumerate(endpoints.get("subsets") or ()):
        path = f"subsets[{number}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            errors.append(required(path, "must specify `addresses` or `notReadyAddresses`"))
        for field in ("addresses", "notReadyAddresses"):
            for index, address in enumerate(subset.get(field) or ()):
                _validate_address(address, f"{path}.{field}[{index}]", errors)
        ports = subset.get("ports") or ()
        for index, port in enumerate(ports):
            _validate_port(port, f"{path}.ports[{index}]", errors, named=len(ports) > 1)
    return errors


def _validate_address(address: Fields, path: str, errors: Errors) -> None:
    ip = address.get("ip") or ""
    checks.ip_address(ip, f"{path}.ip", errors)
    if address.get("hostname"):
        checks.dns_label(address["hostname"], f"{path}.hostname", errors)
    if address.get("nodeName") is not None:
        checks.dns_subdomain(address["nodeName"], f"{path}.nodeName", errors)
    checks.reachable_address(ip, f"{path}.ip", errors)


def _validate_port(port: Fields, path: str, errors: Errors, *, named: bool) -> None:
    name = port.get("name") or ""
    if named or name:
        checks.required_name(name, checks.dns_label, f"{path}.name", errors)
    checks.port_number(port.get("port") or 0, f"{path}.port", errors)
    checks.protocol(port.get("protocol"), f"{path}.protocol", errors)
    if port.get("appProtocol") is not None:
        checks.qualified_name(port["appProtocol"], f"{path}.appProtocol", errors)


def _addresses(endpoints: Object) -> Cell:
    """The first few, as `10.0.0.1:80,10.0.0.2:80 + 3 more...`."""
    subsets = endpoints.get("subsets") or ()
    if not subsets:
        return "<none>"
    listed = []
    for subset in subsets:
        found = [address.get("ip") or "" for address in subset.get("addresses") or ()]
        if not subset.get("ports"):
            listed += found
        for port in subset.get("ports") or ():
            shown = (f"[{ip}]" if ":" in ip else ip for ip in found)
            listed += [f"{ip}:{port.get('port') or 0}" for ip in shown]
    text = ",".join(listed[:_SHOWN_MAX])
    return f"{text} + {len(listed) - _SHOWN_MAX} more..." if len(listed) > _SHOWN_MAX else text


STRATEGY = Strategy(
    ENDPOINTS,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    columns=(NAME, Column("Endpoints", _addresses, description="The addresses that are ready."), AGE),
    create_on_update=True,
)
