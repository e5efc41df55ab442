"""The built-in provisioner: has volumes made out of folders of the nodes, and gone when nobody claims them any more.

A volume is made for a claim once the scheduler has written on it which node its pod goes to. All that is made here
is the object; the folder is made by the node's own agent when the first pod comes, and removed by it when the volume
is deleted (`kubelet/volumes/local_path.py`), which a finalizer on the volume waits for.

Source: https://kubernetes.io/docs/concepts/storage/dynamic-provisioning/ and, for what such volumes can do,
https://github.com/rancher/local-path-provisioner
"""

from __future__ import annotations

from apimachinery import meta
from apimachinery.errors import ApiError, is_already_exists
from apimachinery.meta import (
    Object,
    deletion_requested,
    get_path,
    name,
    namespace,
    namespaced_key,
    resource_version,
    uid,
)
from apimachinery.persistent_volumes import (
    HOSTNAME_LABEL,
    LOCAL_PATH,
    LOCAL_PATH_NODE_LABEL,
    ONE_POD,
    PROVISIONED_BY,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
    access_modes,
    claim_reference,
    class_of,
    is_local_path,
    mode,
    waits_for_consumer,
)
from apimachinery.resources import NODES, PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, STORAGECLASSES
from controllers.context import Context
from controllers.persistent_volume_plan import NORMAL, WARNING
from controllers.requests import unless_gone

CLAIM, VOLUME = "claim ", "volume "
LABEL_CHARACTERS_MAX = 63
_MODES = ("ReadWriteOnce", ONE_POD)


class Unable(Exception):
    """No volume can be made for a claim, and why."""


def is_due(claim: Object) -> bool:
    """Whether a claim waits for a volume that is ours to make."""
    annotations = meta.annotations(claim)
    bound = get_path(claim, "spec", "volumeName")
    return annotations.get(STORAGE_PROVISIONER) == LOCAL_PATH and not bound and not deletion_requested(claim)


def is_to_go(volume: Object) -> bool:
    """Whether a volume that we have made is nobody's any more, and is not to be kept."""
    return (
        is_local_path(volume)
        and meta.annotations(volume).get(PROVISIONED_BY) == LOCAL_PATH
        and get_path(volume, "status", "phase") == "Released"
        and get_path(volume, "spec", "persistentVolumeReclaimPolicy") == "Delete"
        and not deletion_requested(volume)
    )


def volume_for(claim: Object, storage_class: Object, node: Object) -> Object:
    """The volume for a claim, on a node. Raises Unable."""
    if unable := sorted(set(access_modes(claim)) - set(_MODES)):
        raise Unable(f"only {' and '.join(_MODES)} are possible with data on one node, not {', '.join(unable)}")
    if mode(claim) != "Filesystem":
        raise Unable("only volumeMode Filesystem is possible")
    spec = claim["spec"]
    if spec.get("selector"):
        raise Unable("claim Selector is not supported")
    if spec.get("dataSource") or spec.get("dataSourceRef"):
        raise Unable("a volume can't be filled from a data source")
    host = meta.labels(node).get(HOSTNAME_LABEL)
    if not host:
        raise Unable(f'node "{name(node)}" has no label {HOSTNAME_LABEL}')
    if len(name(node)) > LABEL_CHARACTERS_MAX:
        raise Unable(f"the name of the node has more than {LABEL_CHARACTERS_MAX} characters")
    called = f"pvc-{uid(claim)}"
    term = {"matchExpressions": [{"key": HOSTNAME_LABEL, "operator": "In", "values": [host]}]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": called,
            "labels": {LOCAL_PATH_NODE_LABEL: name(node)},
            "annotations": {PROVISIONED_BY: LOCAL_PATH},
        },
        "spec": {
            "accessModes": access_modes(claim),
            "capacity": {"storage": get_path(spec, "resources", "requests", "storage")},
            "claimRef": claim_reference(claim),
            "csi": {"driver": LOCAL_PATH, "volumeHandle": called},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy") or "Delete",
            "storageClassName": name(storage_class),
            "volumeMode": "Filesystem",
        },
    }


class LocalPathProvisioner:
    """One control loop over the claims of our classes and the volumes that we have made."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder
        self._claims = context.informers.of(PERSISTENTVOLUMECLAIMS)
        self._volumes = context.informers.of(PERSISTENTVOLUMES)
        self._classes = context.informers.of(STORAGECLASSES)
        self._nodes = context.informers.of(NODES)
        self.informers = (self._claims, self._volumes, self._classes, self._nodes)
        self.queue = context.queue()
        self._claims.add_handler(self._claim_changed)
        self._volumes.add_handler(self._volume_changed)

    def _claim_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and is_due(new):
            self.queue.add(CLAIM + namespaced_key(new))

    def _volume_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and is_to_go(new):
            self.queue.add(VOLUME + name(new))

    async def reconcile(self, key: str) -> None:
        """Make the volume of a claim, or delete one."""
        if key.startswith(CLAIM):
            claim = self._claims.get(key.removeprefix(CLAIM))
            if claim is not None and is_due(claim):
                await self._provision(claim)
            return
        volume = self._volumes.get(key.removeprefix(VOLUME))
        if volume is not None and is_to_go(volume):
            # Of this very version: if it has been made to be kept meanwhile, it is not deleted.
            version = resource_version(volume)
            deletion = self._client.delete(PERSISTENTVOLUMES, name(volume), uid=uid(volume), resource_version=version)
            await unless_gone(deletion)

    async def _provision(self, claim: Object) -> None:
        storage_class = self._classes.get(class_of(claim))
        if storage_class is None or storage_class.get("provisioner") != LOCAL_PATH:
            return
        selected = meta.annotations(claim).get(SELECTED_NODE)
        try:
            if selected is None:
                raise Unable(
                    "its volumeBindingMode has to be WaitForFirstConsumer, so that it is known on which node"
                    if not waits_for_consumer(storage_class)
                    else "no node has been selected yet"
                )
            node = self._nodes.get(selected)
            if node is None:
                await self._select_again(claim)
                raise Unable(f'node "{selected}" not found')
            volume = volume_for(claim, storage_class, node)
        except Unable as error:
            message = f'failed to provision volume with StorageClass "{class_of(claim)}": {error}'
            self._recorder.event(claim, WARNING, "ProvisioningFailed", message)
            return
        message = f'External provisioner is provisioning volume for claim "{namespaced_key(claim)}"'
        self._recorder.event(claim, NORMAL, "Provisioning", message)
        try:
            await self._client.create(PERSISTENTVOLUMES, volume)
        except ApiError as error:
            if not is_already_exists(error):
                raise
        else:
            message = f"Successfully provisioned volume {name(volume)}"
            self._recorder.event(claim, NORMAL, "ProvisioningSucceeded", message)

    async def _select_again(self, claim: Object) -> None:
        """The node that was selected is gone: give the choice back to the scheduler."""
        metadata = {
            "uid": uid(claim),
            "resourceVersion": resource_version(claim),
            "annotations": {SELECTED_NODE: None},
        }
        patch = {"metadata": metadata}
        await unless_gone(self._client.patch(PERSISTENTVOLUMECLAIMS, name(claim), patch, namespace(claim)))
