"""How much of each zone is ready, and how fast nodes may be emptied there.

When much of a zone fails at once, the fault is more likely in the network than in the nodes: nodes are then
emptied slowly, or not at all in a small cluster. When no node at all is ready, nobody is evicted: it may be us who
are cut off.

Source: https://kubernetes.io/docs/concepts/architecture/nodes/#rate-limits-on-eviction
"""

from __future__ import annotations

from apimachinery.meta import Object, labels, name
from controllers import taints
from controllers.context import Options

# Fewer lost nodes than this are no disruption of a zone, whatever part of it they are.
FEW_NODES = 2


class Zones:
    """Ready and not ready nodes by zone, kept up with as nodes change."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._nodes: dict[str, tuple[str, bool]] = {}
        self._ready: dict[str, int] = {}
        self._total: dict[str, int] = {}

    def note(self, node: Object) -> None:
        """Count a node as it is now."""
        self.forget(name(node))
        zone, ready = zone_of(node), taints.ready_status(node) == "True"
        self._nodes[name(node)] = (zone, ready)
        self._total[zone] = self._total.get(zone, 0) + 1
        self._ready[zone] = self._ready.get(zone, 0) + ready

    def forget(self, node: str) -> None:
        """Count a node no more."""
        known = self._nodes.pop(node, None)
        if known is not None:
            zone, ready = known
            self._total[zone] -= 1
            self._ready[zone] -= ready

    @property
    def none_ready(self) -> bool:
        """True if there are nodes and not one of them is ready."""
        return bool(self._nodes) and not any(self._ready.values())

    def evictions_per_second(self, node: Object) -> float:
        """How many nodes a second may be emptied in this node's zone; 0: none."""
        zone = zone_of(node)
        total, ready = self._total.get(zone, 0), self._ready.get(zone, 0)
        lost = total - ready
        options = self._options
        disrupted = ready > 0 and lost > FEW_NODES and lost / total >= options.unhealthy_zone_threshold
        if not disrupted:
            return options.node_eviction_rate
        return options.secondary_node_eviction_rate if total > options.large_cluster_size_threshold else 0.0


def zone_of(node: Object) -> str:
    """The region and zone that a node says it is in."""
    found = labels(node)
    return f"{found.get('topology.kubernetes.io/region', '')}/{found.get('topology.kubernetes.io/zone', '')}"
