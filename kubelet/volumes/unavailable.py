"""Kinds of volumes that a pod may name and that no node of this cluster can provide, and what is said of them.

They need a driver (CSI) that has been registered with the node agent, hardware, or something that Kubernetes itself
has taken away; the pod waits, as it does on any node that lacks them.

Source: https://kubernetes.io/docs/concepts/storage/volumes/
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Request

# In-tree kinds whose work CSI drivers do now, and these drivers' names.
_MIGRATED: Mapping[str, str] = {
    "awsElasticBlockStore": "ebs.csi.aws.com",
    "azureDisk": "disk.csi.azure.com",
    "azureFile": "file.csi.azure.com",
    "cinder": "cinder.csi.openstack.org",
    "gcePersistentDisk": "pd.csi.storage.gke.io",
    "portworxVolume": "pxd.portworx.com",
    "vsphereVolume": "csi.vsphere.vmware.com",
}
_REMOVED = ("cephfs", "flocker", "glusterfs", "photonPersistentDisk", "quobyte", "rbd", "scaleIO", "storageos")
_GIT_REPO = (
    "git-repo volume plugin has been disabled; "
    "if necessary, it may be re-enabled by enabling the feature-gate `GitRepoVolumeDriver`"
)
_NO_DRIVER = (
    "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: "
    "driver name {} not found in the list of registered CSI drivers"
)

KINDS = ("csi", "fc", "flexVolume", "gitRepo", "iscsi", *_MIGRATED, *_REMOVED)


def refusing(kind: str) -> Callable[[Request], Awaitable[Path]]:
    """What sets up volumes of such a kind: it says why it can't."""

    async def set_up(request: Request) -> Path:
        raise VolumeError(reason(kind, request))

    return set_up


def reason(kind: str, request: Request) -> str:
    """Why a volume can't be had."""
    match kind:
        case "csi":
            return _NO_DRIVER.format(request.source.get("driver") or "")
        case "gitRepo":
            return _GIT_REPO
        case "flexVolume":
            return f"no volume plugin matched: there is no FlexVolume driver {request.source.get('driver')}"
        case "iscsi" | "fc":
            return f"no volume plugin matched: this node attaches no {kind} devices"
    if driver := _MIGRATED.get(kind):
        return _NO_DRIVER.format(driver)
    return f"no volume plugin matched: {kind} volumes are not part of Kubernetes any more"
