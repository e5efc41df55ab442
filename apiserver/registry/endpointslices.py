"""EndpointSlices.

Source: kubernetes/pkg/apis/discovery/v1/defaults.go, validation/validation.go, pkg/registry/discovery/endpointslice.
"""

from __future__ import annotations

from collections.abc import Sequence

from apimachinery import meta, names
from apimachinery.field import duplicate, invalid_value, not_supported, required, too_many
from apimachinery.meta import Object
from apimachinery.resources import ENDPOINTSLICES
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import immutable
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy

ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
ENDPOINTS_MAX, ADDRESSES_MAX, PORTS_MAX = 1000, 100, 20000
HINTS_MAX = {"forZones": 8, "forNodes": 8}
SHOWN_MAX = 3
_FULL_NAME_LABELS_MIN = 2


def default(endpoint_slice: Object) -> None:
    """Ports are TCP and, alone, without a name."""
    if endpoint_slice.get("endpoints") is None:
        endpoint_slice["endpoints"] = []
    for port in endpoint_slice.get("ports") or ():
        if port.get("name") is None:
            port["name"] = ""
        if port.get("protocol") is None:
            port["protocol"] = "TCP"


def _drop_topology(endpoint_slice: Object) -> None:
    """A field of the beta version, which this one only ever shows."""
    for endpoint in endpoint_slice.get("endpoints") or ():
        endpoint.pop("deprecatedTopology", None)


def prepare_create(endpoint_slice: Object) -> None:
    """What is not kept is dropped."""
    _drop_topology(endpoint_slice)


def prepare_update(endpoint_slice: Object, old: Object) -> None:
    """Labels count as a change too: they say whose endpoints these are."""
    _drop_topology(endpoint_slice)
    if meta.labels(endpoint_slice) != meta.labels(old):
        before = old["metadata"].get("generation") or 0
        endpoint_slice["metadata"]["generation"] = before + 1


def validate(endpoint_slice: Object) -> Errors:
    """What is wrong with a slice in itself."""
    errors: Errors = []
    kind = endpoint_slice.get("addressType") or ""
    checks.choice(kind, ADDRESS_TYPES, "addressType", errors)
    _validate_ports(endpoint_slice.get("ports") or (), errors)
    endpoints = endpoint_slice.get("endpoints") or ()
    if len(endpoints) > ENDPOINTS_MAX:
        errors.append(too_many("endpoints", len(endpoints), ENDPOINTS_MAX))
        return errors
    for number, endpoint in enumerate(endpoints):
        _validate_endpoint(endpoint, kind, f"endpoints[{number}]", errors)
    return errors


def _validate_ports(ports: Sequence[Fields], errors: Errors) -> None:
    if len(ports) > PORTS_MAX:
        errors.append(too_many("ports", len(ports), PORTS_MAX))
        return
    seen: set[str] = set()
    for number, port in enumerate(ports):
        path, name, protocol = f"ports[{number}]", port.get("name") or "", port.get("protocol")
        if name:
            checks.dns_label(name, f"{path}.name", errors)
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        seen.add(name)
        if protocol is None:
            errors.append(required(f"{path}.protocol"))
        elif protocol not in checks.PROTOCOLS:
            errors.append(not_supported(f"{path}.protocol", protocol, checks.PROTOCOLS))
        if port.get("appProtocol") is not None:
            checks.qualified_name(port["appProtocol"], f"{path}.appProtocol", errors)


def _validate_endpoint(endpoint: Fields, kind: str, path: str, errors: Errors) -> None:
    addresses, at = endpoint.get("addresses") or (), f"{path}.addresses"
    if not addresses:
        errors.append(required(at, "must contain at least 1 address"))
    elif len(addresses) > ADDRESSES_MAX:
        errors.append(too_many(at, len(addresses), ADDRESSES_MAX))
    for number, address in enumerate(addresses):
        _validate_address(address, kind, f"{at}[{number}]", at, errors)
    if endpoint.get("nodeName") is not None:
        checks.dns_subdomain(endpoint["nodeName"], f"{path}.nodeName", errors)
    if endpoint.get("hostname") is not None:
        checks.dns_label(endpoint["hostname"], f"{path}.hostname", errors)
    hints = endpoint.get("hints") or {}
    for field, maximum in HINTS_MAX.items():
        _validate_hints(hints.get(field) or (), field, maximum, f"{path}.hints.{field}", errors)


def _validate_address(address: str, kind: str, path: str, list_path: str, errors: Errors) -> None:
    if kind == "FQDN":
        _validate_full_name(address, path, errors)
    if kind not in ("IPv4", "IPv6"):
        return
    before = len(errors)
    # The newer family has never been accepted in other forms.
    check = checks.ip_address if kind == "IPv4" else checks.strict_ip_address
    check(address, path, errors)
    if len(errors) > before:
        return
    if (":" in address) != (kind == "IPv6"):
        errors.append(invalid_value(list_path, address, f"must be an {kind} address"))
    checks.reachable_address(address, path, errors)


def _validate_full_name(name: str, path: str, errors: Errors) -> None:
    if not name:
        errors.append(required(path))
        return
    name = name.removesuffix(".")
    if problems := names.dns1123_subdomain(name):
        errors.append(invalid_value(path, name, ",".join(problems)))
    elif len(name.split(".")) < _FULL_NAME_LABELS_MIN:
        why = "should be a domain with at least two segments separated by dots"
        errors.append(invalid_value(path, name, why))


def _validate_hints(hints: Sequence[Fields], field: str, maximum: int, path: str, errors: Errors) -> None:
    if len(hints) > maximum:
        errors.append(too_many(path, len(hints), maximum))
        return
    problems = names.label_value if field == "forZones" else names.dns1123_subdomain
    seen: set[str] = set()
    for number, hint in enumerate(hints):
        at, name = f"{path}[{number}].name", hint.get("name") or ""
        if name in seen:
            errors.append(duplicate(at, name))
        seen.add(name)
        errors += [invalid_value(at, name, why) for why in problems(name)]


def validate_update(endpoint_slice: Object, old: Object) -> Errors:
    """The type of the addresses stays."""
    errors: Errors = []
    immutable(endpoint_slice.get("addressType"), old.get("addressType"), "addressType", errors)
    return errors


def _some(listed: list[str]) -> str:
    if not listed:
        return "<unset>"
    text = ",".join(listed[:SHOWN_MAX])
    return f"{text} + {len(listed) - SHOWN_MAX} more..." if len(listed) > SHOWN_MAX else text


def _kind(endpoint_slice: Object) -> Cell:
    return endpoint_slice.get("addressType") or ""


def _ports(endpoint_slice: Object) -> Cell:
    ports = endpoint_slice.get("ports") or ()
    return _some([str(port["port"] if port.get("port") is not None else port.get("name", "*")) for port in ports])


def _endpoints(endpoint_slice: Object) -> Cell:
    endpoints = endpoint_slice.get("endpoints") or ()
    return _some([address for endpoint in endpoints for address in endpoint.get("addresses") or ()])


STRATEGY = Strategy(
    ENDPOINTSLICES,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("AddressType", _kind, description="The type of the addresses."),
        Column("Ports", _ports, description="The ports at which the endpoints answer."),
        Column("Endpoints", _endpoints, description="The addresses."),
        AGE,
    ),
    counts_generations=True,
)
