"""The plugins, in the order in which they are asked, with the weights of their scores.

Source: https://kubernetes.io/docs/reference/scheduling/config/#scheduling-plugins
"""

from __future__ import annotations

from scheduler.framework import DEFAULT_SCHEDULER_NAME, Profile
from scheduler.plugins import (
    balanced_allocation,
    default_preemption,
    gang_scheduling,
    image_locality,
    inter_pod_affinity,
    node_affinity,
    node_name,
    node_ports,
    node_resources_fit,
    node_unschedulable,
    pod_topology_spread,
    taint_toleration,
    volume_binding,
    volume_restrictions,
    volume_zone,
)

DEFAULT_PLUGINS = (
    (node_unschedulable.PLUGIN, 0),
    (node_name.PLUGIN, 0),
    (taint_toleration.PLUGIN, 3),
    (node_affinity.PLUGIN, 2),
    (node_ports.PLUGIN, 0),
    (node_resources_fit.PLUGIN, 1),
    (volume_restrictions.PLUGIN, 0),
    (volume_binding.PLUGIN, 0),
    (volume_zone.PLUGIN, 0),
    (pod_topology_spread.PLUGIN, 2),
    (inter_pod_affinity.PLUGIN, 2),
    (balanced_allocation.PLUGIN, 1),
    (image_locality.PLUGIN, 1),
    (gang_scheduling.PLUGIN, 0),
    (default_preemption.PLUGIN, 0),
)


def default_profile(scheduler_name: str = DEFAULT_SCHEDULER_NAME) -> Profile:
    """A profile with the default plugins."""
    return Profile(DEFAULT_PLUGINS, scheduler_name)
