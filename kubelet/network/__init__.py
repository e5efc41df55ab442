"""The pod network of a node: a bridge, a veth pair and an address a pod, and routes to the other nodes."""

from kubelet.network.dial import Dialer
from kubelet.network.pod_network import NetworkFailure, PodIP, PodNetwork

__all__ = ["Dialer", "NetworkFailure", "PodIP", "PodNetwork"]
