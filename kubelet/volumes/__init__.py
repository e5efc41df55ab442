"""The volumes of pods: one module a kind, and the manager that sets them up, keeps them fresh and removes them."""

from kubelet.volumes.failure import VolumeError, VolumeFailure
from kubelet.volumes.manager import KINDS, VolumeManager, is_read_only

__all__ = ["KINDS", "VolumeError", "VolumeFailure", "VolumeManager", "is_read_only"]
