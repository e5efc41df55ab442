"""Services.

A Service's addresses and node ports are found by the admission plugin ServiceAddresses; here is what they may be.

Source: kubernetes/pkg/apis/core/v1/defaults.go, pkg/apis/core/validation/validation.go (ValidateService),
pkg/registry/core/service, the printers.
"""

from __future__ import annotations

from collections.abc import Sequence

from apimachinery import names
from apimachinery.field import duplicate, forbidden_field, invalid_value, not_supported, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import SERVICES
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_labels
from apiserver.registry.service_addresses import (
    WITH_ADDRESS,
    WITH_NODE_PORTS,
    drop_with_type,
    externally_accessible,
    headless,
    keep_allocated,
    needs_health_check,
    synchronize,
    validate_addresses,
    validate_addresses_update,
)
from apiserver.registry.strategy import (
    AGE,
    NAME,
    NONE,
    UNKNOWN,
    Cell,
    Column,
    Strategy,
    keep_spec,
    keep_status,
    labels_text,
)

TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
AFFINITY_SECONDS, AFFINITY_SECONDS_MAX = 10800, 86400
_DISTRIBUTIONS = ("PreferClose", "PreferSameNode", "PreferSameZone")


def default(service: Object) -> None:
    """Reachable in the cluster, each connection on its own."""
    spec = service.setdefault("spec", {})
    if not spec.get("type"):
        spec["type"] = "ClusterIP"
    if not spec.get("sessionAffinity"):
        spec["sessionAffinity"] = "None"
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP" and (
        get_path(spec, "sessionAffinityConfig", "clientIP", "timeoutSeconds") is None
    ):
        spec["sessionAffinityConfig"] = {"clientIP": {"timeoutSeconds": AFFINITY_SECONDS}}
    for port in spec.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port")
    if externally_accessible(spec) and not spec.get("externalTrafficPolicy"):
        spec["externalTrafficPolicy"] = "Cluster"
    if spec.get("internalTrafficPolicy") is None and spec["type"] in WITH_ADDRESS:
        spec["internalTrafficPolicy"] = "Cluster"
    if spec["type"] == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is None:
        spec["allocateLoadBalancerNodePorts"] = True
    for ingress in get_path(service, "status", "loadBalancer", "ingress", default=()):
        if spec["type"] == "LoadBalancer" and ingress.get("ip") and ingress.get("ipMode") is None:
            ingress["ipMode"] = "VIP"


def prepare_create(service: Object) -> None:
    """No load balancer has an address for it yet."""
    service["status"] = {"loadBalancer": {}}
    synchronize(service["spec"], None)


def prepare_update(service: Object, old: Object) -> None:
    """The status is changed apart; what has been allocated stays, and goes with the type that had it."""
    keep_status(service, old)
    spec, before = service["spec"], old.get("spec") or {}
    synchronize(spec, before)
    keep_allocated(spec, before)
    drop_with_type(spec, before)
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        service["status"] = {"loadBalancer": {}}


def validate(service: Object) -> Errors:
    """What is wrong with a Service in itself."""
    errors: Errors = []
    spec = service.get("spec") or {}
    kind, ports = spec.get("type") or "", spec.get("ports") or ()
    if not ports and not headless(spec) and kind != "ExternalName":
        errors.append(required("spec.ports"))
    if kind in WITH_NODE_PORTS and headless(spec):
        errors.append(invalid_value("spec.clusterIPs[0]", "None", f"may not be set to 'None' for {kind} services"))
    if kind == "ExternalName":
        _validate_external_name(spec, errors)
    _validate_ports(ports, errors)
    if spec.get("selector"):
        validate_labels(spec["selector"], "spec.selector", errors)
    _validate_affinity(spec, errors)
    if kind != "ExternalName":
        validate_addresses(spec, errors)
    for number, address in enumerate(spec.get("externalIPs") or ()):
        before = len(errors)
        checks.ip_address(address, f"spec.externalIPs[{number}]", errors)
        if len(errors) == before:
            checks.reachable_address(address, f"spec.externalIPs[{number}]", errors)
    checks.choice(kind, TYPES, "spec.type", errors)
    _validate_node_ports(kind, ports, errors)
    _validate_load_balancer(spec, errors)
    _validate_traffic(spec, errors)
    return errors


