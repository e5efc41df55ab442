"""Says of claims that ask for more than they have that somebody else has to see to that.

Whoever drives the volumes of a class makes them larger, beside the cluster, and says so in the claim's status.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#expanding-persistent-volumes-claims
"""

from __future__ import annotations

from apimachinery.meta import Object, get_path, namespaced_key, uid
from apimachinery.quantity import parse
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PERSISTENTVOLUMES
from controllers.context import Context
from controllers.persistent_volume_plan import NORMAL

MESSAGE = "waiting for an external controller to expand this PVC"


def wants_more(claim: Object) -> bool:
    """Whether a bound claim asks for more than it has."""
    wanted = get_path(claim, "spec", "resources", "requests", "storage")
    has = get_path(claim, "status", "capacity", "storage")
    if get_path(claim, "status", "phase") != "Bound" or wanted is None or has is None:
        return False
    return parse(wanted).nanos > parse(has).nanos


class VolumeExpansion:
    """One control loop over the claims that ask for more."""

    def __init__(self, context: Context) -> None:
        self._recorder = context.recorder
        self._claims = context.informers.of(PERSISTENTVOLUMECLAIMS)
        self._volumes = context.informers.of(PERSISTENTVOLUMES)
        self.informers = (self._claims, self._volumes)
        self.queue = context.queue()
        self._claims.add_handler(self._claim_changed)

    def _claim_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        same = old is not None and new is not None and old.get("spec") == new.get("spec")
        if new is not None and wants_more(new) and not (same and old is not None and wants_more(old)):
            self.queue.add(namespaced_key(new))

    async def reconcile(self, key: str) -> None:
        """Tell of a claim whose volume is its own."""
        claim = self._claims.get(key)
        if claim is None or not wants_more(claim):
            return
        volume = self._volumes.get(get_path(claim, "spec", "volumeName", default=""))
        if volume is not None and get_path(volume, "spec", "claimRef", "uid") == uid(claim):
            self._recorder.event(claim, NORMAL, "ExternalExpanding", MESSAGE)
