"""The volumes of a pod bring in what is the pod's or was claimed for it, and nothing of a node or a network."""

from __future__ import annotations

from apiserver.admission.pod_security.checks.check import Check, Fields, Violation, names_of, plural, quoted
from apiserver.admission.pod_security.checks.host import HOST_PATHS
from apiserver.admission.pod_security.levels import RESTRICTED

_ALLOWED = (
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image"),
    *("persistentVolumeClaim", "projected", "secret"),
)
_RESTRICTED = (
    *("hostPath", "gcePersistentDisk", "awsElasticBlockStore", "gitRepo", "nfs", "iscsi", "glusterfs", "rbd"),
    *("flexVolume", "cinder", "cephfs", "flocker", "fc", "azureFile", "vsphereVolume", "quobyte", "azureDisk"),
    *("photonPersistentDisk", "portworxVolume", "scaleIO", "storageos"),
)


def _volumes(metadata: Fields, spec: Fields) -> Violation | None:
    bad = [volume for volume in spec.get("volumes") or () if all(volume.get(source) is None for source in _ALLOWED)]
    if not bad:
        return None
    kinds = sorted({_kind(volume) for volume in bad})
    verb = "uses" if len(bad) == 1 else "use"
    told = f"{names_of(bad, 'volume')} {verb} {plural('restricted volume type', kinds)} {quoted(kinds)}"
    return Violation("restricted volume types", told)


def _kind(volume: Fields) -> str:
    return next((source for source in _RESTRICTED if volume.get(source) is not None), "unknown")


CHECKS = (Check("restrictedVolumes", RESTRICTED, ((0, _volumes),), replaces=HOST_PATHS),)
