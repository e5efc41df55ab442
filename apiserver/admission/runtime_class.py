"""RuntimeClass: a pod takes over what its runtime costs, and where that runtime is.

Source: https://kubernetes.io/docs/concepts/containers/runtime-class/#scheduling,
https://kubernetes.io/docs/concepts/scheduling-eviction/pod-overhead/
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apimachinery.meta import Object, get_path
from apimachinery.quantity import canonical
from apimachinery.resources import PODS, RUNTIMECLASSES
from apiserver.admission.plugin import CREATE, Attributes, Cluster, Plugin, refused

Toleration = Mapping[str, Any]
_DIFFERS = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
_UNFOUNDED = "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"


def _class_of(attributes: Attributes, cluster: Cluster) -> Object | None:
    wanted = get_path(attributes.obj, "spec", "runtimeClassName")
    if wanted is None:
        return None
    found = cluster.get(RUNTIMECLASSES, "", wanted)
    if found is None:
        raise refused(attributes, f'pod rejected: RuntimeClass "{wanted}" not found')
    return found


async def _take_over(attributes: Attributes, cluster: Cluster) -> None:
    runtime_class = _class_of(attributes, cluster)
    if runtime_class is None or attributes.obj is None:
        return
    spec = attributes.obj["spec"]
    overhead = _overhead(runtime_class)
    if overhead:
        if spec.get("overhead") and _amounts(spec["overhead"]) != _amounts(overhead):
            raise refused(attributes, _DIFFERS)
        spec["overhead"] = dict(overhead)
    scheduling = runtime_class.get("scheduling")
    if scheduling is None:
        return
    selector = spec.get("nodeSelector") or {}
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.get(key, value) != value:
            where = f"runtimeClass.scheduling.nodeSelector[{key}] = {value}"
            raise refused(attributes, f"conflict: {where}; pod.spec.nodeSelector[{key}] = {selector[key]}")
        selector = {**selector, key: value}
    merged = merge_tolerations(spec.get("tolerations") or (), scheduling.get("tolerations") or ())
    for field, found in (("nodeSelector", selector), ("tolerations", merged)):
        if found:
            spec[field] = found


async def _check(attributes: Attributes, cluster: Cluster) -> None:
    said = get_path(attributes.obj, "spec", "overhead")
    if said is None and get_path(attributes.obj, "spec", "runtimeClassName") is None:
        return
    runtime_class = _class_of(attributes, cluster)
    overhead = _overhead(runtime_class) if runtime_class is not None else None
    if overhead and _amounts(said or {}) != _amounts(overhead):
        raise refused(attributes, _DIFFERS)
    if not overhead and said is not None:
        raise refused(attributes, _UNFOUNDED)


def _overhead(runtime_class: Object) -> Mapping[str, Any]:
    found: Mapping[str, Any] = get_path(runtime_class, "overhead", "podFixed", default={})
    return found


def _amounts(listed: Mapping[str, Any]) -> dict[str, str]:
    return {key: canonical(value) for key, value in listed.items()}


def merge_tolerations(first: Sequence[Toleration], second: Sequence[Toleration]) -> list[Toleration]:
    """All of both, without those that another one includes."""
    every = [*first, *second]
    merged: list[Toleration] = []
    for number, one in enumerate(every):
        if any(includes(other, one) for other in merged):
            continue
        if any(other != one and includes(other, one) for other in every[number + 1 :]):
            continue
        merged.append(one)
    return merged


def includes(wider: Toleration, one: Toleration) -> bool:
    """Whether whatever one tolerates is tolerated by the other too."""
    if wider == one:
        return True
    operator, effect = wider.get("operator") or "Equal", wider.get("effect") or ""
    if (one.get("key") or "") != (wider.get("key") or "") and (wider.get("key") or operator != "Exists"):
        return False
    if effect and (one.get("effect") or "") != effect:
        return False
    limit, seconds = wider.get("tolerationSeconds"), one.get("tolerationSeconds")
    if effect == "NoExecute" and limit is not None and (seconds is None or seconds > limit):
        return False
    if operator == "Exists":
        return True
    same = (one.get("value") or "") == (wider.get("value") or "")
    return operator == "Equal" and (one.get("operator") or "Equal") == "Equal" and same


PLUGIN = Plugin("RuntimeClass", (CREATE,), mutate=_take_over, validate=_check, resources=(PODS.key,))
