"""What a claim asks of devices, in ResourceClaims, in templates for them and in DeviceClasses.

CEL expressions are looked at as texts here. Source: kubernetes/pkg/apis/resource/v1/defaults.go,
validation/validation.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import orjson

from apimachinery import names
from apimachinery.field import OMITTED, duplicate, invalid_value, not_supported, required, too_long, too_many
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_label_key
from apiserver.registry.pod_volumes import validate_driver

REQUESTS_MAX = CONSTRAINTS_MAX = CONFIGS_MAX = SELECTORS_MAX = 32
FIRST_AVAILABLE_MAX = 8
EXPRESSION_MAX = PARAMETERS_MAX = 10 * 1024
DOMAIN_MAX, IDENTIFIER_MAX, POOL_MAX = 63, 32, 253
EFFECTS = ("NoExecute", "NoSchedule", "None")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_IDENTIFIER_MESSAGE = (
    "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
    f"characters or '_' (e.g. 'my_name',  or 'MY_NAME',  or 'MyName', regex used for validation is "
    f"'{_IDENTIFIER.pattern}')"
)
_ONE_OF = "exactly one of `exactly` or `firstAvailable` is required"
_NO_REQUEST = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"

# The names of the requests of a claim, each with those of its alternatives.
RequestNames = Mapping[str, Collection[str]]
CheckItem = Callable[[Any, str, Errors], None]


def default_devices(devices: dict[str, Any] | None) -> None:
    """One device."""
    for request in (devices or {}).get("requests") or ():
        for one in (request.get("exactly"), *(request.get("firstAvailable") or ())):
            if one is not None:
                if not one.get("allocationMode"):
                    one["allocationMode"] = "ExactCount"
                if one["allocationMode"] == "ExactCount" and not one.get("count"):
                    one["count"] = 1


def validate_list(items: Sequence[Any], maximum: int, check: CheckItem, path: str, errors: Errors) -> None:
    """Not too many items, each of them right."""
    if len(items) > maximum:
        errors.append(too_many(path, len(items), maximum))
        return
    for number, item in enumerate(items):
        check(item, f"{path}[{number}]", errors)


def validate_set(
    items: Sequence[Any], maximum: int, check: CheckItem, path: str, errors: Errors, key: Callable[[Any], Any] = str
) -> None:
    """The same, and no two of them of one key."""
    validate_list(items, maximum, check, path, errors)
    if len(items) > maximum:
        return
    seen: set[Any] = set()
    for number, item in enumerate(items):
        if key(item) in seen:
            errors.append(duplicate(f"{path}[{number}]", key(item)))
        seen.add(key(item))


def name_of(item: Fields) -> str:
    """The key of what has a name."""
    return item.get("name") or ""


def request_names(devices: Fields) -> RequestNames:
    """The names by which constraints and results refer to requests."""
    return {
        name_of(request): [name_of(one) for one in request.get("firstAvailable") or ()]
        for request in devices.get("requests") or ()
    }


def validate_devices(devices: Fields, path: str, errors: Errors) -> None:
    """All that is asked for."""
    known = request_names(devices)
    requests = devices.get("requests") or ()
    validate_set(requests, REQUESTS_MAX, _validate_request, f"{path}.requests", errors, name_of)

    def constraint(one: Fields, at: str, found: Errors) -> None:
        validate_request_references(one.get("requests") or (), known, f"{at}.requests", found)
        match, distinct = one.get("matchAttribute"), one.get("distinctAttribute")
        if match is not None:
            _validate_full_name(match, f"{at}.matchAttribute", found)
        elif distinct is not None:
            _validate_full_name(distinct, f"{at}.distinctAttribute", found)
        else:
            found.append(required(f"{at}.matchAttribute"))

    def config(one: Fields, at: str, found: Errors) -> None:
        validate_request_references(one.get("requests") or (), known, f"{at}.requests", found)
        validate_configuration(one, at, found)

    validate_list(devices.get("constraints") or (), CONSTRAINTS_MAX, constraint, f"{path}.constraints", errors)
    validate_list(devices.get("config") or (), CONFIGS_MAX, config, f"{path}.config", errors)


def _validate_request(request: Fields, path: str, errors: Errors) -> None:
    checks.dns_label(name_of(request), f"{path}.name", errors)
    exactly, alternatives = request.get("exactly"), request.get("firstAvailable") or ()
    if exactly is None and not alternatives:
        errors.append(required(path, _ONE_OF))
    elif exactly is not None and alternatives:
        errors.append(invalid_value(path, None, f"{_ONE_OF}, but multiple fields are set"))
    elif exactly is not None:
        _validate_exact(exactly, f"{path}.exactly", errors)
    else:

        def alternative(one: Fields, at: str, found: Errors) -> None:
            checks.dns_label(name_of(one), f"{at}.name", found)
            _validate_exact(one, at, found)

        at = f"{path}.firstAvailable"
        validate_set(alternatives, FIRST_AVAILABLE_MAX, alternative, at, errors, name_of)


def _validate_exact(request: Fields, path: str, errors: Errors) -> None:
    checks.required_name(request.get("deviceClassName"), checks.dns_subdomain, f"{path}.deviceClassName", errors)
    validate_list(request.get("selectors") or (), SELECTORS_MAX, validate_selector, f"{path}.selectors", errors)
    mode, count = request.get("allocationMode") or "", request.get("count") or 0
    if mode == "All":
        if count:
            why = "must not be specified when allocationMode is 'All'"
            errors.append(invalid_value(f"{path}.count", count, why))
    elif mode != "ExactCount":
        errors.append(not_supported(f"{path}.allocationMode", mode, ("All", "ExactCount")))
    elif count <= 0:
        errors.append(invalid_value(f"{path}.count", count, "must be greater than zero"))
    for number, toleration in enumerate(request.get("tolerations") or ()):
        _validate_toleration(toleration, f"{path}.tolerations[{number}]", errors)


def validate_selector(selector: Fields, path: str, errors: Errors) -> None:
    """An expression that a device must meet."""
    cel = selector.get("cel")
    if cel is None:
        errors.append(required(f"{path}.cel"))
    elif len((cel.get("expression") or "").encode()) > EXPRESSION_MAX:
        errors.append(too_long(f"{path}.cel.expression", EXPRESSION_MAX))


def _validate_toleration(toleration: Fields, path: str, errors: Errors) -> None:
    key, operator, value = (toleration.get(field) or "" for field in ("key", "operator", "value"))
    if key:
        validate_label_key(key, f"{path}.key", errors)
    if operator == "Exists":
        if value:
            errors.append(invalid_value(f"{path}.value", value, "must be empty for operator `Exists`"))
    elif operator in ("", "Equal"):
        errors += [invalid_value(f"{path}.value", value, why) for why in names.label_value(value)]
    else:
        errors.append(not_supported(f"{path}.operator", operator, ("Equal", "Exists")))
    if toleration.get("effect"):
        checks.choice(toleration["effect"], EFFECTS, f"{path}.effect", errors)


def validate_request_references(listed: Sequence[str], known: RequestNames, path: str, errors: Errors) -> None:
    """Names of requests of the same claim."""

    def one(name: str, at: str, found: Errors) -> None:
        validate_request_reference(name, known, at, found)

    validate_set(listed, REQUESTS_MAX, one, path, errors)


def validate_request_reference(name: str, known: RequestNames, path: str, errors: Errors) -> None:
    """`gpu`, or `gpu/large` for one of its alternatives."""
    parts = name.split("/")
    if len(parts) <= 2:
        for part in parts:
            checks.dns_label(part, path, errors)
        if parts[0] in known and (len(parts) == 1 or parts[1] in known[parts[0]]):
            return
    errors.append(invalid_value(path, name, _NO_REQUEST))


def validate_configuration(config: Fields, path: str, errors: Errors) -> None:
    """What a driver is told; only the driver understands it."""
    opaque, path = config.get("opaque"), f"{path}.opaque"
    if opaque is None:
        errors.append(required(path))
        return
    validate_driver(opaque.get("driver") or "", f"{path}.driver", errors)
    validate_raw(opaque.get("parameters"), f"{path}.parameters", errors)


def validate_raw(value: Any, path: str, errors: Errors) -> None:
    """A JSON object that is not too large."""
    if value is None:
        errors.append(required(path))
    elif not isinstance(value, dict):
        errors.append(invalid_value(path, "<value omitted>", "must be a valid JSON object"))
    elif len(orjson.dumps(value)) > PARAMETERS_MAX:
        errors.append(too_long(path, PARAMETERS_MAX))


def validate_pool_name(name: str | None, path: str, errors: Errors) -> None:
    """DNS names with slashes between them."""
    if not name:
        errors.append(required(path))
        return
    if len(name) > POOL_MAX:
        errors.append(too_long(path, POOL_MAX))
    for part in name.split("/"):
        checks.dns_subdomain(part, path, errors)


def validate_qualified_name(name: str, path: str, errors: Errors) -> None:
    """The name of an attribute or capacity, perhaps in the domain of a driver."""
    parts = name.split("/")
    if len(parts) == 2:
        domain, identifier = parts
        if domain:
            validate_driver(domain, path, errors)
        else:
            errors.append(invalid_value(path, "", "the domain must not be empty"))
        if not identifier:
            errors.append(invalid_value(path, "", "the name must not be empty"))
            return
        parts = [identifier]
    if len(parts) == 1:
        if len(parts[0]) > IDENTIFIER_MAX:
            errors.append(too_long(path, IDENTIFIER_MAX))
        if not _IDENTIFIER.fullmatch(parts[0]):
            errors.append(invalid_value(path, parts[0], _IDENTIFIER_MESSAGE))


def _validate_full_name(name: str, path: str, errors: Errors) -> None:
    validate_qualified_name(name, path, errors)
    if "/" not in name:
        why = "a fully qualified name must be a domain and a name separated by a slash"
        errors.append(invalid_value(path, name, why))


def validate_binding_conditions(device: Fields, path: str, errors: Errors) -> None:
    """Conditions that a device waits for after it has been chosen, and those that give it up."""
    wanted, failures = device.get("bindingConditions") or [], device.get("bindingFailureConditions") or []
    for field, listed in (("bindingConditions", wanted), ("bindingFailureConditions", failures)):
        validate_set(listed, 4, validate_label_key, f"{path}.{field}", errors)
    for number, condition in enumerate(failures):
        if condition in wanted:
            why = "bindingFailureConditions must not overlap with bindingConditions"
            errors.append(invalid_value(f"{path}.bindingFailureConditions[{number}]", condition, why))
    if bool(wanted) != bool(failures):
        missing, given = ("bindingConditions", "bindingFailureConditions")[:: 1 if failures else -1]
        errors.append(invalid_value(f"{path}.{missing}", OMITTED, f"{missing} are required to use {given}"))
