"""What webhooks and admission policies have in common: which requests they are about.

Source: kubernetes/pkg/apis/admissionregistration/v1/defaults.go, validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apimachinery.field import duplicate, invalid_value, not_supported, required, too_many
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_label_selector

FAILURE_POLICIES, MATCH_POLICIES = ("Fail", "Ignore"), ("Equivalent", "Exact")
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
MATCH_CONDITIONS_MAX = 64
SELECTORS = ("namespaceSelector", "objectSelector")


def default_matching(owner: dict[str, Any]) -> None:
    """Of whatever version and wherever it is."""
    if owner.get("matchPolicy") is None:
        owner["matchPolicy"] = "Equivalent"
    for field in SELECTORS:
        if owner.get(field) is None:
            owner[field] = {}


def default_rules(rules: Sequence[dict[str, Any]] | None) -> None:
    """In a namespace or not."""
    for rule in rules or ():
        if rule.get("scope") is None:
            rule["scope"] = "*"


def validate_rule(rule: Fields, path: str, errors: Errors) -> None:
    """Operations on resources."""
    operations = rule.get("operations") or []
    if not operations:
        errors.append(required(f"{path}.operations"))
    _alone(operations, f"{path}.operations", "operations", errors)
    for number, operation in enumerate(operations):
        checks.optional_choice(operation, OPERATIONS, f"{path}.operations[{number}]", errors)
    for field, what in (("apiGroups", "API groups"), ("apiVersions", "API versions")):
        words = rule.get(field) or []
        if not words:
            errors.append(required(f"{path}.{field}"))
        _alone(words, f"{path}.{field}", what, errors)
    for number, version in enumerate(rule.get("apiVersions") or ()):
        if not version:
            errors.append(required(f"{path}.apiVersions[{number}]"))
    _validate_resources(rule.get("resources") or [], f"{path}.resources", errors)
    checks.optional_choice(rule.get("scope"), SCOPES, f"{path}.scope", errors)


def _alone(words: Sequence[str], path: str, what: str, errors: Errors) -> None:
    if len(words) > 1 and "*" in words:
        errors.append(invalid_value(path, words, f"if '*' is present, must not specify other {what}"))


def _validate_resources(resources: Sequence[str], path: str, errors: Errors) -> None:
    """`pods`, `pods/status`, `pods/*`, `*/scale`, `*` for all without their subresources, `*/*` for everything."""
    if not resources:
        errors.append(required(path))
    all_of: set[str] = set()
    any_with: set[str] = set()
    for number, text in enumerate(resources):
        at = f"{path}[{number}]"
        if not text:
            errors.append(required(at))
        resource, slash, subresource = text.partition("/")
        if not slash:
            continue
        if resource in all_of:
            errors.append(invalid_value(at, text, f"if '{resource}/*' is present, must not specify {text}"))
        if subresource in any_with:
            errors.append(invalid_value(at, text, f"if '*/{subresource}' is present, must not specify {text}"))
        if subresource == "*":
            all_of.add(resource)
        if resource == "*":
            any_with.add(subresource)
    if len(resources) > 1 and "*/*" in resources:
        errors.append(invalid_value(path, resources, "if '*/*' is present, must not specify other resources"))
    plain = [text for text in resources if text and "/" not in text]
    if "*" in plain and len(plain) > 1:
        why = "if '*' is present, must not specify other resources without subresources"
        errors.append(invalid_value(path, resources, why))


def validate_match_conditions(conditions: Sequence[Fields], owner: Fields, path: str, errors: Errors) -> None:
    """Expressions that must hold of a request, each with a name; of a policy they may look at its parameters."""
    if len(conditions) > MATCH_CONDITIONS_MAX:
        errors.append(too_many(path, len(conditions), MATCH_CONDITIONS_MAX))
    seen: set[str] = set()
    for number, condition in enumerate(conditions):
        at, name = f"{path}[{number}]", condition.get("name") or ""
        expression = (condition.get("expression") or "").strip()
        if expression:
            errors += _condition_problems(expression, owner, f"{at}.expression")
        else:
            errors.append(required(f"{at}.expression"))
        checks.required_name(name, checks.qualified_name, f"{at}.name", errors)
        if name in seen:
            errors.append(duplicate(f"{at}.name", name))
        if name:
            seen.add(name)


def _condition_problems(expression: str, owner: Fields, path: str) -> Errors:
    from apiserver.registry import expressions  # what compiles them is imported when the first is written

    return expressions.problems(expression, expressions.environment_of(owner), expressions.BOOLEAN, path)


def validate_match_resources(match: Fields, path: str, errors: Errors) -> None:
    """What a policy, or its binding, is about."""
    policy = match.get("matchPolicy")
    if policy is None:
        errors.append(required(f"{path}.matchPolicy"))
    checks.optional_choice(policy, MATCH_POLICIES, f"{path}.matchPolicy", errors)
    for field in SELECTORS:
        if match.get(field) is None:
            errors.append(required(f"{path}.{field}"))
        validate_label_selector(match.get(field), f"{path}.{field}", errors)
    for field in ("resourceRules", "excludeResourceRules"):
        for number, rule in enumerate(match.get(field) or ()):
            at = f"{path}.{field}[{number}]"
            names = rule.get("resourceNames") or ()
            for index, name in enumerate(names):
                checks.path_segment(name, f"{at}.resourceNames[{index}]", errors)
                if name in names[:index]:
                    errors.append(duplicate(f"{at}.resourceNames[{index}]", name))
            validate_rule(rule, at, errors)


def validate_policy_choice(value: str | None, allowed: Sequence[str], path: str, errors: Errors) -> None:
    """One of a few words that the defaults have set."""
    if value is None:
        errors.append(required(path))
    elif value not in allowed:
        errors.append(not_supported(path, value, allowed))
