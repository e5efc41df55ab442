"""ReplicationControllers, the forerunners of ReplicaSets: their selector is a map of labels.

Source: kubernetes/pkg/apis/core/v1/defaults.go, validation/validation.go, pkg/registry/core/replicationcontroller.
"""

from __future__ import annotations

from apimachinery.field import required
from apimachinery.meta import Object, get_path
from apimachinery.pod_defaults import default_template
from apimachinery.resources import REPLICATIONCONTROLLERS
from apiserver.registry import checks, replicasets, workloads
from apiserver.registry.checks import Errors
from apiserver.registry.strategy import Cell, Column, Scale, Strategy, keep_spec, labels_text


def default(controller: Object) -> None:
    """One replica, and the labels of its template for itself and as its selector."""
    spec = controller.setdefault("spec", {})
    if spec.get("replicas") is None:
        spec["replicas"] = 1
    if spec.get("template") is None:
        return
    default_template(spec["template"])
    labels = get_path(spec, "template", "metadata", "labels")
    if labels:
        if not spec.get("selector"):
            spec["selector"] = dict(labels)
        if not controller["metadata"].get("labels"):
            controller["metadata"]["labels"] = dict(labels)


def validate(controller: Object) -> Errors:
    """What is wrong with a ReplicationController in itself."""
    errors: Errors = []
    spec = controller.get("spec") or {}
    checks.not_negative(spec.get("minReadySeconds"), "spec.minReadySeconds", errors)
    if not spec.get("selector"):
        errors.append(required("spec.selector"))
    checks.not_negative(spec.get("replicas"), "spec.replicas", errors)
    template = spec.get("template")
    if template is None:
        errors.append(required("spec.template"))
        return errors
    selector = {"matchLabels": spec.get("selector") or {}}
    workloads.validate_selected(selector, template, "spec.template", errors)
    workloads.validate_workload_template(template, "ReplicationController", "spec.template", errors)
    return errors


def _selector(controller: Object) -> Cell:
    return labels_text(get_path(controller, "spec", "selector"))


STRATEGY = Strategy(
    REPLICATIONCONTROLLERS,
    default=default,
    prepare_status=keep_spec,
    validate=validate,
    validate_status=replicasets.validate_status,
    columns=(
        *replicasets.STRATEGY.columns[:-1],
        Column("Selector", _selector, priority=1, description="The labels of the pods that belong to it."),
    ),
    selectable=("status.replicas",),
    counts_generations=True,
    scale=Scale(),
    orphans_dependents=True,
)
