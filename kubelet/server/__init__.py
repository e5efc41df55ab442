"""The node agent's own server: logs, commands in containers, pods and figures, for the API server."""

from kubelet.server.app import KubeletServer
from kubelet.server.log_rotation import LogRotator
from kubelet.server.pods import Pods

__all__ = ["KubeletServer", "LogRotator", "Pods"]
