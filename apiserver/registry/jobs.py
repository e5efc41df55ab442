"""Jobs.

Source: kubernetes/pkg/apis/batch/v1/defaults.go, validation/validation.go and pkg/registry/batch/job.
"""

from __future__ import annotations

import copy
from typing import Any

from apimachinery import meta, names
from apimachinery.field import invalid_value, required
from apimachinery.meta import Object, deletion_requested, get_path
from apimachinery.resources import JOBS
from apimachinery.time import human_duration, parse_rfc3339
from apiserver.registry import workloads
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import equal, immutable
from apiserver.registry.job_spec import INDEXED, default_job_spec, validate_job_spec
from apiserver.registry.job_status import has_condition, validate_job_status
from apiserver.registry.metadata import validate_label_selector
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Since, Strategy, drop_status, keep_spec

# The labels of a Job's pods, in their older form and in their newer one.
NAME_LABELS = ("job-name", "batch.kubernetes.io/job-name")
UID_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid")
_FIXED = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
# What may be changed in the template of a suspended Job that has never run.
_DIRECTIVES = ("nodeSelector", "tolerations", "schedulingGates")


def default(job: Object) -> None:
    """One pod that must succeed once; without labels of its own it has those of its pods."""
    spec = job.setdefault("spec", {})
    default_job_spec(spec)
    labels = get_path(spec, "template", "metadata", "labels")
    if labels and not meta.labels(job):
        job["metadata"]["labels"] = dict(labels)


def prepare_create(job: Object) -> None:
    """Pods are found by the Job's uid, unless its author selects them."""
    drop_status(job)
    spec = job.setdefault("spec", {})
    if spec.get("manualSelector"):
        return
    name, uid = job["metadata"].get("name") or "", meta.uid(job)
    template = spec.setdefault("template", {})
    metadata = template["metadata"] = template.get("metadata") or {}
    labels = metadata["labels"] = metadata.get("labels") or {}
    for key in NAME_LABELS:
        labels.setdefault(key, name)
    for key in UID_LABELS:
        labels.setdefault(key, uid)
    selector = spec["selector"] = spec.get("selector") or {}
    matched = selector["matchLabels"] = selector.get("matchLabels") or {}
    matched.setdefault(UID_LABELS[1], uid)
    # Labels of pods become those of a Job that has none, whoever has set them.
    if not meta.labels(job):
        job["metadata"]["labels"] = dict(labels)


def validate(job: Object) -> Errors:
    """What is wrong with a Job in itself."""
    errors: Errors = []
    spec, name = job.get("spec") or {}, job["metadata"].get("name") or ""
    selector, template = spec.get("selector"), spec.get("template") or {}
    _validate_generated(job, spec, errors)
    validate_job_spec(spec, "spec", errors)
    if selector is None:
        errors.append(required("spec.selector"))
    else:
        validate_label_selector(selector, "spec.selector", errors)
    workloads.validate_selected(selector, template, "spec.template", errors)
    completions = spec.get("completions") or 0
    if spec.get("completionMode") == INDEXED and completions > 0:
        host = f"{name}-{completions - 1}"
        if names.dns1123_label(host):
            why = f"will not able to create pod with invalid DNS label: {host}"
            errors.append(invalid_value("metadata.name", name, why))
    return errors


def _validate_generated(job: Object, spec: Fields, errors: Errors) -> None:
    if spec.get("manualSelector") or spec.get("selector") is None:
        return
    uid, name = meta.uid(job), job["metadata"].get("name") or ""
    if not uid:
        errors.append(required("metadata.uid"))
    expected = {**dict.fromkeys(UID_LABELS, uid), **dict.fromkeys(NAME_LABELS, name)}
    labels = get_path(spec, "template", "metadata", "labels", default={})
    for key, value in expected.items():
        path = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            errors.append(required(path, f"must be '{value}'"))
        elif labels[key] != value:
            errors.append(invalid_value(path, labels, f"must be '{value}'"))
    parsed = workloads.parsed_selector(spec["selector"])
    if parsed is not None and not parsed.matches(expected):
        errors.append(invalid_value("spec.selector", spec["selector"], "`selector` not auto-generated"))


