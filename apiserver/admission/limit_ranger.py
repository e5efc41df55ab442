"""LimitRanger: the LimitRanges of a namespace give containers what they don't ask for, and bound what they do.

Source: https://kubernetes.io/docs/concepts/policy/limit-range/, kubernetes/plugin/pkg/admission/limitranger.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from apimachinery.meta import Object, get_path
from apimachinery.pod_resources import Amounts, amounts, containers_total, is_of_pods
from apimachinery.quantity import Quantity
from apimachinery.resources import LIMITRANGES, PERSISTENTVOLUMECLAIMS, PODS
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused

ANNOTATION = "kubernetes.io/limit-ranger"
_CONTAINERS = (("containers", "container"), ("initContainers", "init container"))


def _limit_ranges(attributes: Attributes, cluster: Cluster) -> Iterator[Sequence[dict[str, Any]]]:
    """The items of each LimitRange that concerns what is written."""
    unchanged = attributes.resource.key == PODS.key and attributes.subresource != "resize"
    # The resources of a pod change by a resize alone, and nothing should hinder its end.
    if attributes.operation == UPDATE and (unchanged or get_path(attributes.old, "metadata", "deletionTimestamp")):
        return
    for limit_range in cluster.list(LIMITRANGES, attributes.namespace):
        yield get_path(limit_range, "spec", "limits", default=())


async def _set_defaults(attributes: Attributes, cluster: Cluster) -> None:
    pod = attributes.obj
    assert pod is not None
    if attributes.resource.key != PODS.key:
        return
    told = []
    for limits in _limit_ranges(attributes, cluster):
        for limit in limits:
            if limit.get("type") == "Container":
                told += list(_default_containers(pod, limit))
    if told:
        metadata = pod["metadata"]
        text = f"LimitRanger plugin set: {'; '.join(told)}"
        metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION: text}


def _default_containers(pod: Object, limit: dict[str, Any]) -> Iterator[str]:
    for key, called in _CONTAINERS:
        for container in get_path(pod, "spec", key, default=()):
            resources = container["resources"] = container.get("resources") or {}
            for kind, defaults in (("requests", "defaultRequest"), ("limits", "default")):
                have = resources.get(kind) or {}
                missing = {name: value for name, value in (limit.get(defaults) or {}).items() if name not in have}
                if missing:
                    resources[kind] = {**have, **missing}
                    names = ", ".join(sorted(missing))
                    yield f"{names} {kind.removesuffix('s')} for {called} {container.get('name')}"


async def _check(attributes: Attributes, cluster: Cluster) -> None:
    obj = attributes.obj
    assert obj is not None
    is_pod = attributes.resource.key == PODS.key
    for limits in _limit_ranges(attributes, cluster):
        problems = dict.fromkeys(
            problem for limit in limits for problem in (_pod_problems if is_pod else _claim_problems)(obj, limit)
        )
        if problems:
            raise refused(attributes, next(iter(problems)) if len(problems) == 1 else f"[{', '.join(problems)}]")


def _pod_problems(pod: Object, limit: dict[str, Any]) -> Iterator[str]:
    kind = limit.get("type") or ""
    for requests, limits in _bounded(pod, kind):
        yield from _violations(limit, kind, requests, limits)


def _claim_problems(claim: Object, limit: dict[str, Any]) -> Iterator[str]:
    kind = limit.get("type") or ""
    if kind == "PersistentVolumeClaim":
        requests = amounts(get_path(claim, "spec", "resources", "requests"))
        yield from _claim_violations(limit, kind, requests)


def _bounded(pod: Object, kind: str) -> Iterator[tuple[Amounts, Amounts]]:
    """(requests, limits) of everything that a limit of this kind bounds."""
    spec = pod.get("spec") or {}
    if kind == "Container":
        for key, _ in _CONTAINERS:
            for container in spec.get(key) or ():
                resources = container.get("resources") or {}
                yield amounts(resources.get("requests")), amounts(resources.get("limits"))
    elif kind == "Pod":
        together = {field: containers_total(spec, field) for field in ("requests", "limits")}
        for field, total in together.items():
            own = amounts(get_path(spec, "resources", field))
            total |= {name: value for name, value in own.items() if is_of_pods(name)}
        yield together["requests"], together["limits"]


def _violations(limit: dict[str, Any], kind: str, requests: Amounts, limits: Amounts) -> Iterator[str]:
    for name, bound in amounts(limit.get("min")).items():
        yield from _under(name, kind, bound, requests.get(name), limits.get(name))
    for name, bound in amounts(limit.get("max")).items():
        request, maximum = requests.get(name), limits.get(name)
        told = f"maximum {name} usage per {kind} is {bound}"
        if maximum is None:
            yield f"{told}.  No limit is specified"
        elif maximum.nanos > bound.nanos:
            yield f"{told}, but limit is {maximum}"
        elif request is not None and request.nanos > bound.nanos:
            yield f"{told}, but request is {request}"
    for name, bound in amounts(limit.get("maxLimitRequestRatio")).items():
        request, maximum = requests.get(name), limits.get(name)
        told = f"{name} max limit to request ratio per {kind} is {bound}"
        if request is None or not request.nanos:
            yield f"{told}, but no request is specified or request is 0"
        elif maximum is None or not maximum.nanos:
            yield f"{told}, but no limit is specified or limit is 0"
        elif maximum.nanos * 10**9 > bound.nanos * request.nanos:
            yield f"{told}, but provided ratio is {maximum.nanos / request.nanos:f}"


def _under(
    name: str, kind: str, bound: Quantity, request: Quantity | None, maximum: Quantity | None
) -> Iterator[str]:
    told = f"minimum {name} usage per {kind} is {bound}"
    if request is None:
        yield f"{told}.  No request is specified"
    elif request.nanos < bound.nanos:
        yield f"{told}, but request is {request}"
    elif maximum is not None and maximum.nanos < bound.nanos:
        yield f"{told}, but limit is {maximum}"


def _claim_violations(limit: dict[str, Any], kind: str, requests: Amounts) -> Iterator[str]:
    for name, bound in amounts(limit.get("min")).items():
        yield from _under(name, kind, bound, requests.get(name), None)
    for name, bound in amounts(limit.get("max")).items():
        request, told = requests.get(name), f"maximum {name} usage per {kind} is {bound}"
        if request is None:
            yield f"{told}.  No request is specified"
        elif request.nanos > bound.nanos:
            yield f"{told}, but request is {request}"


PLUGIN = Plugin(
    "LimitRanger",
    (CREATE, UPDATE),
    mutate=_set_defaults,
    validate=_check,
    resources=(PODS.key, PERSISTENTVOLUMECLAIMS.key),
    subresources=("resize",),
)
