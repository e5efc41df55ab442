"""StorageObjectInUseProtection: what storage is claimed by stays while it is used, though its deletion is asked for.

A finalizer keeps claims, volumes and their classes of attributes; a controller takes it away once nothing uses them
any more.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
"""

from __future__ import annotations

from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, VOLUMEATTRIBUTESCLASSES
from apiserver.admission.plugin import CREATE, Attributes, Cluster, Plugin

_FINALIZERS = {
    PERSISTENTVOLUMES.key: "kubernetes.io/pv-protection",
    PERSISTENTVOLUMECLAIMS.key: "kubernetes.io/pvc-protection",
    VOLUMEATTRIBUTESCLASSES.key: "kubernetes.io/vac-protection",
}


async def _protect(attributes: Attributes, cluster: Cluster) -> None:
    assert attributes.obj is not None
    finalizer, metadata = _FINALIZERS[attributes.resource.key], attributes.obj["metadata"]
    if finalizer not in (metadata.get("finalizers") or ()):
        metadata["finalizers"] = [*(metadata.get("finalizers") or ()), finalizer]


PLUGIN = Plugin("StorageObjectInUseProtection", (CREATE,), mutate=_protect, resources=tuple(_FINALIZERS))
