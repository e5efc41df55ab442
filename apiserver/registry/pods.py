"""Pods.

Source: kubernetes/pkg/registry/core/pod/strategy.go.
"""

from __future__ import annotations

from typing import Any

from apimachinery import meta
from apimachinery.field import forbidden_field
from apimachinery.meta import Object
from apimachinery.pod_defaults import default_pod
from apimachinery.resources import PODS
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.known_specs import check_once
from apiserver.registry.pod_containers import validate_image
from apiserver.registry.pod_parts import (
    RESIZED_PATHS,
    prepare_ephemeral_containers,
    prepare_resize,
    validate_ephemeral_containers,
    validate_resize,
)
from apiserver.registry.pod_qos import qos_class
from apiserver.registry.pod_spec import validate_pod_annotations, validate_pod_spec
from apiserver.registry.pod_table import COLUMNS
from apiserver.registry.pod_update import validate_pod_status, validate_pod_update
from apiserver.registry.strategy import CheckFrom, Part, Strategy, keep_spec

_TERMS = (
    ("requiredDuringSchedulingIgnoredDuringExecution", ()),
    ("preferredDuringSchedulingIgnoredDuringExecution", ("podAffinityTerm",)),
)


def prepare_create(pod: Object) -> None:
    """A new pod waits to be scheduled; whatever status was sent is dropped."""
    spec = pod.setdefault("spec", {})
    status: dict[str, Any] = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        status["conditions"] = [
            {
                "type": "PodScheduled",
                "status": "False",
                "reason": "SchedulingGated",
                "message": "Scheduling is blocked due to non-empty scheduling gates",
            }
        ]
    pod["status"] = status
    _merge_label_keys(pod)


def _merge_label_keys(pod: Object) -> None:
    """`matchLabelKeys` stand for the values that this very pod has: they become part of the selectors."""
    spec, own = pod["spec"], meta.labels(pod)
    for constraint in spec.get("topologySpreadConstraints") or ():
        _merge(constraint, "matchLabelKeys", "In", own)
    for key in ("podAffinity", "podAntiAffinity"):
        affinity = (spec.get("affinity") or {}).get(key) or {}
        for field, inner in _TERMS:
            for term in affinity.get(field) or ():
                for step in inner:
                    term = term.get(step) or {}
                _merge(term, "matchLabelKeys", "In", own)
                _merge(term, "mismatchLabelKeys", "NotIn", own)


def _merge(term: dict[str, Any], field: str, operator: str, own: dict[str, str]) -> None:
    selector = term.get("labelSelector")
    if selector is None:
        return
    for key in term.get(field) or ():
        if key in own:
            found = {"key": key, "operator": operator, "values": [own[key]]}
            selector["matchExpressions"] = [*(selector.get("matchExpressions") or ()), found]


def prepare_status(pod: Object, old: Object) -> None:
    """The quality of service stays what it was at the beginning, and so do the owners."""
    keep_spec(pod, old)
    pod["metadata"].pop("ownerReferences", None)
    if "ownerReferences" in old["metadata"]:
        pod["metadata"]["ownerReferences"] = old["metadata"]["ownerReferences"]
    status, before = pod.setdefault("status", {}), old.get("status") or {}
    if not status.get("qosClass") and before.get("qosClass"):
        status["qosClass"] = before["qosClass"]


def validate(pod: Object) -> Errors:
    """What is wrong with a pod in itself."""
    errors: Errors = []
    spec = pod.get("spec") or {}
    validate_pod_annotations(meta.annotations(pod), spec, "metadata.annotations", errors)
    errors += check_once(spec, lambda: _spec_errors(spec, pod["metadata"].get("name") or ""))
    # One that is stored has a version; these join only later.
    if spec.get("ephemeralContainers") and not pod["metadata"].get("resourceVersion"):
        errors.append(forbidden_field("spec.ephemeralContainers", "cannot be set on create"))
    if spec.get("nodeName") and spec.get("schedulingGates"):
        why = "cannot be set until all schedulingGates have been cleared"
        errors.append(forbidden_field("spec.nodeName", why))
    return errors


def _spec_errors(spec: Fields, name: str) -> Errors:
    """What is wrong with the spec of a pod of this name."""
    errors: Errors = []
    validate_pod_spec(spec, name, "spec", errors, in_pod=True)
    if not spec.get("serviceAccountName"):
        _forbid_tokens(spec, errors)
    for key in ("containers", "initContainers"):
        for number, container in enumerate(spec.get(key) or ()):
            validate_image(container, f"spec.{key}[{number}]", errors)
    return errors


def _forbid_tokens(spec: Fields, errors: Errors) -> None:
    for number, volume in enumerate(spec.get("volumes") or ()):
        for index, source in enumerate((volume.get("projected") or {}).get("sources") or ()):
            if source.get("serviceAccountToken") is not None:
                at = f"spec.volumes[{number}].projected.sources[{index}].serviceAccountToken"
                errors.append(forbidden_field(at, "must not be specified when serviceAccountName is not set"))


def _also(check: CheckFrom) -> CheckFrom:
    """What is wrong with a pod in itself, and then with the change."""
    return lambda pod, old: check(pod, old) + validate(pod)


def grace_period_seconds(pod: Object, requested: int | None) -> int:
    """What was asked for, else what the pod says; a pod that runs nowhere, or no more, goes at once."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    if not spec.get("nodeName") or status.get("phase") in ("Failed", "Succeeded"):
        return 0
    seconds = requested if requested is not None else spec.get("terminationGracePeriodSeconds") or 0
    return seconds if seconds >= 0 else 1


STRATEGY = Strategy(
    PODS,
    default=default_pod,
    prepare_create=prepare_create,
    prepare_status=prepare_status,
    validate=validate,
    validate_update=validate_pod_update,
    validate_status=validate_pod_status,
    columns=COLUMNS,
    selectable=(
        *("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName"),
        *("spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"),
    ),
    counts_generations=True,
    grace_period_seconds=grace_period_seconds,
    parts={
        "ephemeralcontainers": Part(
            prepare_ephemeral_containers,
            _also(validate_ephemeral_containers),
            writes=("spec.ephemeralContainers",),
        ),
        "resize": Part(prepare_resize, _also(validate_resize), writes=RESIZED_PATHS),
    },
    status_resets=("spec", "metadata.deletionTimestamp", "metadata.ownerReferences"),
)
