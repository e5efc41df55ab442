"""Makes the claims of generic ephemeral volumes: one for each such volume of a pod, which goes when the pod goes.

The pod owns the claim, so the garbage collector removes it. A claim of the same name that is not the pod's is left
alone, and told of.

Source: https://kubernetes.io/docs/concepts/storage/ephemeral-volumes/#generic-ephemeral-volumes
"""

from __future__ import annotations

from apimachinery.errors import ApiError
from apimachinery.meta import (
    Object,
    controller_of,
    deletion_requested,
    get_path,
    namespace,
    namespaced_key,
    owner_reference,
)
from apimachinery.persistent_volumes import claim_name, is_for_pod, not_for_pod
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PODS
from controllers.context import Context
from controllers.persistent_volume_plan import WARNING
from controllers.requests import namespace_terminating


def ephemeral_volumes(pod: Object) -> list[Object]:
    """The volumes of a pod for which claims are made."""
    return [one for one in get_path(pod, "spec", "volumes", default=()) if one.get("ephemeral") is not None]


def claim_for(pod: Object, volume: Object) -> Object:
    """The claim of such a volume, as its template says."""
    template = volume["ephemeral"]["volumeClaimTemplate"]
    of_template = template.get("metadata") or {}
    kept = {key: of_template[key] for key in ("labels", "annotations") if of_template.get(key)}
    owner = owner_reference({**pod, "apiVersion": "v1", "kind": "Pod"})
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            **kept,
            "name": claim_name(pod, volume),
            "namespace": namespace(pod),
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }


class EphemeralVolumes:
    """One control loop over the pods that have such volumes."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder
        self._pods = context.informers.of(PODS)
        self._claims = context.informers.of(PERSISTENTVOLUMECLAIMS)
        self.informers = (self._pods, self._claims)
        self.queue = context.queue()
        self._pods.add_handler(self._pod_changed)
        self._claims.add_handler(self._claim_changed)

    def _pod_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and ephemeral_volumes(new) and not deletion_requested(new):
            self.queue.add(namespaced_key(new))

    def _claim_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """One that has been deleted is made again if its pod is still there."""
        if new is not None or old is None:
            return
        owner = controller_of(old)
        if owner is not None and owner["kind"] == PODS.kind:
            self.queue.add(f"{namespace(old)}/{owner['name']}")

    async def reconcile(self, key: str) -> None:
        """Make what claims of a pod are missing."""
        pod = self._pods.get(key)
        if pod is None or deletion_requested(pod):
            return
        for volume in ephemeral_volumes(pod):
            claim = self._claims.get(f"{namespace(pod)}/{claim_name(pod, volume)}")
            if claim is None:
                await self._create(pod, volume)
            elif not is_for_pod(claim, pod):
                self._tell(pod, volume, not_for_pod(claim, pod))

    async def _create(self, pod: Object, volume: Object) -> None:
        try:
            await self._client.create(PERSISTENTVOLUMECLAIMS, claim_for(pod, volume))
        except ApiError as error:
            if not namespace_terminating(error):
                self._tell(pod, volume, f"create PVC {claim_name(pod, volume)}: {error.message}")
                raise

    def _tell(self, pod: Object, volume: Object, why: str) -> None:
        self._recorder.event(pod, WARNING, "FailedBinding", f"ephemeral volume {volume['name']}: {why}")
