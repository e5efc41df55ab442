"""The spec of a Job, in a Job and in the template of a CronJob.

Source: kubernetes/pkg/apis/batch/v1/defaults.go, pkg/apis/batch/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from apimachinery.field import (
    OMITTED,
    duplicate,
    invalid_value,
    not_supported,
    required,
    too_long,
    too_many,
)
from apimachinery.pod_defaults import default_template
from apiserver.registry import checks, job_indexes
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.pod_spec import validate_template

BACKOFF_LIMIT = 6
INDEXED, NON_INDEXED = "Indexed", "NonIndexed"
_PARALLELISM_MAX = _FAILED_INDEXES_MAX = 100_000
# Beyond so many completions less parallelism and fewer failed indexes are allowed.
_MANY_COMPLETIONS, _PARALLELISM_MAX_OF_MANY, _FAILED_INDEXES_MAX_OF_MANY = 100_000, 10_000, 10_000
_RULES_MAX, _EXIT_CODES_MAX, _CONDITIONS_MAX = 20, 255, 20
_MANAGED_BY_MAX, _SUCCEEDED_INDEXES_MAX = 63, 64 * 1024
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_REPLACEMENTS = ("Failed", "TerminatingOrFailed")
_COUNTS = (
    *("parallelism", "completions", "activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"),
    *("backoffLimitPerIndex", "maxFailedIndexes"),
)


def default_template_spec(spec: dict[str, Any]) -> None:
    """What holds of the template of a CronJob too: the rest is completed when there is a Job."""
    if spec.get("template") is not None:
        default_template(spec["template"])
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            if not pattern.get("status"):
                pattern["status"] = "True"


def default_job_spec(spec: dict[str, Any]) -> None:
    """One pod that must succeed once."""
    default_template_spec(spec)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    per_index = spec.get("backoffLimitPerIndex") is not None
    replacement = "Failed" if spec.get("podFailurePolicy") is not None else "TerminatingOrFailed"
    for field, value in (
        ("parallelism", 1),
        ("backoffLimit", checks.INT32_MAX if per_index else BACKOFF_LIMIT),
        ("completionMode", NON_INDEXED),
        ("suspend", False),
        ("podReplacementPolicy", replacement),
        ("manualSelector", False),
    ):
        if spec.get(field) is None:
            spec[field] = value


def validate_job_spec(spec: Fields, path: str, errors: Errors) -> None:
    """All of it but the selector."""
    for field in _COUNTS:
        checks.not_negative(spec.get(field), f"{path}.{field}", errors)
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errors.append(required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if spec.get("managedBy") is not None:
        checks.domain_path(spec["managedBy"], f"{path}.managedBy", errors)
        if len(spec["managedBy"]) > _MANAGED_BY_MAX:
            errors.append(too_long(f"{path}.managedBy", _MANAGED_BY_MAX))
    mode = spec.get("completionMode")
    checks.optional_choice(mode, (INDEXED, NON_INDEXED), f"{path}.completionMode", errors)
    if mode == INDEXED:
        _validate_indexed(spec, path, errors)
    elif mode in (None, NON_INDEXED):
        for field in ("backoffLimitPerIndex", "maxFailedIndexes"):
            if spec.get(field) is not None:
                errors.append(invalid_value(f"{path}.{field}", spec[field], "requires indexed completion mode"))
    if spec.get("podFailurePolicy") is not None:
        _validate_failure_policy(spec, f"{path}.podFailurePolicy", errors)
    success = spec.get("successPolicy")
    if success is not None:
        if mode != INDEXED:
            errors.append(invalid_value(f"{path}.successPolicy", success, "requires indexed completion mode"))
        else:
            _validate_success_policy(success, spec.get("completions"), f"{path}.successPolicy", errors)
    replacements = ("Failed",) if spec.get("podFailurePolicy") is not None else _REPLACEMENTS
    checks.optional_choice(spec.get("podReplacementPolicy"), replacements, f"{path}.podReplacementPolicy", errors)
    template = spec.get("template") or {}
    validate_template(template, f"{path}.template", errors)
    _validate_restarts(spec, (template.get("spec") or {}).get("restartPolicy"), path, errors)


def _validate_restarts(spec: Fields, policy: str | None, path: str, errors: Errors) -> None:
    path = f"{path}.template.spec.restartPolicy"
    # `Always` may also be what became of no policy at all.
    if policy in (None, "", "Always"):
        errors.append(required(path, 'valid values: "OnFailure", "Never"'))
    elif policy not in ("OnFailure", "Never"):
        errors.append(not_supported(path, policy, ("OnFailure", "Never")))
    elif spec.get("podFailurePolicy") is not None and policy != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        errors.append(invalid_value(path, policy, why))


def _validate_indexed(spec: Fields, path: str, errors: Errors) -> None:
    completions, parallelism = spec.get("completions"), spec.get("parallelism")
    failed = spec.get("maxFailedIndexes")

    def at_most(field: str, value: int | None, maximum: int, when: str = "") -> None:
        if value is not None and value > maximum:
            why = f"must be less than or equal to {maximum}{when}"
            errors.append(invalid_value(f"{path}.{field}", value, why))

    if completions is None:
        errors.append(required(f"{path}.completions", "when completion mode is Indexed"))
    at_most("parallelism", parallelism, _PARALLELISM_MAX, " when completion mode is Indexed")
    if completions is not None and failed is not None and failed > completions:
        why = "must be less than or equal to completions"
        errors.append(invalid_value(f"{path}.maxFailedIndexes", failed, why))
    at_most("maxFailedIndexes", failed, _FAILED_INDEXES_MAX)
    if (completions or 0) > _MANY_COMPLETIONS and spec.get("backoffLimitPerIndex") is not None:
        if failed is None:
            why = f"must be specified when completions is above {_MANY_COMPLETIONS}"
            errors.append(required(f"{path}.maxFailedIndexes", why))
        when = f" when completions are above {_MANY_COMPLETIONS} and used with backoff limit per index"
        at_most("parallelism", parallelism, _PARALLELISM_MAX_OF_MANY, when)
        at_most("maxFailedIndexes", failed, _FAILED_INDEXES_MAX_OF_MANY, when)


def _required_choice(value: str | None, allowed: Collection[str], path: str, errors: Errors) -> None:
    if not value:
        listed = " ".join(f'"{word}"' for word in sorted(allowed))
        errors.append(required(path, f"valid values: [{listed}]"))
    elif value not in allowed:
        errors.append(not_supported(path, value, sorted(allowed)))


def _validate_failure_policy(spec: Fields, path: str, errors: Errors) -> None:
    rules = spec["podFailurePolicy"].get("rules") or ()
    path = f"{path}.rules"
    if len(rules) > _RULES_MAX:
        errors.append(too_many(path, len(rules), _RULES_MAX))
    pod = (spec.get("template") or {}).get("spec") or {}
    containers = [*(pod.get("containers") or ()), *(pod.get("initContainers") or ())]
    names = {container.get("name") for container in containers}
    for number, rule in enumerate(rules):
        _validate_failure_rule(spec, rule, names, f"{path}[{number}]", errors)


def _validate_failure_rule(spec: Fields, rule: Fields, names: Collection[Any], path: str, errors: Errors) -> None:
    action, codes, conditions = rule.get("action"), rule.get("onExitCodes"), rule.get("onPodConditions") or ()
    if action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        errors.append(invalid_value(f"{path}.action", action, "requires the backoffLimitPerIndex to be set"))
    _required_choice(action, _ACTIONS, f"{path}.action", errors)
    if codes is not None:
        _validate_exit_codes(codes, names, f"{path}.onExitCodes", errors)
    if len(conditions) > _CONDITIONS_MAX:
        errors.append(too_many(f"{path}.onPodConditions", len(conditions), _CONDITIONS_MAX))
    for number, pattern in enumerate(conditions):
        at = f"{path}.onPodConditions[{number}]"
        checks.qualified_name(pattern.get("type") or "", f"{at}.type", errors)
        _required_choice(pattern.get("status"), ("False", "True", "Unknown"), f"{at}.status", errors)
    if codes is not None and conditions:
        why = "specifying both OnExitCodes and OnPodConditions is not supported"
        errors.append(invalid_value(path, OMITTED, why))
    if codes is None and not conditions:
        why = "specifying one of OnExitCodes and OnPodConditions is required"
        errors.append(invalid_value(path, OMITTED, why))


def _validate_exit_codes(codes: Fields, names: Collection[Any], path: str, errors: Errors) -> None:
    operator, values = codes.get("operator"), codes.get("values") or []
    _required_choice(operator, ("In", "NotIn"), f"{path}.operator", errors)
    name = codes.get("containerName")
    if name is not None and name not in names:
        why = "must be one of the container or initContainer names in the pod template"
        errors.append(invalid_value(f"{path}.containerName", name, why))
    path = f"{path}.values"
    if not values:
        errors.append(invalid_value(path, values, "at least one value is required"))
    elif len(values) > _EXIT_CODES_MAX:
        errors.append(too_many(path, len(values), _EXIT_CODES_MAX))
    for number, value in enumerate(values):
        if operator == "In" and value == 0:
            errors.append(invalid_value(f"{path}[{number}]", value, "must not be 0 for the In operator"))
    errors += [duplicate(f"{path}[{number}]", values[number]) for number in _repeated(values)]
    if sorted(values) != values:
        errors.append(invalid_value(path, values, "must be ordered"))


def _repeated(values: Iterable[int]) -> list[int]:
    """The places of what has stood before."""
    seen: set[int] = set()
    places = []
    for number, value in enumerate(values):
        if value in seen:
            places.append(number)
        seen.add(value)
    return places


def _validate_success_policy(policy: Fields, completions: int | None, path: str, errors: Errors) -> None:
    rules = policy.get("rules") or ()
    path = f"{path}.rules"
    if not rules:
        why = "at least one rules must be specified when the successPolicy is specified"
        errors.append(required(path, why))
    if len(rules) > _RULES_MAX:
        errors.append(too_many(path, len(rules), _RULES_MAX))
    for number, rule in enumerate(rules):
        _validate_success_rule(rule, completions or 0, f"{path}[{number}]", errors)


def _validate_success_rule(rule: Fields, completions: int, path: str, errors: Errors) -> None:
    succeeded, indexes = rule.get("succeededCount"), rule.get("succeededIndexes")
    if succeeded is None and indexes is None:
        why = "at least one of succeededCount or succeededIndexes must be specified"
        errors.append(required(path, why))
    total = 0
    if indexes is not None:
        at = f"{path}.succeededIndexes"
        if len(indexes) > _SUCCEEDED_INDEXES_MAX:
            errors.append(too_long(at, _SUCCEEDED_INDEXES_MAX))
        try:
            total = job_indexes.count(job_indexes.intervals(indexes, completions))
        except ValueError as error:
            errors.append(invalid_value(at, indexes, f"error parsing succeededIndexes: {error}"))
    if succeeded is None:
        return
    at = f"{path}.succeededCount"
    checks.not_negative(succeeded, at, errors)
    if succeeded > completions:
        why = f"must be less than or equal to {completions} (the number of specified completions)"
        errors.append(invalid_value(at, succeeded, why))
    if indexes is not None and succeeded > total:
        why = f"must be less than or equal to {total} (the number of indexes in the specified succeededIndexes field)"
        errors.append(invalid_value(at, succeeded, why))