def _validate_external_name(spec: Fields, errors: Errors) -> None:
    for field in ("clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if spec.get(field):
            errors.append(forbidden_field(f"spec.{field}", "may not be set for ExternalName services"))
    name = (spec.get("externalName") or "").removesuffix(".")
    checks.required_name(name, checks.dns_subdomain, "spec.externalName", errors)


def _validate_ports(ports: Sequence[Fields], errors: Errors) -> None:
    seen: set[str] = set()
    for number, port in enumerate(ports):
        path, name = f"spec.ports[{number}]", port.get("name") or ""
        if name or len(ports) > 1:
            checks.required_name(name, checks.dns_label, f"{path}.name", errors)
        if name:
            if name in seen:
                errors.append(duplicate(f"{path}.name", name))
            seen.add(name)
        checks.port_number(port.get("port") or 0, f"{path}.port", errors)
        checks.protocol(port.get("protocol"), f"{path}.protocol", errors)
        checks.port(port.get("targetPort"), f"{path}.targetPort", errors)
        if port.get("appProtocol") is not None:
            checks.qualified_name(port["appProtocol"], f"{path}.appProtocol", errors)


def _validate_node_ports(kind: str, ports: Sequence[Fields], errors: Errors) -> None:
    if kind == "ClusterIP":
        why = "may not be used when `type` is 'ClusterIP'"
        used = (number for number, port in enumerate(ports) if port.get("nodePort"))
        errors += [forbidden_field(f"spec.ports[{number}].nodePort", why) for number in used]
    taken: set[tuple[str, int]] = set()
    for number, port in enumerate(ports):
        if port.get("nodePort"):
            key = (port.get("protocol") or "", port["nodePort"])
            if key in taken:
                errors.append(duplicate(f"spec.ports[{number}].nodePort", port["nodePort"]))
            taken.add(key)
    taken = set()
    for number, port in enumerate(ports):
        key = (port.get("protocol") or "", port.get("port") or 0)
        if key in taken:
            errors.append(duplicate(f"spec.ports[{number}]", {"protocol": key[0], "port": key[1]}))
        taken.add(key)


def _validate_affinity(spec: Fields, errors: Errors) -> None:
    affinity, config = spec.get("sessionAffinity"), spec.get("sessionAffinityConfig")
    path = "spec.sessionAffinityConfig"
    checks.choice(affinity, ("ClientIP", "None"), "spec.sessionAffinity", errors)
    if affinity == "ClientIP":
        seconds, why = get_path(config, "clientIP", "timeoutSeconds"), "when session affinity type is ClientIP"
        if config is None:
            errors.append(required(path, why))
        elif config.get("clientIP") is None:
            errors.append(required(f"{path}.clientIP", why))
        elif seconds is None:
            errors.append(required(f"{path}.clientIP.timeoutSeconds", why))
        elif not 0 < seconds <= AFFINITY_SECONDS_MAX:
            why = f"must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"
            errors.append(invalid_value(f"{path}.clientIP.timeoutSeconds", seconds, why))
    elif affinity == "None" and config is not None:
        errors.append(forbidden_field(path, "must not be set when session affinity is None"))


def _validate_load_balancer(spec: Fields, errors: Errors) -> None:
    only = "may only be used when `type` is 'LoadBalancer'"
    is_balanced = spec.get("type") == "LoadBalancer"
    ranges = spec.get("loadBalancerSourceRanges") or ()
    if ranges and not is_balanced:
        errors.append(forbidden_field("spec.LoadBalancerSourceRanges", only))
    for number, network in enumerate(ranges):
        checks.cidr(network.strip(), f"spec.LoadBalancerSourceRanges[{number}]", errors)
    allocate = spec.get("allocateLoadBalancerNodePorts")
    if allocate is not None and not is_balanced:
        errors.append(forbidden_field("spec.allocateLoadBalancerNodePorts", only))
    if allocate is None and is_balanced:
        errors.append(required("allocateLoadBalancerNodePorts"))
    name = spec.get("loadBalancerClass")
    if name is not None:
        if is_balanced:
            checks.qualified_name(name, "spec.loadBalancerClass", errors)
        else:
            errors.append(forbidden_field("spec.loadBalancerClass", only))


def _validate_traffic(spec: Fields, errors: Errors) -> None:
    policy = spec.get("externalTrafficPolicy")
    if not externally_accessible(spec):
        if policy:
            why = "may only be set for externally-accessible services"
            errors.append(invalid_value("spec.externalTrafficPolicy", policy, why))
    else:
        checks.choice(policy, ("Cluster", "Local"), "spec.externalTrafficPolicy", errors)
    port = spec.get("healthCheckNodePort")
    if port and not needs_health_check(spec):
        why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
        errors.append(invalid_value("spec.healthCheckNodePort", port, why))
    elif needs_health_check(spec):
        if port:
            checks.port_number(port, "spec.healthCheckNodePort", errors)
        else:
            errors.append(required("spec.healthCheckNodePort"))
    internal = spec.get("internalTrafficPolicy")
    if internal is None and spec.get("type") in WITH_ADDRESS:
        errors.append(required("spec.internalTrafficPolicy"))
    checks.optional_choice(internal, ("Cluster", "Local"), "spec.internalTrafficPolicy", errors)
    distribution = spec.get("trafficDistribution")
    if distribution is not None and distribution not in _DISTRIBUTIONS:
        errors.append(not_supported("spec.trafficDistribution", distribution, _DISTRIBUTIONS))


def validate_update(service: Object, old: Object) -> Errors:
    """Addresses stay while the type has any."""
    errors: Errors = []
    spec, before = service.get("spec") or {}, old.get("spec") or {}
    validate_addresses_update(spec, before, errors)
    if spec.get("type") == before.get("type") == "LoadBalancer":
        name = spec.get("loadBalancerClass")
        if name != before.get("loadBalancerClass"):
            errors.append(invalid_value("spec.loadBalancerClass", name, "may not change once set"))
    port = spec.get("healthCheckNodePort")
    if needs_health_check(spec) and needs_health_check(before) and port != before.get("healthCheckNodePort"):
        errors.append(forbidden_field("spec.healthCheckNodePort", "field is immutable"))
    return errors


def validate_status(service: Object, old: Object) -> Errors:
    """Addresses of a load balancer."""
    errors: Errors = []
    balanced = get_path(old, "spec", "type") == "LoadBalancer"
    for number, ingress in enumerate(get_path(service, "status", "loadBalancer", "ingress", default=())):
        path = f"status.loadBalancer.ingress[{number}]"
        if not balanced:
            why = "may only be used when `spec.type` is 'LoadBalancer'"
            return [forbidden_field("status.loadBalancer.ingress", why)]
        address, mode, host = ingress.get("ip"), ingress.get("ipMode"), ingress.get("hostname")
        if address:
            checks.ip_address(address, f"{path}.ip", errors)
        if mode is None and address:
            errors.append(required(f"{path}.ipMode", "must be specified when `ip` is set"))
        elif mode is not None and not address:
            errors.append(forbidden_field(f"{path}.ipMode", "may not be specified when `ip` is not set"))
        else:
            checks.optional_choice(mode, ("Proxy", "VIP"), f"{path}.ipMode", errors)
        if host:
            checks.dns_subdomain(host, f"{path}.hostname", errors)
            if checks.parse_ip(host) is not None:
                why = "must be a DNS name, not an IP address"
                errors.append(invalid_value(f"{path}.hostname", host, why))
    return errors


def _type(service: Object) -> Cell:
    found: str = get_path(service, "spec", "type", default="")
    return found


def _cluster_ip(service: Object) -> Cell:
    addresses = get_path(service, "spec", "clusterIPs", default=())
    return addresses[0] if addresses else NONE


def _external_ip(service: Object) -> Cell:
    spec = service.get("spec") or {}
    listed = list(spec.get("externalIPs") or ())
    match spec.get("type"):
        case "ClusterIP" | "NodePort":
            return ",".join(listed) or NONE
        case "LoadBalancer":
            ingress = get_path(service, "status", "loadBalancer", "ingress", default=())
            given = {entry.get("ip") or entry.get("hostname") or "" for entry in ingress} - {""}
            return ",".join([*sorted(given), *listed]) or "<pending>"
        case "ExternalName":
            return spec.get("externalName") or ""
    return UNKNOWN


def _ports(service: Object) -> Cell:
    shown = []
    for port in get_path(service, "spec", "ports", default=()):
        number = f"{port.get('port')}:{port['nodePort']}" if port.get("nodePort") else str(port.get("port"))
        shown.append(f"{number}/{port.get('protocol')}")
    return ",".join(shown) or NONE


def _selector(service: Object) -> Cell:
    return labels_text(get_path(service, "spec", "selector"))


STRATEGY = Strategy(
    SERVICES,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    validate_name=names.dns1035_label,
    columns=(
        NAME,
        Column("Type", _type, description="How it can be reached."),
        Column("Cluster-IP", _cluster_ip, description="Its address inside the cluster."),
        Column("External-IP", _external_ip, description="Its addresses for the world outside."),
        Column("Port(s)", _ports, description="Its ports, with those of the nodes."),
        AGE,
        Column("Selector", _selector, priority=1, description="The labels of the pods that it leads to."),
    ),
    selectable=("spec.clusterIP", "spec.type"),
    create_on_update=True,
)
