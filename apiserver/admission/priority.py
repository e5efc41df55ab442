"""Priority: a pod's class becomes a number, by which it is scheduled before others or makes room for them.

Without classes of their own clusters know two, for what they can't do without.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/
"""

from __future__ import annotations

from apimachinery.resources import PODS
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused

SYSTEM_CLASSES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
DEFAULT_PRIORITY, DEFAULT_PREEMPTION_POLICY = 0, "PreemptLowerPriority"


async def _set_priority(attributes: Attributes, cluster: Cluster) -> None:
    pod, old = attributes.obj, attributes.old
    assert pod is not None
    spec = pod.setdefault("spec", {})
    if old is not None:
        # An update that leaves the number out means the one that the pod has.
        before = old.get("spec") or {}
        if spec.get("priority") is None and before.get("priority") is not None:
            spec["priority"] = before["priority"]
        if spec.get("preemptionPolicy") is None and before.get("preemptionPolicy") is not None:
            spec["preemptionPolicy"] = before["preemptionPolicy"]
        return
    name = spec.get("priorityClassName")
    priority = SYSTEM_CLASSES.get(name) if name else DEFAULT_PRIORITY
    if priority is None:
        raise refused(attributes, f"no PriorityClass with name {name} was found")
    said = spec.get("priority")
    if said is not None and said != priority:
        shown = f"{said}) must not be provided in pod spec; priority admission controller computed {priority}"
        raise refused(attributes, f"the integer value of priority ({shown} from the given PriorityClass name")
    spec["priority"] = priority
    policy = spec.get("preemptionPolicy")
    if policy is not None and policy != DEFAULT_PREEMPTION_POLICY:
        why = (
            f"the string value of PreemptionPolicy ({policy}) must not be provided in pod spec; priority admission "
            f"controller computed {DEFAULT_PREEMPTION_POLICY} from the given PriorityClass name"
        )
        raise refused(attributes, why)
    spec["preemptionPolicy"] = DEFAULT_PREEMPTION_POLICY


PLUGIN = Plugin("Priority", (CREATE, UPDATE), mutate=_set_priority, resources=(PODS.key,))
