"""DaemonSets.

Source: kubernetes/pkg/apis/apps/v1/defaults.go, validation/validation.go and pkg/registry/apps/daemonset.
"""

from __future__ import annotations

from typing import Any

from apimachinery.field import invalid_value, not_supported, required
from apimachinery.meta import Object, get_path
from apimachinery.pod_defaults import default_template
from apimachinery.resources import DAEMONSETS
from apiserver.registry import checks, workloads
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import equal, immutable
from apiserver.registry.metadata import validate_label_selector
from apiserver.registry.strategy import AGE, NAME, Column, Strategy, keep_spec, keep_status, labels_text

HISTORY_LIMIT = 10
# Which template the pods of older clients were made from; the number goes up with each change of the template.
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
_COUNTS = (
    *("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady"),
    *("updatedNumberScheduled", "numberAvailable", "numberUnavailable"),
)


def default(daemon_set: Object) -> None:
    """Replaced one node at a time."""
    spec = daemon_set.setdefault("spec", {})
    if spec.get("updateStrategy") is None:
        spec["updateStrategy"] = {}
    strategy = spec["updateStrategy"]
    if not strategy.get("type"):
        strategy["type"] = "RollingUpdate"
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        for field, value in (("maxUnavailable", 1), ("maxSurge", 0)):
            if rolling.get(field) is None:
                rolling[field] = value
    if spec.get("revisionHistoryLimit") is None:
        spec["revisionHistoryLimit"] = HISTORY_LIMIT
    if spec.get("template") is not None:
        default_template(spec["template"])


def prepare_create(daemon_set: Object) -> None:
    """The first template."""
    daemon_set.pop("status", None)
    _count_template(daemon_set, 1)


def prepare_update(daemon_set: Object, old: Object) -> None:
    """The template is counted by the server."""
    keep_status(daemon_set, old)
    text = (old["metadata"].get("annotations") or {}).get(TEMPLATE_GENERATION) or "1"
    count = int(text) if text.isascii() and text.isdigit() else 1
    same = equal(get_path(daemon_set, "spec", "template"), get_path(old, "spec", "template"))
    _count_template(daemon_set, count if same else count + 1)


def _count_template(daemon_set: Object, count: int) -> None:
    metadata = daemon_set["metadata"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), TEMPLATE_GENERATION: str(count)}


def validate(daemon_set: Object) -> Errors:
    """What is wrong with a DaemonSet in itself."""
    errors: Errors = []
    spec = daemon_set.get("spec") or {}
    selector, template = spec.get("selector"), spec.get("template") or {}
    validate_label_selector(selector, "spec.selector", errors)
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        workloads.validate_selected(selector, template, "spec.template", errors)
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            errors.append(invalid_value("spec.selector", selector, "empty selector is invalid for daemonset"))
    workloads.validate_workload_template(template, "DaemonSet", "spec.template", errors)
    checks.not_negative(spec.get("minReadySeconds"), "spec.minReadySeconds", errors)
    _validate_strategy(spec.get("updateStrategy") or {}, "spec.updateStrategy", errors)
    checks.not_negative(spec.get("revisionHistoryLimit"), "spec.revisionHistoryLimit", errors)
    return errors


def _validate_strategy(strategy: Fields, path: str, errors: Errors) -> None:
    kind = strategy.get("type")
    if kind == "OnDelete":
        return
    if kind != "RollingUpdate":
        errors.append(not_supported(path, strategy, ("OnDelete", "RollingUpdate")))
        return
    path, rolling = f"{path}.rollingUpdate", strategy.get("rollingUpdate")
    if rolling is None:
        errors.append(required(path))
        return
    for field in ("maxUnavailable", "maxSurge"):
        checks.count_or_percent(rolling.get(field), f"{path}.{field}", errors)
    for field in ("maxUnavailable", "maxSurge"):
        checks.at_most_all(rolling.get(field), f"{path}.{field}", errors)
    unavailable: Any = checks.count_or_percent_number(rolling.get("maxUnavailable"))
    surge = checks.count_or_percent_number(rolling.get("maxSurge"))
    if unavailable and surge:
        why = "may not be set when maxUnavailable is non-zero"
        errors.append(invalid_value(f"{path}.maxSurge", rolling.get("maxSurge"), why))
    elif not unavailable and not surge:
        errors.append(required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))


def validate_update(daemon_set: Object, old: Object) -> Errors:
    """The selector is what it was."""
    errors: Errors = []
    selector, before = get_path(daemon_set, "spec", "selector"), get_path(old, "spec", "selector")
    immutable(selector, before, "spec.selector", errors)
    return errors


def validate_status(daemon_set: Object, old: Object) -> Errors:
    """Numbers that make sense."""
    errors: Errors = []
    status = daemon_set.get("status") or {}
    for field in (*_COUNTS, "observedGeneration", "collisionCount"):
        checks.not_negative(status.get(field), f"status.{field}", errors)
    workloads.validate_collisions(daemon_set, old, errors)
    return errors


def _count(name: str, field: str, description: str) -> Column:
    return Column(name, workloads.number("status", field), type="integer", description=description)


STRATEGY = Strategy(
    DAEMONSETS,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    columns=(
        NAME,
        _count("Desired", "desiredNumberScheduled", "The number of nodes that should run a pod of it."),
        _count("Current", "currentNumberScheduled", "The number of nodes that have a pod and should."),
        _count("Ready", "numberReady", "The number of nodes whose pod is ready."),
        _count("Up-to-date", "updatedNumberScheduled", "The number of nodes whose pod is of the newest template."),
        _count("Available", "numberAvailable", "The number of nodes whose pod has been ready for minReadySeconds."),
        Column(
            "Node Selector",
            lambda obj: labels_text(get_path(obj, "spec", "template", "spec", "nodeSelector")),
            description="The labels that a node must have.",
        ),
        AGE,
        workloads.CONTAINERS,
        workloads.IMAGES,
        workloads.SELECTOR,
    ),
    counts_generations=True,
)
