"""Webhooks, as both kinds of webhook configurations have them; CustomResourceDefinitions convert through them too.

Source: kubernetes/pkg/apis/admissionregistration/v1/defaults.go, validation/validation.go and
k8s.io/apiserver/pkg/util/webhook/validation.go.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from apimachinery.field import duplicate, invalid_value, not_supported, required
from apimachinery.meta import Object
from apimachinery.names import dns1035_label, dns1123_subdomain
from apiserver.registry import checks
from apiserver.registry.admission_rules import (
    FAILURE_POLICIES,
    MATCH_POLICIES,
    SELECTORS,
    default_matching,
    default_rules,
    validate_match_conditions,
    validate_rule,
)
from apiserver.registry.base64_data import decoded_bytes
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_label_selector
from apiserver.registry.strategy import AGE, NAME, Cell, Column

PORT = 443
SECONDS, SECONDS_MAX = 10, 30
SIDE_EFFECTS = ("None", "NoneOnDryRun")
# Versions of the question that this server can put.
REVIEW_VERSIONS = ("v1", "v1beta1")
_FORM = "; desired format: https://host[/path]"
_NAME_LABELS_MIN = 3


def default_webhooks(configuration: Object, *, reinvocation: bool) -> None:
    """Asked of everything, and what can't be asked is refused."""
    for hook in configuration.get("webhooks") or ():
        if hook.get("failurePolicy") is None:
            hook["failurePolicy"] = "Fail"
        default_matching(hook)
        if hook.get("timeoutSeconds") is None:
            hook["timeoutSeconds"] = SECONDS
        if reinvocation and hook.get("reinvocationPolicy") is None:
            hook["reinvocationPolicy"] = "Never"
        default_rules(hook.get("rules"))
        service = (hook.get("clientConfig") or {}).get("service")
        if service is not None and service.get("port") is None:
            service["port"] = PORT


def validate_webhooks(configuration: Object) -> Errors:
    """Each with a name of its own."""
    errors: Errors = []
    seen: set[str] = set()
    for number, hook in enumerate(configuration.get("webhooks") or ()):
        path, name = f"webhooks[{number}]", hook.get("name") or ""
        _validate_webhook(hook, path, errors)
        _validate_versions(hook.get("admissionReviewVersions") or [], f"{path}.admissionReviewVersions", errors)
        if name in seen:
            errors.append(duplicate(f"{path}.name", name))
        if name:
            seen.add(name)
    return errors


def _validate_webhook(hook: Fields, path: str, errors: Errors) -> None:
    _validate_name(hook.get("name") or "", f"{path}.name", errors)
    for number, rule in enumerate(hook.get("rules") or ()):
        validate_rule(rule, f"{path}.rules[{number}]", errors)
    checks.optional_choice(hook.get("failurePolicy"), FAILURE_POLICIES, f"{path}.failurePolicy", errors)
    checks.optional_choice(hook.get("matchPolicy"), MATCH_POLICIES, f"{path}.matchPolicy", errors)
    effects = hook.get("sideEffects")
    if effects is None:
        errors.append(required(f"{path}.sideEffects", f"must specify one of {', '.join(SIDE_EFFECTS)}"))
    elif effects not in SIDE_EFFECTS:
        errors.append(not_supported(f"{path}.sideEffects", effects, SIDE_EFFECTS))
    seconds = hook.get("timeoutSeconds")
    if seconds is not None and not 1 <= seconds <= SECONDS_MAX:
        why = "the timeout value must be between 1 and 30 seconds"
        errors.append(invalid_value(f"{path}.timeoutSeconds", seconds, why))
    for field in SELECTORS:
        validate_label_selector(hook.get(field), f"{path}.{field}", errors)
    reinvocation = hook.get("reinvocationPolicy")
    checks.optional_choice(reinvocation, ("IfNeeded", "Never"), f"{path}.reinvocationPolicy", errors)
    validate_client(hook.get("clientConfig") or {}, f"{path}.clientConfig", errors)
    validate_match_conditions(hook.get("matchConditions") or (), {}, f"{path}.matchConditions", errors)


def _validate_name(name: str, path: str, errors: Errors) -> None:
    if not name:
        errors.append(required(path))
    elif problems := dns1123_subdomain(name):
        errors.append(invalid_value(path, name, ",".join(problems)))
    elif len(name.split(".")) < _NAME_LABELS_MIN:
        why = "should be a domain with at least three segments separated by dots"
        errors.append(invalid_value(path, name, why))


def _validate_versions(versions: list[str], path: str, errors: Errors) -> None:
    known = ", ".join(REVIEW_VERSIONS)
    if not versions:
        errors.append(required(path, f"must specify one of {known}"))
        return
    for number, version in enumerate(versions):
        at = f"{path}[{number}]"
        if version in versions[:number]:
            errors.append(invalid_value(at, version, "duplicate version"))
        else:
            errors += [invalid_value(at, version, why) for why in dns1035_label(version)]
    if not set(versions) & set(REVIEW_VERSIONS):
        errors.append(invalid_value(path, versions, f"must include at least one of {known}"))


def validate_client(client: Fields, path: str, errors: Errors) -> None:
    """Where a webhook is: a URL, or a Service in the cluster."""
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        errors.append(required(path, "exactly one of url or service is required"))
    elif url is not None:
        _validate_url(url, f"{path}.url", errors)
    elif service is not None:
        _validate_service(service, f"{path}.service", errors)
    decoded_bytes(client.get("caBundle"), f"{path}.caBundle", errors)


def _validate_url(url: str, path: str, errors: Errors) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        errors.append(required(path, f"url must be a valid URL: {error}{_FORM}"))
        return
    if parts.scheme != "https":
        errors.append(invalid_value(path, parts.scheme, f"'https' is the only allowed URL scheme{_FORM}"))
    user, at, host = parts.netloc.rpartition("@")
    if not host:
        errors.append(invalid_value(path, host, f"host must be specified{_FORM}"))
    if at:
        errors.append(invalid_value(path, user, "user information is not permitted in the URL"))
    if parts.fragment:
        errors.append(invalid_value(path, parts.fragment, "fragments are not permitted in the URL"))
    if parts.query:
        errors.append(invalid_value(path, parts.query, "query parameters are not permitted in the URL"))


def _validate_service(service: Fields, path: str, errors: Errors) -> None:
    for field in ("name", "namespace"):
        if not service.get(field):
            errors.append(required(f"{path}.{field}"))
    port, location, at = service.get("port") or 0, service.get("path") or "", f"{path}.path"
    if not 1 <= port <= 65535:
        errors.append(invalid_value(f"{path}.port", port, f"port is not valid: {checks.PORT_RANGE}"))
    if location in ("", "/"):
        return
    if location == "//":
        errors.append(invalid_value(at, location, "segment[0] may not be empty"))
        return
    if not location.startswith("/"):
        errors.append(invalid_value(at, location, "must start with a '/'"))
    for number, step in enumerate(location[1:].removesuffix("/").split("/")):
        problems = dns1123_subdomain(step) if step else []
        if not step:
            errors.append(invalid_value(at, location, f"segment[{number}] may not be empty"))
        errors += [invalid_value(at, location, f"segment[{number}]: {why}") for why in problems]


def _count(configuration: Object) -> Cell:
    return len(configuration.get("webhooks") or ())


COLUMNS = (
    NAME,
    Column(
        "Webhooks",
        _count,
        type="integer",
        description="Webhooks indicates the number of webhooks registered in this configuration",
    ),
    AGE,
)
