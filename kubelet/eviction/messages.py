"""What people are told of evictions, in Kubernetes' words: pure. Each sentence ends with a space, as there."""

from __future__ import annotations

from collections.abc import Sequence

from apimachinery import quantity
from apimachinery.meta import Object, get_path
from kubelet.eviction.ranking import Figures
from kubelet.eviction.thresholds import Observations, Rule
from kubelet.pods import pod_spec


def eviction(
    pod: Object, resource: str, *, rules: Sequence[Rule], found: Observations, figures: Figures | None
) -> str:
    """Why a pod has to go: what the node is short of, and which containers use more of it than they asked for."""
    words = f"The node was low on resource: {resource}. "
    rule = next((rule for rule in rules if rule.resource == resource), None)
    if rule is not None and rule.signal in found:
        seen = found[rule.signal]
        limit = amount(rule.limit.of(seen.capacity), resource)
        words += f"Threshold quantity: {limit}, available: {amount(seen.available, resource)}. "
    used = _by_container(resource, figures)
    for container in pod_spec.all_containers(pod):
        name = container["name"]
        asked = quantity.parse(get_path(container, "resources", "requests", resource, default=0))
        if name in used and asked < quantity.parse(used[name]):
            taken = amount(used[name], resource)
            words += f"Container {name} was using {taken}, request is {asked}, has larger consumption of {resource}. "
    return words


def has_conditions(conditions: Sequence[str]) -> str:
    """Why a pod is not taken on."""
    return f"The node had condition: [{' '.join(conditions)}]. "


def volume_too_large(name: str, limit: str) -> str:
    """Of an emptyDir."""
    return f'Usage of EmptyDir volume "{name}" exceeds the limit "{limit}". '


def container_too_large(name: str, limit: str) -> str:
    """Of a container's logs and written layer."""
    return f'Container {name} exceeded its local ephemeral storage limit "{limit}". '


def pod_too_large(limit: str) -> str:
    """Of all that a pod has on the disk."""
    return f"Pod ephemeral local storage usage exceeds the total limit of containers {limit}. "


def amount(number: int, resource: str) -> str:
    """A number as a quantity: bytes in powers of two, what is counted in powers of ten."""
    form = "decimal" if resource in ("inodes", "pids") else "binary"
    return str(quantity.Quantity(number * quantity.NANO, form))


def _by_container(resource: str, figures: Figures | None) -> dict[str, int]:
    if figures is None:
        return {}
    known = {"memory": figures.container_memory, "ephemeral-storage": figures.container_storage}
    return dict(known.get(resource, {}))
