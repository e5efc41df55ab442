"""Whether a pod that is new to this node is let in: what the node has against it, and whom it has to wait for."""

from __future__ import annotations

import logging

from apiclient.logs import kv
from apimachinery.meta import Object, namespaced_key
from kubelet.pods import admission, preemption, security_admission
from kubelet.pods.pod_services import PodServices
from kubelet.pods.pod_status import Verdict

logger = logging.getLogger(__name__)


class PodEntry:
    """The entry of one pod. `waits` tells that others are leaving for it, which it is not let in before."""

    def __init__(self, services: PodServices) -> None:
        self._services = services
        self._leaving: set[str] = set()

    @property
    def waits(self) -> bool:
        """Whether others have yet to leave."""
        return bool(self._leaving)

    def objection(self, pod: Object, node: Object) -> Verdict | None:
        """Why this node does not run the pod; None when it does, if only after a while."""
        return (
            self._services.refusal(pod)
            or self._lack_of_room(pod, node)
            or security_admission.objection(pod, self._services.allowed_unsafe_sysctls)
        )

    def _lack_of_room(self, pod: Object, node: Object) -> Verdict | None:
        """Why there is no place for it beside the others, some of which have to leave for a critical one."""
        others = self._services.other_pods(pod["metadata"]["uid"])
        self._leaving &= {other["metadata"]["uid"] for other in others}
        verdict = admission.objection(pod, node, others)
        if verdict is None or not preemption.is_critical(pod):
            return verdict
        staying = [other for other in others if other["metadata"]["uid"] not in self._leaving]
        try:
            victims = preemption.choose(pod, node, staying)
        except preemption.Refused as refused:
            return refused.verdict
        for victim in victims:
            logger.info(kv("pod preempts another", pod=namespaced_key(pod), victim=namespaced_key(victim)))
            self._leaving.add(victim["metadata"]["uid"])
            self._services.events.warning(victim, preemption.PREEMPTED.reason, preemption.PREEMPTED.message)
            self._services.end_pod(victim["metadata"]["uid"], preemption.PREEMPTED)
        return None
