"""Lets claims and volumes go once nothing uses them any more: takes away the finalizers that kept them until then.

A claim is used by a pod that is on a node and mounts it, whatever became of its containers; a volume by the claim
that it is bound to. Whether a claim is used is asked of the server, which may know pods that no cache shows yet.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#storage-object-in-use-protection
"""

from __future__ import annotations

from collections.abc import Iterable

from apiclient.informer import Informer
from apiclient.rest import Client
from apimachinery.meta import (
    Object,
    controller_of,
    deletion_requested,
    get_path,
    name,
    namespace,
    namespaced_key,
    resource_version,
    uid,
)
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, Resource
from controllers.context import Context
from controllers.pods import node_name
from controllers.requests import settle_or_raise, unless_gone

CLAIM_FINALIZER, VOLUME_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"
BY_NAMESPACE = "protected"
# Pods and their claims often leave together.
GATHER_SECONDS = 0.05


def claims_in_use(claims: Iterable[Object], pods: Iterable[Object]) -> set[str]:
    """The names of those among a namespace's claims that its pods use."""
    known = {name(claim): claim for claim in claims}
    return {
        used for pod in pods if node_name(pod) for used in known.keys() & _claims_of(pod) if _uses(pod, known[used])
    }


def _claims_of(pod: Object) -> dict[str, bool]:
    """The claims that a pod mounts, by their names, and whether they are made for it alone."""
    found: dict[str, bool] = {}
    for volume in get_path(pod, "spec", "volumes", default=()):
        if volume.get("persistentVolumeClaim"):
            found[volume["persistentVolumeClaim"]["claimName"]] = False
        elif volume.get("ephemeral"):
            found.setdefault(f"{name(pod)}-{volume['name']}", True)
    return found


def _uses(pod: Object, claim: Object) -> bool:
    if not _claims_of(pod)[name(claim)]:
        return True
    owner = controller_of(claim)
    return not is_shut_down(pod) and owner is not None and owner["uid"] == uid(pod)


def is_shut_down(pod: Object) -> bool:
    """Whether a pod's node has finished with it, so that only finalizers keep it."""
    return deletion_requested(pod) and pod["metadata"].get("deletionGracePeriodSeconds") == 0


def is_kept(obj: Object, finalizer: str) -> bool:
    """Whether an object would be gone but for this finalizer and maybe others."""
    return deletion_requested(obj) and finalizer in _finalizers(obj)


def _finalizers(obj: Object) -> list[str]:
    found: list[str] = obj["metadata"].get("finalizers") or []
    return found


async def let_go(client: Client, resource: Resource, obj: Object, finalizer: str) -> None:
    """Take a finalizer away from an object that has not changed since, if it is there still."""
    left = [one for one in _finalizers(obj) if one != finalizer]
    known = {"uid": uid(obj), "resourceVersion": resource_version(obj)}
    await unless_gone(client.patch(resource, name(obj), {"metadata": {**known, "finalizers": left}}, namespace(obj)))


class ClaimProtection:
    """One control loop over the claims that are being deleted, a namespace at a time."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._claims = context.informers.of(PERSISTENTVOLUMECLAIMS)
        self.informers: tuple[Informer, ...] = (self._claims,)
        self.queue = context.queue()
        self._claims.add_index(
            BY_NAMESPACE, lambda claim: [namespace(claim)] if is_kept(claim, CLAIM_FINALIZER) else []
        )
        self._claims.add_handler(self._claim_changed)
        context.informers.of(PODS).add_handler(self._pod_changed)

    def _claim_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and is_kept(new, CLAIM_FINALIZER):
            self.queue.add_after(namespace(new), GATHER_SECONDS)

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        if (new is None or is_shut_down(new)) and self._claims.by_index(BY_NAMESPACE, namespace(pod)):
            self.queue.add_after(namespace(pod), GATHER_SECONDS)

    async def reconcile(self, key: str) -> None:
        """Let the claims of a namespace go that no pod uses."""
        kept = self._claims.by_index(BY_NAMESPACE, key)
        if not kept:
            return
        pods = (await self._client.list(PODS, key))["items"]
        used = claims_in_use(kept, pods)
        unused = [claim for claim in kept if name(claim) not in used]
        await settle_or_raise(
            let_go(self._client, PERSISTENTVOLUMECLAIMS, claim, CLAIM_FINALIZER) for claim in unused
        )


class VolumeProtection:
    """One control loop over the volumes that are being deleted."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._volumes = context.informers.of(PERSISTENTVOLUMES)
        self.informers = (self._volumes,)
        self.queue = context.queue()
        self._volumes.add_handler(self._changed)

    def _changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and is_kept(new, VOLUME_FINALIZER):
            self.queue.add(namespaced_key(new))

    async def reconcile(self, key: str) -> None:
        """Let a volume go that is bound to no claim."""
        volume = await unless_gone(self._client.get(PERSISTENTVOLUMES, key))
        if volume is None or not is_kept(volume, VOLUME_FINALIZER):
            return
        if get_path(volume, "status", "phase") != "Bound":
            await let_go(self._client, PERSISTENTVOLUMES, volume, VOLUME_FINALIZER)
