"""APIServices: each is a version of a group, served here or by another server.

Source: kube-aggregator/pkg/apis/apiregistration/v1/defaults.go, validation/validation.go, pkg/registry/apiservice.
"""

from __future__ import annotations

from apimachinery import names
from apimachinery.field import invalid_value, not_supported, required
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.resources import APISERVICES
from apiserver.registry import checks
from apiserver.registry.base64_data import decoded, decoded_bytes
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.conditions import STATUSES
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy

HTTPS_PORT = 443
GROUP_PRIORITY_MAX, VERSION_PRIORITY_MAX = 20000, 1000


def default(api_service: Object) -> None:
    """Another server is reached at the port of HTTPS."""
    service = get_path(api_service, "spec", "service")
    if service is not None and service.get("port") is None:
        service["port"] = HTTPS_PORT


def prepare_create(api_service: Object) -> None:
    """What is served here is available; of others a controller finds it out."""
    api_service.pop("status", None)
    if get_path(api_service, "spec", "service") is None:
        condition = {
            "type": "Available",
            "status": "True",
            # When it was made, which is now.
            "lastTransitionTime": api_service["metadata"].get("creationTimestamp"),
            "reason": "Local",
            "message": "Local APIServices are always available",
        }
        api_service["status"] = {"conditions": [condition]}


def validate(api_service: Object) -> Errors:
    """What is wrong with it in itself."""
    errors: Errors = []
    spec, name = api_service.get("spec") or {}, api_service["metadata"].get("name") or ""
    group, version = spec.get("group") or "", spec.get("version") or ""
    if name and not names.path_segment(name) and name != f"{version}.{group}":
        why = f'must be `spec.version+"."+spec.group`: "{version}.{group}"'
        errors.append(invalid_value("metadata.name", name, why))
    if group:
        checks.dns_subdomain(group, "spec.group", errors)
    elif version != "v1":
        errors.append(required("spec.group", "only v1 may have an empty group and it better be legacy kube"))
    errors += [invalid_value("spec.version", version, why) for why in names.dns1035_label(version)]
    for field, maximum in (("groupPriorityMinimum", GROUP_PRIORITY_MAX), ("versionPriority", VERSION_PRIORITY_MAX)):
        value = spec.get(field) or 0
        if not 0 < value <= maximum:
            errors.append(invalid_value(f"spec.{field}", value, f"must be positive and less than {maximum}"))
    _validate_service(spec, errors)
    return errors


def _validate_service(spec: Fields, errors: Errors) -> None:
    service, bundle, insecure = spec.get("service"), spec.get("caBundle"), spec.get("insecureSkipTLSVerify")
    if service is None:
        if bundle:
            size = f"{len(decoded(bundle) or b'')} bytes"
            errors.append(invalid_value("spec.caBundle", size, "local APIServices may not have a caBundle"))
        if insecure:
            why = "local APIServices may not have insecureSkipTLSVerify"
            errors.append(invalid_value("spec.insecureSkipTLSVerify", True, why))
        return
    for field in ("namespace", "name"):
        if not service.get(field):
            errors.append(required(f"spec.service.{field}"))
    port = service.get("port") or 0
    if not 1 <= port <= 65535:
        why = f"port is not valid: {checks.PORT_RANGE}"
        errors.append(invalid_value("spec.service.port", port, why))
    decoded_bytes(bundle, "spec.caBundle", errors)
    if insecure and bundle:
        why = "may not be true if caBundle is present"
        errors.append(invalid_value("spec.insecureSkipTLSVerify", True, why))


def validate_status(api_service: Object, old: Object) -> Errors:
    """Conditions that hold, or not, or nobody knows."""
    errors: Errors = []
    for number, condition in enumerate(get_path(api_service, "status", "conditions", default=())):
        if condition.get("status") not in STATUSES:
            path = f"status.conditions[{number}].status"
            errors.append(not_supported(path, condition.get("status") or "", STATUSES))
    return errors


def _service(api_service: Object) -> Cell:
    service = get_path(api_service, "spec", "service")
    return "Local" if service is None else f"{service.get('namespace') or ''}/{service.get('name') or ''}"


def _available(api_service: Object) -> Cell:
    condition = find_condition(api_service, "Available")
    if condition is None:
        return "Unknown"
    status, reason = condition.get("status") or "", condition.get("reason")
    return f"{status} ({reason})" if reason and status != "True" else status


STRATEGY = Strategy(
    APISERVICES,
    default=default,
    prepare_create=prepare_create,
    validate=validate,
    validate_status=validate_status,
    validate_name=names.path_segment,
    columns=(
        NAME,
        Column("Service", _service, description="The reference to the service that hosts this API endpoint."),
        Column("Available", _available, description="Whether this service is available."),
        AGE,
    ),
    unconditional_update=False,
    status_resets=("spec", "metadata"),
)
