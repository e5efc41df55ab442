"""Pods that take more of the node's disk than they may: pure.

Source: https://kubernetes.io/docs/concepts/storage/ephemeral-storage/#resource-ephemeralstorage-consumption
"""

from __future__ import annotations

from dataclasses import dataclass

from apimachinery import pod_resources, quantity
from apimachinery.meta import Object, get_path
from kubelet.eviction import messages
from kubelet.eviction.ranking import Figures
from kubelet.pods import pod_spec

STORAGE = "ephemeral-storage"


def is_limited(pod: Object) -> bool:
    """Whether a pod has any such limit: only then its files have to be counted."""
    return bool(_limited_volumes(pod)) or any(_limit(container) for container in pod_spec.all_containers(pod))


@dataclass(frozen=True, slots=True)
class Excess:
    """What a pod takes too much of: as it is counted, and as its eviction says."""

    signal: str
    message: str


def excess(pod: Object, figures: Figures) -> Excess | None:
    """The first limit of its own that a pod goes beyond; None if it keeps within all of them."""
    for name, limit in _limited_volumes(pod).items():
        if figures.volumes.get(name, 0) > quantity.value(limit):
            return Excess("emptydirfs.limit", messages.volume_too_large(name, quantity.canonical(limit)))
    whole = pod_resources.pod_total({"spec": pod["spec"]}, pod_resources.LIMITS).get(STORAGE)
    if whole is not None and figures.storage_bytes > whole.value():
        return Excess("ephemeralpodfs.limit", messages.pod_too_large(str(whole)))
    for container in pod_spec.containers(pod):
        own = _limit(container)
        if own and figures.container_storage.get(container["name"], 0) > quantity.value(own):
            told = messages.container_too_large(container["name"], quantity.canonical(own))
            return Excess("ephemeralcontainerfs.limit", told)
    return None


def _limited_volumes(pod: Object) -> dict[str, str]:
    listed = pod["spec"].get("volumes") or ()
    limits = {volume["name"]: get_path(volume, "emptyDir", "sizeLimit", default="") for volume in listed}
    return {name: limit for name, limit in limits.items() if limit and quantity.value(limit) > 0}


def _limit(container: pod_spec.Container) -> str:
    found: str = get_path(container, "resources", "limits", STORAGE, default="")
    return found if found and quantity.value(found) else ""
