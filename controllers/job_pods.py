"""The pods of a Job: how they are made, and what they tell of themselves.

A pod of a Job carries a finalizer until it is counted: nobody can remove it before, so that none is lost from the
counts, and without it none is counted twice.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/job/#job-tracking-with-finalizers
"""

from __future__ import annotations

from typing import Any

from apimachinery import meta
from apimachinery.meta import (
    Object,
    deletion_requested,
    get_path,
    name,
    namespace,
    owner_reference,
)
from apimachinery.resources import JOBS
from controllers.job_policies import judge_failure
from controllers.pods import phase

KIND = {"apiVersion": JOBS.api_version, "kind": JOBS.kind}
TRACKING = "batch.kubernetes.io/job-tracking"
COMPLETION_INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
INDEX_IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"
INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
# The server adds five characters to a prefix, and a name of a pod must be a name of a host.
_PREFIX_MAX = 63 - 5
_FAILURES_MAX = 2**31 - 1


def is_indexed(job: Object) -> bool:
    """True if each pod has a task of its own."""
    return bool(get_path(job, "spec", "completionMode") == "Indexed")


def limits_indexes(job: Object) -> bool:
    """True if each index has a backoff limit of its own."""
    return get_path(job, "spec", "backoffLimitPerIndex") is not None


def waits_for_ends(job: Object) -> bool:
    """True if a pod is replaced only once it has ended, False if as soon as it is to end."""
    policy = get_path(job, "spec", "podReplacementPolicy")
    if policy is None:
        return get_path(job, "spec", "podFailurePolicy") is not None
    return bool(policy == "Failed")


def is_suspended(job: Object) -> bool:
    """True while its author has no pods of it run."""
    return bool(get_path(job, "spec", "suspend", default=False))


def is_tracked(pod: Object) -> bool:
    """True while the pod is not counted for good."""
    return TRACKING in (pod["metadata"].get("finalizers") or ())


def is_failed(pod: Object, job: Object) -> bool:
    """True for a failed pod, and for one that is being deleted, which may never get to say how it ended."""
    if phase(pod) == "Failed":
        return True
    return not waits_for_ends(job) and deletion_requested(pod) and phase(pod) != "Succeeded"


def completion_index(pod: Object) -> int | None:
    """The task of a pod of an Indexed Job."""
    text = meta.annotations(pod).get(COMPLETION_INDEX, "")
    return int(text) if text.isascii() and text.isdecimal() else None


def index_within(pod: Object, completions: int) -> int | None:
    """Its task, if the Job has such a one."""
    index = completion_index(pod)
    return index if index is not None and index < completions else None


def index_failures(pod: Object) -> int:
    """How many pods of its index had failed before this one was made, as far as they count."""
    return _number(pod, INDEX_FAILURES)


def all_index_failures(pod: Object) -> int:
    """How many pods of its index had failed before, those that were ignored included."""
    return _number(pod, INDEX_FAILURES) + _number(pod, INDEX_IGNORED_FAILURES)


def _number(pod: Object, key: str) -> int:
    text = meta.annotations(pod).get(key, "")
    return int(text) if text.isascii() and text.isdecimal() and int(text) <= _FAILURES_MAX else 0


def new_pod(job: Object, index: int | None, replaced: Object | None = None) -> Object:
    """The pod to create: the template, tracked, owned by the Job; `replaced` is the failed one of the same index."""
    template = job["spec"]["template"]
    metadata = template.get("metadata") or {}
    finalizers = [*(one for one in metadata.get("finalizers") or () if one != TRACKING), TRACKING]
    made: Object = {
        "generateName": f"{name(job)}-",
        "namespace": namespace(job),
        "labels": dict(metadata.get("labels") or {}),
        "annotations": dict(metadata.get("annotations") or {}),
        "finalizers": finalizers,
        "ownerReferences": [owner_reference({**job, **KIND})],
    }
    spec = template["spec"]
    if index is not None:
        suffix = f"-{index}-"
        made["generateName"] = name(job)[: _PREFIX_MAX - len(suffix)] + suffix
        made["labels"][COMPLETION_INDEX] = made["annotations"][COMPLETION_INDEX] = str(index)
        spec = _with_index(spec, f"{name(job)}-{index}")
        if limits_indexes(job):
            made["annotations"] |= _failure_counts(job, replaced)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": made, "spec": spec}


def _with_index(spec: Object, hostname: str) -> Object:
    changed: Object = {"hostname": hostname}
    for kind in ("initContainers", "containers"):
        if spec.get(kind):
            changed[kind] = [_knowing_index(container) for container in spec[kind]]
    return {**spec, **changed}


def _knowing_index(container: Object) -> Object:
    known: list[Any] = container.get("env") or []
    if any(variable["name"] == INDEX_VARIABLE for variable in known):
        return container
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{COMPLETION_INDEX}']"}}
    return {**container, "env": [*known, {"name": INDEX_VARIABLE, "valueFrom": source}]}


def _failure_counts(job: Object, replaced: Object | None) -> dict[str, str]:
    if replaced is None:
        return {INDEX_FAILURES: "0"}
    failures, ignored = index_failures(replaced), _number(replaced, INDEX_IGNORED_FAILURES)
    if judge_failure(job, replaced).counts:
        failures += 1
    else:
        ignored += 1
    return {INDEX_FAILURES: str(failures), **({INDEX_IGNORED_FAILURES: str(ignored)} if ignored else {})}
