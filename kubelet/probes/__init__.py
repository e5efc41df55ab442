"""Probes: asking containers again and again whether they have started, live and are ready."""

from kubelet.probes.pod_probes import PodProbes

__all__ = ["PodProbes"]
