"""VolumePhases: a PersistentVolume says since when it is in its phase.

Kubernetes does this where it stores volumes, which here does not know the time.
Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#phase-transition-timestamp
"""

from __future__ import annotations

from collections.abc import Callable

from apimachinery.meta import get_path
from apimachinery.resources import PERSISTENTVOLUMES
from apimachinery.time import rfc3339
from apiserver.admission.plugin import UPDATE, Attributes, Cluster, Plugin


def plugin(now: Callable[[], float]) -> Plugin:
    """The plugin."""

    async def stamp(attributes: Attributes, cluster: Cluster) -> None:
        volume, old = attributes.obj, attributes.old
        if volume is None or old is None or not attributes.subresource:
            return
        phase, before = (get_path(one, "status", "phase") for one in (volume, old))
        since, then = (get_path(one, "status", "lastPhaseTransitionTime") for one in (volume, old))
        if phase != before and since in (None, then):
            volume["status"] = {**(volume.get("status") or {}), "lastPhaseTransitionTime": rfc3339(now())}

    return Plugin(
        "VolumePhases",
        (UPDATE,),
        mutate=stamp,
        resources=(PERSISTENTVOLUMES.key,),
        subresources=("status",),
    )
