"""Binds claims to volumes and volumes to claims, and says of both in which phase of their lives they are.

    claim    Pending ──▶ Bound ──▶ Lost
    volume   Available ──▶ Bound ──▶ Released ──▶ (deleted by who has made it) | Failed

What to do is decided in `persistent_volume_plan`; here it is found out when, and written. Every write is of the
version that was looked at: of two claims that find the same volume at the same time one is refused, and looks again,
as does who was led there by a stale cache.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/
"""

from __future__ import annotations

from apiclient.informer import Informer
from apimachinery.meta import Object, get_path, name, namespace, namespaced_key, resource_version, split_key, uid
from apimachinery.persistent_volumes import claim_key, claim_name, class_of, is_default_class, is_fully_bound
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, PODS, STORAGECLASSES, Resource
from controllers.context import Context
from controllers.persistent_volume_plan import Change, Plan, plan_claim, plan_volume
from controllers.pods import is_finished, node_name
from controllers.requests import unless_gone

CLAIM, VOLUME = "claim ", "volume "
BY_CLAIM, BY_VOLUME, PENDING = "claim", "volume", "pending"


class PersistentVolumeBinder:
    """One control loop over all claims and volumes."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._recorder = context.recorder
        self._claims = context.informers.of(PERSISTENTVOLUMECLAIMS)
        self._volumes = context.informers.of(PERSISTENTVOLUMES)
        self._classes = context.informers.of(STORAGECLASSES)
        self._pods = context.informers.of(PODS)
        self.informers: tuple[Informer, ...] = (self._claims, self._volumes, self._classes, self._pods)
        self.queue = context.queue()
        self._claims.add_index(BY_VOLUME, lambda claim: [get_path(claim, "spec", "volumeName", default="")])
        self._claims.add_index(PENDING, lambda claim: [] if is_fully_bound(claim) else [PENDING])
        self._volumes.add_index(BY_CLAIM, lambda volume: [claim_key(volume)])
        self._pods.add_index(BY_CLAIM, _claims_of)
        self._claims.add_handler(self._claim_changed)
        self._volumes.add_handler(self._volume_changed)
        self._classes.add_handler(self._class_changed)

    def _claim_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        claim = new or old
        assert claim is not None
        if new is not None:
            self.queue.add(CLAIM + namespaced_key(new))
        for volume in self._volumes.by_index(BY_CLAIM, namespaced_key(claim)):
            self.queue.add(VOLUME + name(volume))

    def _volume_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        volume = new or old
        assert volume is not None
        if new is not None:
            self.queue.add(VOLUME + name(new))
            if claim_key(new):
                self.queue.add(CLAIM + claim_key(new))
            else:
                self._claims_wait_for(class_of(new))
        for claim in self._claims.by_index(BY_VOLUME, name(volume)):
            self.queue.add(CLAIM + namespaced_key(claim))

    def _class_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None:
            # Claims without a class may get the default one.
            self._claims_wait_for(name(new), "")

    def _claims_wait_for(self, *classes: str) -> None:
        """There may be something new for the claims of these classes that are not bound."""
        for claim in self._claims.by_index(PENDING, PENDING):
            if class_of(claim) in classes:
                self.queue.add(CLAIM + namespaced_key(claim))

    async def reconcile(self, key: str) -> None:
        """Take the next step for a claim or a volume."""
        if key.startswith(CLAIM):
            claim = self._claims.get(key.removeprefix(CLAIM))
            plan = self._plan_claim(claim) if claim is not None else Plan()
        else:
            volume = self._volumes.get(key.removeprefix(VOLUME))
            plan = plan_volume(volume, await self._claim_of(volume)) if volume is not None else Plan()
        await self._carry_out(plan)

    def _plan_claim(self, claim: Object) -> Plan:
        pods = self._pods.by_index(BY_CLAIM, namespaced_key(claim))
        waiting = sorted(name(pod) for pod in pods if not node_name(pod) and not is_finished(pod))
        return plan_claim(claim, self._volumes_for(claim), self._classes.get, self._default_class(), waiting)

    def _volumes_for(self, claim: Object) -> list[Object]:
        """The one that a claim names, or those that are its or nobody's: volumes of others are many."""
        if wanted := get_path(claim, "spec", "volumeName"):
            named = self._volumes.get(wanted)
            return [named] if named is not None else []
        return [*self._volumes.by_index(BY_CLAIM, namespaced_key(claim)), *self._volumes.by_index(BY_CLAIM, "")]

    def _default_class(self) -> str:
        """The name of the default class, of several the newest; "" if there is none."""
        marked = [one for one in self._classes.list() if is_default_class(one)]
        newest = max((one["metadata"].get("creationTimestamp") or "" for one in marked), default="")
        return min(
            (name(one) for one in marked if one["metadata"].get("creationTimestamp", "") == newest), default=""
        )

    async def _claim_of(self, volume: Object) -> Object | None:
        """The claim of the name that a volume is bound to. That it is gone is not believed of a cache alone."""
        key = claim_key(volume)
        known = self._claims.get(key) if key else None
        if not key or (known is not None and uid(known) == get_path(volume, "spec", "claimRef", "uid")):
            return known
        scope, called = split_key(key)
        return await unless_gone(self._client.get(PERSISTENTVOLUMECLAIMS, called, scope))

    async def _carry_out(self, plan: Plan) -> None:
        if plan.error:
            raise RuntimeError(plan.error)
        for told in plan.told:
            self._recorder.event(told.about, told.type, told.reason, told.message)
        if plan.volume is not None and not await self._write(PERSISTENTVOLUMES, plan.volume):
            return
        if plan.claim is not None:
            await self._write(PERSISTENTVOLUMECLAIMS, plan.claim)

    async def _write(self, resource: Resource, change: Change) -> bool:
        """False if the object is gone. Raises ApiError, 409 if it is not the one any more that was decided about."""
        obj: Object | None = change.obj
        for fields, subresource in ((change.fields, None), ({"status": change.status}, "status")):
            if obj is None or not any(fields.values()):
                continue
            metadata = {**fields.get("metadata", {}), "uid": uid(obj), "resourceVersion": resource_version(obj)}
            patch = {**fields, "metadata": metadata}
            written = self._client.patch(resource, name(obj), patch, namespace(obj), subresource=subresource)
            obj = await unless_gone(written)
        return obj is not None


def _claims_of(pod: Object) -> list[str]:
    volumes = get_path(pod, "spec", "volumes", default=())
    found = (claim_name(pod, volume) for volume in volumes)
    return [f"{namespace(pod)}/{claim}" for claim in found if claim]
