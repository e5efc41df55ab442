"""Whom a node ends to make room for a pod that the cluster can't do without: pure.

Best-effort pods go before burstable ones and these before guaranteed ones; of each class as few as will do, and
those that ask for little rather than those that ask for much.

Source: https://kubernetes.io/docs/tasks/administer-cluster/guaranteed-scheduling-critical-addon-pods/ and
k8s.io/kubernetes/pkg/kubelet/preemption
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from apimachinery import meta
from apimachinery.meta import Object
from kubelet.containers import resources
from kubelet.containers.resources import Amounts
from kubelet.pods import admission, qos
from kubelet.pods.admission import Shortage
from kubelet.pods.pod_status import Verdict

SYSTEM_CRITICAL_PRIORITY = 2_000_000_000
PREEMPTED = Verdict(
    "Preempting",
    "Preempted in order to admit critical pod",
    disruption="Pod was preempted by Kubelet to accommodate a critical pod.",
)
_SOURCE, _MIRROR = "kubernetes.io/config.source", "kubernetes.io/config.mirror"


class Refused(Exception):
    """Nobody's end would help; the verdict on the pod."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.message)
        self.verdict = verdict


def is_critical(pod: Object) -> bool:
    """Whether the cluster or this node can't do without a pod: one of the highest priorities, or a static one."""
    annotations = meta.annotations(pod)
    is_static = annotations.get(_SOURCE, "api") != "api" or _MIRROR in annotations
    return is_static or (pod["spec"].get("priority") or 0) >= SYSTEM_CRITICAL_PRIORITY


def choose(pod: Object, node: Object, others: Sequence[Object]) -> list[Object]:
    """The pods to end so that a critical one has room beside the others. Raises Refused."""
    if verdict := admission.mismatch(pod, node, others):
        raise Refused(verdict)
    return victims(pod, others, admission.shortages(pod, node, others))


def victims(pod: Object, others: Sequence[Object], short_of: Sequence[Shortage]) -> list[Object]:
    """The pods to end so that one has what it is short of. Raises Refused."""
    missing = {shortage.resource: shortage.missing for shortage in short_of}
    classes: dict[str, list[Object]] = {qos.BEST_EFFORT: [], qos.BURSTABLE: [], qos.GUARANTEED: []}
    for other in others:
        if _may_preempt(pod, other):
            classes[qos.qos_class(other)].append(other)
    best_effort, burstable, guaranteed = classes.values()
    if left := _less(missing, [*best_effort, *burstable, *guaranteed]):
        why = "Unexpected error while attempting to recover from admission failure: preemption: error finding a set"
        words = f"{why} of pods to preempt: no set of running pods found to reclaim resources: {_words(left)}"
        raise Refused(Verdict("UnexpectedAdmissionError", words))
    last = _nearest(guaranteed, _less(missing, [*best_effort, *burstable]))
    middle = _nearest(burstable, _less(missing, [*best_effort, *last]))
    first = _nearest(best_effort, _less(missing, [*middle, *last]))
    return [*first, *middle, *last]


def _may_preempt(pod: Object, other: Object) -> bool:
    if is_critical(pod) and not is_critical(other):
        return True
    mine, theirs = pod["spec"].get("priority"), other["spec"].get("priority")
    return mine is not None and theirs is not None and mine > theirs


def _nearest(pods: Sequence[Object], missing: Amounts) -> list[Object]:
    """Pods that free what is missing: always the one next that leaves the least to be freed."""
    remaining, chosen = list(pods), []
    while missing:
        best = min(remaining, key=lambda one: (_distance(one, missing), _size(one)))
        remaining.remove(best)
        chosen.append(best)
        missing = _less(missing, [best])
    return chosen


def _distance(pod: Object, missing: Amounts) -> float:
    """How much a pod would leave missing, every resource weighing the same."""
    has = _requests(pod)
    return sum((max(amount - has.get(name, 0), 0) / amount) ** 2 for name, amount in missing.items())


def _size(pod: Object) -> tuple[int, int]:
    has = _requests(pod)
    return has.get("memory", 0), has.get("cpu", 0)


def _less(missing: Mapping[str, int], pods: Sequence[Object]) -> Amounts:
    """What is still missing without these pods."""
    freed = resources.add(*(_requests(pod) for pod in pods))
    left = {name: amount - freed.get(name, 0) for name, amount in missing.items()}
    return {name: amount for name, amount in left.items() if amount > 0}


def _requests(pod: Object) -> Amounts:
    return resources.pod_requests(pod) | {"pods": 1}


def _words(missing: Amounts) -> str:
    return "[" + "".join(f"(res: {name}, q: {amount}), " for name, amount in missing.items()) + "]"
