"""What people are told about pods: events in Kubernetes' words.

Source: k8s.io/kubernetes/pkg/kubelet/events, and what `kubectl describe pod` shows of a 1.35 cluster.
"""

from __future__ import annotations

from apiclient.events import EventRecorder
from apimachinery.meta import Object
from kubelet.pods import pod_spec

NORMAL, WARNING = "Normal", "Warning"


class PodEvents:
    """Records events about pods and about their containers."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder

    def normal(self, pod: Object, reason: str, message: str, *, container: str = "") -> None:
        """Something happened as it should."""
        self._record(pod, NORMAL, reason, message, container)

    def warning(self, pod: Object, reason: str, message: str, *, container: str = "") -> None:
        """Something went wrong."""
        self._record(pod, WARNING, reason, message, container)

    def _record(self, pod: Object, kind: str, reason: str, message: str, container: str) -> None:
        path = pod_spec.field_path(pod, container) if container else ""
        self._recorder.event(pod, kind, reason, message, field_path=path)
