"""HorizontalPodAutoscalers, as autoscaling/v2 has them; autoscaling/v1 is another form of the same objects.

Source: kubernetes/pkg/apis/autoscaling/v2/defaults.go, validation/validation.go and
pkg/registry/autoscaling/horizontalpodautoscaler.
"""

from __future__ import annotations

from typing import Any

from apimachinery import meta
from apimachinery.field import invalid_value, not_supported, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import HORIZONTALPODAUTOSCALERS
from apiserver.registry import amounts, checks, workloads
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.conversion import ROUND_TRIP_ANNOTATIONS, convert, cpu_utilization
from apiserver.registry.hpa_metrics import metrics_text, validate_group, validate_metrics, validate_reference
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, drop_status, keep_spec, keep_status

PERIOD_SECONDS = 15
PERIOD_SECONDS_MAX, STABILIZATION_SECONDS_MAX = 1800, 3600
_SELECTIONS = ("Disabled", "Max", "Min")
_UP: dict[str, Any] = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": PERIOD_SECONDS},
        {"type": "Percent", "value": 100, "periodSeconds": PERIOD_SECONDS},
    ],
}
# How long scaling down waits is the controller's to say, by a flag.
_DOWN: dict[str, Any] = {
    "selectPolicy": "Max",
    "policies": [{"type": "Percent", "value": 100, "periodSeconds": PERIOD_SECONDS}],
}


def default(autoscaler: Object) -> None:
    """One pod at least, and so many that each uses most of the CPU that it requests."""
    spec = autoscaler.setdefault("spec", {})
    if spec.get("minReplicas") is None:
        spec["minReplicas"] = 1
    if not spec.get("metrics"):
        spec["metrics"] = [cpu_utilization()]
    behavior = spec.get("behavior")
    if behavior is not None:
        for field, rules in (("scaleUp", _UP), ("scaleDown", _DOWN)):
            said = {key: value for key, value in (behavior.get(field) or {}).items() if value is not None}
            behavior[field] = {**rules, "policies": [dict(one) for one in rules["policies"]], **said}


def _drop_annotations(autoscaler: Object) -> None:
    """What the other form keeps in annotations stands in fields here."""
    annotations = meta.annotations(autoscaler)
    if annotations.keys() & set(ROUND_TRIP_ANNOTATIONS):
        kept = {key: value for key, value in annotations.items() if key not in ROUND_TRIP_ANNOTATIONS}
        autoscaler["metadata"]["annotations"] = kept


def prepare_create(autoscaler: Object) -> None:
    """Nothing has been measured yet."""
    drop_status(autoscaler)
    _drop_annotations(autoscaler)


def prepare_update(autoscaler: Object, old: Object) -> None:
    """The status is changed apart."""
    keep_status(autoscaler, old)
    _drop_annotations(autoscaler)


def validate(autoscaler: Object) -> Errors:
    """What is wrong with an autoscaler in itself."""
    errors: Errors = []
    spec = autoscaler.get("spec") or {}
    least, most = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    if least is not None and least < 1:
        errors.append(invalid_value("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        errors.append(invalid_value("spec.maxReplicas", most, "must be greater than 0"))
    if least is not None and most < least:
        why = "must be greater than or equal to `minReplicas`"
        errors.append(invalid_value("spec.maxReplicas", most, why))
    target = spec.get("scaleTargetRef") or {}
    validate_reference(target, "spec.scaleTargetRef", errors)
    # One that is stored has a version, and may go on to name its target as it did.
    if not autoscaler["metadata"].get("resourceVersion"):
        _validate_target_group(target, errors)
    validate_metrics(spec.get("metrics") or (), least, "spec.metrics", errors)
    behavior = spec.get("behavior") or {}
    for field in ("scaleUp", "scaleDown"):
        if behavior.get(field) is not None:
            _validate_rules(behavior[field], f"spec.behavior.{field}", errors)
    return errors


def _validate_target_group(target: Fields, errors: Errors) -> None:
    core_allowed = target.get("kind") == "ReplicationController"
    validate_group(target, "spec.scaleTargetRef", errors, core_allowed=core_allowed)


def _validate_rules(rules: Fields, path: str, errors: Errors) -> None:
    window = rules.get("stabilizationWindowSeconds")
    if window is not None and window < 0:
        why = "must be greater than or equal to zero"
        errors.append(invalid_value(f"{path}.stabilizationWindowSeconds", window, why))
    if window is not None and window > STABILIZATION_SECONDS_MAX:
        why = f"must be less than or equal to {STABILIZATION_SECONDS_MAX}"
        errors.append(invalid_value(f"{path}.stabilizationWindowSeconds", window, why))
    checks.optional_choice(rules.get("selectPolicy"), _SELECTIONS, f"{path}.selectPolicy", errors)
    policies = rules.get("policies") or ()
    if not policies:
        errors.append(required(f"{path}.policies", "must specify at least one Policy"))
    for number, policy in enumerate(policies):
        at, period = f"{path}.policies[{number}]", policy.get("periodSeconds") or 0
        if policy.get("type") not in ("Pods", "Percent"):
            errors.append(not_supported(f"{at}.type", policy.get("type") or "", ("Percent", "Pods")))
        checks.positive(policy.get("value"), f"{at}.value", errors)
        checks.positive(period, f"{at}.periodSeconds", errors)
        if period > PERIOD_SECONDS_MAX:
            why = f"must be less than or equal to {PERIOD_SECONDS_MAX}"
            errors.append(invalid_value(f"{at}.periodSeconds", period, why))
    tolerance = amounts.amount(rules.get("tolerance", "0"))
    if tolerance is not None and tolerance.nanos < 0:
        errors.append(invalid_value(f"{path}.tolerance", rules["tolerance"], checks.NOT_NEGATIVE))


def validate_update(autoscaler: Object, old: Object) -> Errors:
    """A target that is another one must be named in full."""
    errors: Errors = []
    target, before = (get_path(one, "spec", "scaleTargetRef", default={}) for one in (autoscaler, old))
    if any(target.get(field) != before.get(field) for field in ("apiVersion", "kind")):
        _validate_target_group(target, errors)
    return errors


def validate_status(autoscaler: Object, old: Object) -> Errors:
    """Numbers that can be."""
    errors: Errors = []
    for field in ("currentReplicas", "desiredReplicas"):
        checks.not_negative(get_path(autoscaler, "status", field), f"status.{field}", errors)
    return errors


def _reference(autoscaler: Object) -> Cell:
    target = get_path(autoscaler, "spec", "scaleTargetRef", default={})
    return f"{target.get('kind') or ''}/{target.get('name') or ''}"


def _targets(autoscaler: Object) -> Cell:
    # The first version has one of them alone in a field.
    autoscaler = convert(autoscaler, HORIZONTALPODAUTOSCALERS.api_version)
    metrics = get_path(autoscaler, "spec", "metrics", default=())
    return metrics_text(metrics, get_path(autoscaler, "status", "currentMetrics", default=()))


def _least(autoscaler: Object) -> Cell:
    return str(get_path(autoscaler, "spec", "minReplicas", default="<unset>"))


STRATEGY = Strategy(
    HORIZONTALPODAUTOSCALERS,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    columns=(
        NAME,
        Column("Reference", _reference, description="What is scaled."),
        Column("Targets", _targets, description="What is measured, of what is wanted."),
        Column("MinPods", _least, description="The least number of pods."),
        Column("MaxPods", workloads.number("spec", "maxReplicas"), description="The greatest number of pods."),
        Column("Replicas", workloads.number("status", "currentReplicas"), description="The number of pods."),
        AGE,
    ),
)
