"""The cgroups of the quality-of-service classes: how the CPU is shared out between them when it is short.

Pods that ask for nothing get what nobody else wants; those in between together weigh what they ask for together.
Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from apiclient.clock import Clock
from apiclient.logs import kv
from apimachinery.meta import Object
from kubelet.containers import resources
from kubelet.pods import pod_spec, qos
from kubelet.runtime import Runtime, RuntimeFailure
from kubelet.signals import Signal

logger = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
# Pods that come and go together change the weights once, not once each.
SETTLE_SECONDS = 1.0

Shares = dict[str, int]


class QosGroups:
    """Keeps the weights of the groups as the node's pods make them."""

    def __init__(self, runtime: Runtime, pods: Callable[[], Iterable[Object]], clock: Clock) -> None:
        self._runtime = runtime
        self._pods = pods
        self._clock = clock
        self._signal = Signal(clock)

    def pod_changed(self, _kind: str, old: Object | None, new: Object | None) -> None:
        """The informer's handler: weights change with pods that come, go, end, or are resized."""
        if old is None or new is None or pod_spec.has_ended(old) != pod_spec.has_ended(new) or _resized(old, new):
            self._signal.notify()

    async def run(self) -> None:
        """Set the weights now and whenever they change, until cancelled."""
        known: Shares = {}
        while True:
            seen, until = self._signal.version, None
            for group, weight in shares(self._pods()).items():
                if known.get(group) == weight:
                    continue
                try:
                    await self._runtime.set_group_resources(group, {"cpu": {"shares": weight}})
                    known[group] = weight
                except RuntimeFailure as failure:
                    logger.warning(kv("cgroup not weighted", group=group, error=failure.message))
                    until = self._clock.monotonic() + RETRY_SECONDS
            await self._signal.wait(seen, until)
            await self._clock.sleep(SETTLE_SECONDS)


def _resized(old: Object, new: Object) -> bool:
    """Whether a pod asks for, or has, something else; one that was never changed can't."""
    changed = new["metadata"].get("generation", 1) > 1
    return changed and resources.pod_requests(old) != resources.pod_requests(new)


def shares(pods: Iterable[Object]) -> Shares:
    """cpu.shares of each group, by what its pods ask for."""
    asked = sum(
        resources.pod_requests(pod).get("cpu", 0)
        for pod in pods
        if qos.qos_class(pod) == qos.BURSTABLE and not pod_spec.has_ended(pod)
    )
    return {"burstable": resources.shares(asked), "besteffort": resources.SHARES_MIN}
