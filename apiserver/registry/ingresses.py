"""Ingresses.

Source: kubernetes/pkg/apis/networking/validation/validation.go, pkg/registry/networking/ingress, the printers.
"""

from __future__ import annotations

from collections.abc import Sequence

from apimachinery import meta
from apimachinery.field import invalid_value, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import INGRESSES
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.strategy import AGE, NAME, NONE, Cell, Column, Strategy, keep_spec

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
HOSTS_SHOWN_MAX = 3
_FORBIDDEN_INSIDE, _FORBIDDEN_AT_END = ("//", "/./", "/../", "%2f", "%2F"), ("/..", "/.")
_NO_ADDRESS = "must be a DNS name, not an IP address"


def validate(ingress: Object) -> Errors:
    """What is wrong with an ingress in itself."""
    errors: Errors = []
    spec = ingress.get("spec") or {}
    rules, backend = spec.get("rules") or [], spec.get("defaultBackend")
    if not rules and backend is None:
        errors.append(invalid_value("spec", rules, "either `defaultBackend` or `rules` must be specified"))
    if backend is not None:
        _validate_backend(backend, "spec.defaultBackend", errors)
    for number, rule in enumerate(rules):
        _validate_rule(rule, f"spec.rules[{number}]", errors)
    for number, tls in enumerate(spec.get("tls") or ()):
        path = f"spec.tls[{number}]"
        for index, host in enumerate(tls.get("hosts") or ()):
            _validate_host(host, f"{path}.hosts[{index}]", errors)
        if tls.get("secretName"):
            checks.dns_subdomain(tls["secretName"], f"{path}.secretName", errors)
    name = spec.get("ingressClassName")
    if name is not None:
        checks.dns_subdomain(name, "spec.ingressClassName", errors)
        annotated = meta.annotations(ingress).get(CLASS_ANNOTATION)
        # One that is stored has a version; there the two may have come to differ.
        if annotated not in (None, name) and not ingress["metadata"].get("resourceVersion"):
            why = "must match `ingressClassName` when both are specified"
            errors.append(invalid_value(f"annotations.{CLASS_ANNOTATION}", annotated, why))
    return errors


def _validate_host(host: str, path: str, errors: Errors) -> None:
    check = checks.wildcard_subdomain if "*" in host else checks.dns_subdomain
    check(host, path, errors)


def _validate_rule(rule: Fields, path: str, errors: Errors) -> None:
    host = rule.get("host")
    if host:
        if checks.parse_ip(host) is not None:
            errors.append(invalid_value(f"{path}.host", host, _NO_ADDRESS))
        _validate_host(host, f"{path}.host", errors)
    http = rule.get("http")
    if http is None:
        return
    paths = http.get("paths") or ()
    if not paths:
        errors.append(required(f"{path}.http.paths"))
    for number, entry in enumerate(paths):
        _validate_path(entry, f"{path}.http.paths[{number}]", errors)


def _validate_path(entry: Fields, path: str, errors: Errors) -> None:
    kind, value = entry.get("pathType"), entry.get("path") or ""
    if kind is None:
        errors.append(required(f"{path}.pathType", "pathType must be specified"))
        return
    checks.optional_choice(kind, PATH_TYPES, f"{path}.pathType", errors)
    if kind in PATH_TYPES:
        wrong = []
        if not value.startswith("/") and (value or kind != "ImplementationSpecific"):
            wrong.append("must be an absolute path")
        if kind != "ImplementationSpecific":
            wrong += [f"must not contain '{part}'" for part in _FORBIDDEN_INSIDE if part in value]
            wrong += [f"cannot end with '{end}'" for end in _FORBIDDEN_AT_END if value.endswith(end)]
        errors += [invalid_value(f"{path}.path", value, why) for why in wrong]
    _validate_backend(entry.get("backend") or {}, f"{path}.backend", errors)


def _validate_backend(backend: Fields, path: str, errors: Errors) -> None:
    resource, service = backend.get("resource"), backend.get("service")
    if resource is not None and service is not None:
        errors.append(invalid_value(path, "", "cannot set both resource and service backends"))
    elif resource is not None:
        validate_reference(resource, f"{path}.resource", errors)
    elif service is None:
        errors.append(invalid_value(path, "", "resource or service backend is required"))
    else:
        checks.required_name(service.get("name"), checks.service_name, f"{path}.service.name", errors)
        port = service.get("port") or {}
        name, number = port.get("name"), port.get("number")
        if name and number:
            errors.append(invalid_value(path, "", "cannot set both port name & port number"))
        elif name or number:
            at = f"{path}.service.port.{'name' if name else 'number'}"
            checks.port(name or number, at, errors)
        else:
            errors.append(required(path, "port name or number is required"))


def validate_reference(reference: Fields, path: str, errors: Errors) -> None:
    """An object of whatever kind, by its name."""
    if reference.get("apiGroup") is not None:
        checks.dns_subdomain(reference["apiGroup"], f"{path}.apiGroup", errors)
    for field in ("kind", "name"):
        checks.required_name(reference.get(field), checks.path_segment, f"{path}.{field}", errors)


def validate_status(ingress: Object, old: Object) -> Errors:
    """Addresses of the load balancer."""
    errors: Errors = []
    for number, point in enumerate(_points(ingress)):
        path = f"status.loadBalancer.ingress[{number}]"
        if point.get("ip"):
            checks.ip_address(point["ip"], f"{path}.ip", errors)
        if point.get("hostname"):
            checks.dns_subdomain(point["hostname"], f"{path}.hostname", errors)
            if checks.parse_ip(point["hostname"]) is not None:
                errors.append(invalid_value(f"{path}.hostname", point["hostname"], _NO_ADDRESS))
    return errors


def _points(ingress: Object) -> Sequence[Fields]:
    found: Sequence[Fields] = get_path(ingress, "status", "loadBalancer", "ingress", default=())
    return found


def _class(ingress: Object) -> Cell:
    found: str = get_path(ingress, "spec", "ingressClassName", default=NONE)
    return found


def _hosts(ingress: Object) -> Cell:
    rules = get_path(ingress, "spec", "rules", default=())
    hosts = [rule["host"] for rule in rules if rule.get("host")]
    if not hosts:
        return "*"
    text = ",".join(hosts[:HOSTS_SHOWN_MAX])
    # Rules count that come once the list is full, be they of a host or not.
    of_hosts = [number for number, rule in enumerate(rules) if rule.get("host")]
    more = len(hosts) >= HOSTS_SHOWN_MAX and of_hosts[HOSTS_SHOWN_MAX - 1] < len(rules) - 1
    return text if not more else f"{text} + {len(rules) - HOSTS_SHOWN_MAX} more..."


def _address(ingress: Object) -> Cell:
    return ",".join(sorted({point.get("ip") or point.get("hostname") or "" for point in _points(ingress)} - {""}))


def _ports(ingress: Object) -> Cell:
    return "80, 443" if get_path(ingress, "spec", "tls") else "80"


STRATEGY = Strategy(
    INGRESSES,
    prepare_status=keep_spec,
    validate=validate,
    validate_status=validate_status,
    columns=(
        NAME,
        Column(
            "Class",
            _class,
            description="The name of the IngressClass resource that should be used for additional configuration",
        ),
        Column(
            "Hosts",
            _hosts,
            description="Hosts that incoming requests are matched against before the ingress rule",
        ),
        Column(
            "Address",
            _address,
            description="Address is a list containing ingress points for the load-balancer",
        ),
        Column("Ports", _ports, description="Ports of TLS configurations that open"),
        AGE,
    ),
    counts_generations=True,
)
