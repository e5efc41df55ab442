"""Lets VolumeAttributesClasses go once no claim and no volume has to do with them any more: takes away the finalizer
that kept them until then.

Source: https://kubernetes.io/docs/concepts/storage/volume-attributes-classes/,
kubernetes/pkg/controller/volume/vacprotection
"""

from __future__ import annotations

from collections.abc import Iterable

from apiclient.informer import Informer
from apimachinery.meta import Object, get_path, name
from apimachinery.quota.claims import attributes_classes
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES, VOLUMEATTRIBUTESCLASSES
from controllers.context import Context
from controllers.storage_protection import is_kept, let_go

FINALIZER = "kubernetes.io/vac-protection"
# Claims and their volumes often leave together.
GATHER_SECONDS = 0.05


def is_used(attributes_class: str, claims: Iterable[Object], volumes: Iterable[Object]) -> bool:
    """Whether a claim has, wants or is about to have a class, or a volume has it."""
    return any(attributes_class in attributes_classes(claim) for claim in claims) or any(
        get_path(volume, "spec", "volumeAttributesClassName") == attributes_class for volume in volumes
    )


class AttributesClassProtection:
    """One control loop over the VolumeAttributesClasses that are being deleted."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._classes = context.informers.of(VOLUMEATTRIBUTESCLASSES)
        self.informers: tuple[Informer, ...] = (self._classes,)
        self.queue = context.queue()
        self._classes.add_handler(self._class_changed)
        for resource in (PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES):
            context.informers.of(resource).add_handler(self._user_changed)

    def _class_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and is_kept(new, FINALIZER):
            self.queue.add(name(new))

    def _user_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        for kept in self._classes.list():
            if is_kept(kept, FINALIZER):
                self.queue.add_after(name(kept), GATHER_SECONDS)

    async def reconcile(self, key: str) -> None:
        """Let a class go that nothing uses."""
        kept = self._classes.get(key)
        if kept is None or not is_kept(kept, FINALIZER):
            return
        claims = (await self._client.list(PERSISTENTVOLUMECLAIMS))["items"]
        volumes = (await self._client.list(PERSISTENTVOLUMES))["items"]
        if not is_used(key, claims, volumes):
            await let_go(self._client, VOLUMEATTRIBUTESCLASSES, kept, FINALIZER)
