"""Priority: a pod's class becomes a number, by which it is scheduled before others or makes room for them.

A pod without a class is of the one that is everybody's default, if there is one. There can be only one.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
"""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object, name
from apimachinery.resources import PODS, PRIORITYCLASSES
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused

DEFAULT_PRIORITY, DEFAULT_PREEMPTION_POLICY = 0, "PreemptLowerPriority"


def default_class(cluster: Cluster) -> Object | None:
    """Everybody's class; of several, which can only come about at one moment, the lowest."""
    defaults = [one for one in cluster.list(PRIORITYCLASSES, "") if one.get("globalDefault")]
    return min(defaults, key=lambda one: one.get("value") or 0, default=None)


async def _set_priority(attributes: Attributes, cluster: Cluster) -> None:
    pod, old = attributes.obj, attributes.old
    assert pod is not None
    spec = pod.setdefault("spec", {})
    if old is not None:
        # An update that leaves the number out means the one that the pod has.
        before = old.get("spec") or {}
        for field in ("priority", "preemptionPolicy"):
            if spec.get(field) is None and before.get(field) is not None:
                spec[field] = before[field]
        return
    _set(attributes, spec, _class_of(attributes, cluster, spec))


def _class_of(attributes: Attributes, cluster: Cluster, spec: dict[str, Any]) -> Object | None:
    wanted = spec.get("priorityClassName")
    if not wanted:
        found = default_class(cluster)
        if found is not None:
            spec["priorityClassName"] = name(found)
        return found
    found = cluster.get(PRIORITYCLASSES, "", wanted)
    if found is None:
        raise refused(attributes, f"no PriorityClass with name {wanted} was found")
    return found


def _set(attributes: Attributes, spec: dict[str, Any], of: Object | None) -> None:
    priority = (of.get("value") or 0) if of is not None else DEFAULT_PRIORITY
    said = spec.get("priority")
    if said is not None and said != priority:
        shown = f"{said}) must not be provided in pod spec; priority admission controller computed {priority}"
        raise refused(attributes, f"the integer value of priority ({shown} from the given PriorityClass name")
    spec["priority"] = priority
    preemption = of.get("preemptionPolicy") if of is not None else DEFAULT_PREEMPTION_POLICY
    if preemption is None:
        return
    said = spec.get("preemptionPolicy")
    if said is not None and said != preemption:
        why = (
            f"the string value of PreemptionPolicy ({said}) must not be provided in pod spec; priority admission "
            f"controller computed {preemption} from the given PriorityClass name"
        )
        raise refused(attributes, why)
    spec["preemptionPolicy"] = preemption


async def _check(attributes: Attributes, cluster: Cluster) -> None:
    new = attributes.obj
    assert new is not None
    if not new.get("globalDefault"):
        return
    default = default_class(cluster)
    if default is not None and (attributes.operation == CREATE or name(default) != name(new)):
        why = f"PriorityClass {name(default)} is already marked as default. Only one default can exist"
        raise refused(attributes, why)


async def _validate(attributes: Attributes, cluster: Cluster) -> None:
    if attributes.resource.key == PRIORITYCLASSES.key:
        await _check(attributes, cluster)


async def _mutate(attributes: Attributes, cluster: Cluster) -> None:
    if attributes.resource.key == PODS.key:
        await _set_priority(attributes, cluster)


PLUGIN = Plugin(
    "Priority", (CREATE, UPDATE), mutate=_mutate, validate=_validate, resources=(PODS.key, PRIORITYCLASSES.key)
)