def validate_update(job: Object, old: Object) -> Errors:
    """What the pods are stays; how many of them may change, and of a Job that has not begun where they may run."""
    errors: Errors = []
    spec, before = job.get("spec") or {}, old.get("spec") or {}
    _validate_completions(spec, before, errors)
    immutable(spec.get("selector"), before.get("selector"), "spec.selector", errors)
    template, was = spec.get("template") or {}, before.get("template") or {}
    if before.get("suspend") and not get_path(old, "status", "startTime"):
        was = _with_directives(was, template)
    immutable(template, was, "spec.template", errors)
    for field in _FIXED:
        immutable(spec.get(field), before.get(field), f"spec.{field}", errors)
    return errors


def _validate_completions(spec: Fields, before: Fields, errors: Errors) -> None:
    completions, path = spec.get("completions"), "spec.completions"
    if spec.get("completionMode") != INDEXED:
        immutable(completions, before.get("completions"), path, errors)
    elif completions not in (None, before.get("completions"), spec.get("parallelism")):
        why = "can only be modified in tandem with spec.parallelism"
        errors.append(invalid_value(path, completions, why))


def _with_directives(template: dict[str, Any], new: Fields) -> dict[str, Any]:
    """A template with what another says of where its pods may run."""
    made = copy.deepcopy(template)
    pod, wanted = made.setdefault("spec", {}), new.get("spec") or {}
    for field in _DIRECTIVES:
        pod[field] = wanted.get(field)
    metadata, labelled = made.setdefault("metadata", {}), new.get("metadata") or {}
    for field in ("annotations", "labels"):
        metadata[field] = labelled.get(field)
    affinity = {**(pod.get("affinity") or {}), "nodeAffinity": (wanted.get("affinity") or {}).get("nodeAffinity")}
    pod["affinity"] = None if equal(affinity, {}) else affinity
    return made


def _status(job: Object) -> Cell:
    for kind in ("Complete", "Failed"):
        if has_condition(job, kind):
            return kind
    if deletion_requested(job):
        return "Terminating"
    others = ("Suspended", "FailureTarget", "SuccessCriteriaMet")
    return next((kind for kind in others if has_condition(job, kind)), "Running")


def _completions(job: Object) -> Cell:
    done, spec = get_path(job, "status", "succeeded", default=0), job.get("spec") or {}
    if spec.get("completions") is not None:
        return f"{done}/{spec['completions']}"
    parallelism = spec.get("parallelism") or 0
    return f"{done}/1 of {parallelism}" if parallelism > 1 else f"{done}/1"


def _duration(job: Object) -> Cell:
    started, ended = (get_path(job, "status", field) for field in ("startTime", "completionTime"))
    if not started:
        return ""
    return human_duration(parse_rfc3339(ended) - parse_rfc3339(started)) if ended else Since((started,))


STRATEGY = Strategy(
    JOBS,
    default=default,
    prepare_create=prepare_create,
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_job_status,
    columns=(
        NAME,
        Column("Status", _status, description="Status of the job."),
        Column("Completions", _completions, description="How many pods have succeeded of those that must."),
        Column("Duration", _duration, description="Time required to complete the job."),
        AGE,
        workloads.CONTAINERS,
        workloads.IMAGES,
        workloads.SELECTOR,
    ),
    # The field of the status is called `succeeded`; this name for it is as old as Jobs.
    selectable=("status.successful",),
    counts_generations=True,
    orphans_dependents=True,
    orphaning_warning="child pods are preserved by default when jobs are deleted; set propagationPolicy=Background "
    "to remove them or set propagationPolicy=Orphan to suppress this warning",
)
