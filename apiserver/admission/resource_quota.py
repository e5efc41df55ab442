"""ResourceQuota: nobody gets more of a namespace than its quotas allow.

What an object uses is charged in the very transaction that writes it, against the usage that all writes before it
have left: however many are written at once, a quota is never exceeded, and who looks at it sees what is used. The
quota controller takes back what is not used any more. A quota that it has not seen yet (no `status.hard`) limits
nothing.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/,
k8s.io/apiserver/pkg/admission/plugin/resourcequota
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from apimachinery.meta import Object, get_path, name
from apimachinery.pod_resources import Amounts, amounts
from apimachinery.quantity import Quantity
from apimachinery.quota.evaluators import IGNORED, Evaluator, evaluator
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PODS, RESOURCECLAIMS, RESOURCEQUOTAS, SERVICES
from apiserver import encoding
from apiserver.admission import covering_quota
from apiserver.admission.covering_quota import Limited
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused
from apiserver.rest.call import storage_key
from apiserver.storage.group_commit import Look, Side

NAME = "ResourceQuota"
_KEY = storage_key(RESOURCEQUOTAS)
# What uses other amounts when it is changed, and the subresources by which it is.
_CHANGING: Mapping[tuple[str, str], tuple[str, ...]] = {
    PODS.key: ("resize",),
    PERSISTENTVOLUMECLAIMS.key: ("", "status"),
    SERVICES.key: ("",),
    RESOURCECLAIMS.key: ("",),
}


def plugins(now: Callable[[], float], limited: Sequence[Limited] = ()) -> list[Plugin]:
    """The plugin, for what is created and for what is changed: it must come last.

    `limited` is what nobody may use without a quota.
    """

    async def charge(attributes: Attributes, cluster: Cluster) -> None:
        resource, scope = attributes.resource, attributes.namespace
        if not scope or resource.key in IGNORED or not _matters(attributes):
            return
        quotas = [name(quota) for quota in cluster.list(RESOURCEQUOTAS, scope)]
        if quotas or limited:
            attributes.also = _Charge(attributes, evaluator(*resource.key), quotas, limited, now())

    return [
        Plugin(NAME, (CREATE,), validate=charge),
        Plugin(NAME, (UPDATE,), validate=charge, resources=tuple(_CHANGING), subresources=("resize", "status")),
    ]


def _matters(attributes: Attributes) -> bool:
    if attributes.operation == CREATE:
        return not attributes.subresource
    return attributes.subresource in _CHANGING.get(attributes.resource.key, ())


class _Charge:
    """Charges one write to the quotas of its namespace, as they are at the moment when it is written."""

    def __init__(
        self, attributes: Attributes, of: Evaluator, quotas: Sequence[str], limited: Sequence[Limited], now: float
    ) -> None:
        self._attributes = attributes
        self._evaluator = of
        self._quotas = quotas
        self._limited = limited
        self._now = now
        self._usage: _Usage | None = None

    def __call__(self, look: Look) -> list[Side]:
        """The new versions of the quotas. Raises ApiError 403."""
        scope = self._attributes.namespace
        entries = (look(_KEY, scope, quota) for quota in self._quotas)
        quotas = [entry.obj for entry in entries if entry is not None]
        concerned = [(quota, limits) for quota in quotas if (limits := self._limits(quota))]
        if not concerned and not self._limited:
            return []
        if self._usage is None:
            self._usage = _usage(self._attributes, self._evaluator, self._now)
        if self._limited:
            covered = {limit for _, limits in concerned for limit in limits}
            added = self._usage.all_added()
            covering_quota.check(self._attributes, self._limited, self._evaluator, added, covered, quotas)
        charged = [self._charged(quota, limits, self._usage) for quota, limits in concerned]
        return [
            Side(_KEY, scope, name(quota), partial(encoding.encode, RESOURCEQUOTAS, quota))
            for quota in charged
            if quota is not None
        ]

    def _limits(self, quota: Object) -> list[str]:
        """By which limits of a quota the object is measured; none if the quota is not about it."""
        obj = self._attributes.obj
        assert obj is not None
        limits = self._evaluator.names(get_path(quota, "status", "hard", default=()))
        if not limits or not self._evaluator.is_in_scopes(quota, obj):
            return []
        missing = self._evaluator.missing
        if missing is not None and (told := missing(obj, limits)):
            raise refused(self._attributes, f"failed quota: {name(quota)}: {told}")
        used = get_path(quota, "status", "used", default={})
        if any(limit not in used for limit in limits):
            told = ",".join(sorted(limits))
            raise refused(self._attributes, f"status unknown for quota: {name(quota)}, resources: {told}")
        return limits

    def _charged(self, quota: Object, limits: Iterable[str], usage: _Usage) -> Object | None:
        """A quota with the object on it; None if that changes nothing. Raises ApiError 403."""
        before = usage.old
        if before is not None and not self._evaluator.is_in_scopes(quota, usage.old_obj):
            before = None
        more = {limit: added for limit in limits if (added := usage.added(limit, before)) is not None}
        if not more:
            return None
        status = quota["status"]
        hard, used = amounts(status["hard"]), amounts(status["used"])
        now = {limit: used[limit] + added for limit, added in more.items()}
        exceeded = sorted(limit for limit, amount in now.items() if hard[limit] < amount)
        # What has come about already can be told, whatever it is.
        if exceeded and self._attributes.subresource != "status":
            told = (
                f"exceeded quota: {name(quota)}, requested: {_listed(more, exceeded)}, "
                f"used: {_listed(used, exceeded)}, limited: {_listed(hard, exceeded)}"
            )
            raise refused(self._attributes, told)
        total = {**status["used"], **{limit: str(amount) for limit, amount in now.items()}}
        return {**quota, "status": {**status, "used": total}}


@dataclass(frozen=True, slots=True)
class _Usage:
    """What an object uses, and what it used before it was changed."""

    new: Amounts
    old: Amounts | None
    old_obj: Object

    def all_added(self) -> Amounts:
        """By how much the usage grows, of all that grows."""
        added = ((limit, self.added(limit, self.old)) for limit in self.new)
        return {limit: amount for limit, amount in added if amount is not None}

    def added(self, limit: str, before: Amounts | None) -> Quantity | None:
        """By how much the usage grows; None if it doesn't."""
        added = self.new.get(limit)
        if added is not None and before is not None and limit in before:
            added = added - before[limit]
        return added if added is not None and added.nanos > 0 else None


def _usage(attributes: Attributes, of: Evaluator, now: float) -> _Usage:
    obj, old = attributes.obj, attributes.old
    assert obj is not None
    new = of.usage(obj, now)
    negative = sorted(limit for limit, amount in new.items() if amount.nanos < 0)
    if negative:
        raise refused(attributes, f"quota usage is negative for resource(s): {','.join(negative)}")
    return _Usage(new, of.usage(old, now) if old is not None else None, old or {})


def _listed(some: Amounts, limits: Iterable[str]) -> str:
    return ",".join(f"{limit}={some[limit]}" for limit in limits)
