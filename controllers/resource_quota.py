"""Keeps the usage of ResourceQuotas true: counts what is there when a quota is new, and what is left when objects go.

The API server charges what is created; here is found out what is not used any more. Counting starts from the newest
version of the quota, and ends with a write that is refused if anything has been charged since then. What was charged
after the version that was counted is then put on top: a quota is charged in the very version that brings the object.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/, kubernetes/pkg/controller/resourcequota
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from apiclient.informer import Informer
from apimachinery.errors import ApiError, is_conflict, is_gone
from apimachinery.meta import (
    Object,
    deletion_requested,
    get_path,
    name,
    namespace,
    namespaced_key,
    resource_version,
    split_key,
)
from apimachinery.pod_resources import Amounts, amounts
from apimachinery.quantity import NANO, Quantity
from apimachinery.quota import pods
from apimachinery.quota.evaluators import IGNORED, MEASURED, Evaluator, counted, evaluator
from apimachinery.resources import BUILTIN, PODS, RESOURCEQUOTAS, STORED, Resource
from controllers.context import Context
from controllers.custom_resources import Kinds
from controllers.pods import is_finished
from controllers.requests import unless_gone

BY_NAMESPACE = "namespace"
# Many objects leave at about the same time. A namespace of thousands takes some time to count: that is done for a
# small part of all time.
GATHER_SECONDS, COUNTING_SHARE = 0.1, 5
# How soon a quota is counted again of which something was charged meanwhile, and how soon even if nothing is heard.
RECOUNT_SECONDS, RESYNC_SECONDS = 1.0, 300.0
PAGE_OBJECTS = 500
TRIES_MAX = 10

_BUILT_IN = {one.key: one for one in BUILTIN if one.namespaced and one.stored_as is None and one.key not in IGNORED}


class ResourceQuotaController:
    """One control loop over all quotas."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._metadata_client = context.metadata_client
        self._clock = context.clock
        self._custom = context.informers.custom
        self._quotas = context.informers.of(RESOURCEQUOTAS)
        self._costs: dict[str, float] = {}
        self.informers = (self._quotas,)
        self.queue = context.queue()
        self._quotas.add_index(BY_NAMESPACE, lambda quota: [namespace(quota)])
        self._quotas.add_handler(self._quota_changed)
        for resource in STORED:
            if resource.key in _BUILT_IN:
                self._follow(context.informers.of(resource))
        self._custom.follow(self._follow, new_kinds=self._new_kinds)

    def _follow(self, informer: Informer) -> None:
        if informer.resource.namespaced:
            informer.add_handler(partial(self._changed, informer.resource.key))

    def _quota_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is None:
            assert old is not None
            self._costs.pop(namespaced_key(old), None)
        elif old is None or old.get("spec") != new.get("spec") or _is_new(new):
            self.queue.add(namespaced_key(new))

    def _new_kinds(self, kinds: Kinds) -> None:
        for quota in self._quotas.list():
            if any(of is not None and of not in _BUILT_IN for of in map(counted, _hard(quota))):
                self.queue.add(namespaced_key(quota))

    def _changed(self, of: tuple[str, str], kind: str, old: Object | None, new: Object | None) -> None:
        if old is None or (new is not None and of not in MEASURED):
            return  # what is created has been charged
        quotas = self._quotas.by_index(BY_NAMESPACE, namespace(old))
        if not quotas:
            return
        delay = GATHER_SECONDS
        if new is not None and of == PODS.key and not _uses_less(old, new):
            ends_at = pods.ends_at(new)
            if ends_at is None or deletion_requested(old):
                return
            delay = max(ends_at - self._clock.now(), 0.0) + GATHER_SECONDS
        for quota in quotas:
            if evaluator(*of).names(_hard(quota)):
                key = namespaced_key(quota)
                self.queue.add_after(key, max(delay, COUNTING_SHARE * self._costs.get(key, 0.0)))

    async def reconcile(self, key: str) -> None:
        """Count what a quota is about, and write what is used."""
        scope, called = split_key(key)
        quota = await unless_gone(self._client.get(RESOURCEQUOTAS, called, scope))
        if quota is None:
            return
        started = self._clock.monotonic()
        used, versions = await self._used(quota)
        self._costs[key] = self._clock.monotonic() - started
        exact = await self._write(quota, used, versions)
        # What came while nothing was charged yet has been missed, unless it was there in time to be counted.
        self.queue.add_after(key, RESYNC_SECONDS if exact and not _is_new(quota) else RECOUNT_SECONDS)

    async def _write(self, quota: Object, used: Amounts, versions: Mapping[str, str]) -> bool:
        """Write what is used; False if something was charged meanwhile, so that it is not quite sure."""
        before: Amounts | None = None
        for attempt in range(TRIES_MAX):
            status = {"hard": _hard(quota), "used": {limit: str(amount) for limit, amount in used.items()}}
            try:
                if quota.get("status") != status:
                    await self._client.update(RESOURCEQUOTAS, {**quota, "status": status}, subresource="status")
                    return attempt == 0
            except ApiError as error:
                if not is_conflict(error):
                    raise
            newest = await unless_gone(self._client.get(RESOURCEQUOTAS, name(quota), namespace(quota)))
            if newest is None or newest.get("spec") != quota.get("spec"):
                return False
            if resource_version(newest) == resource_version(quota):
                return attempt == 0
            if before is None:
                before = await self._charged_when_counted(quota, versions)
            now, zero = _charged(newest), Quantity(0)
            used = {
                limit: amount + (now.get(limit, zero) - before.get(limit, zero)) for limit, amount in used.items()
            }
            quota, before = newest, now
        return False

    async def _charged_when_counted(self, quota: Object, versions: Mapping[str, str]) -> Amounts:
        """What was charged in the versions that were counted: what came later is in none of the counts."""
        charged = _charged(quota)
        only = f"metadata.name={name(quota)}"
        for version in set(versions.values()):
            try:
                # With a limit it is the list of this very version.
                page = await self._client.list(
                    RESOURCEQUOTAS, namespace(quota), field_selector=only, limit=1, resource_version=version
                )
            except ApiError as error:
                if not is_gone(error):
                    raise
                continue  # It is forgotten: what came while counting is on the quota twice until the next count.
            for then in page["items"]:
                charged |= {limit: used for limit, used in _charged(then).items() if versions.get(limit) == version}
        return charged

    async def _used(self, quota: Object) -> tuple[Amounts, dict[str, str]]:
        """What is used, by limit, and the versions in which that was counted."""
        limits = list(_hard(quota))
        versions: dict[str, str] = {}
        # What can't be counted at this moment stays as it is.
        used = {limit: amount for limit, amount in _charged(quota).items() if limit in limits}
        for of, names in self._measured(limits):
            resource = self._resource(of)
            if resource is not None:
                counts, version = await self._used_of(quota, resource, evaluator(*of), names)
                used |= counts
                versions |= dict.fromkeys(names, version)
        return used, versions

    def _measured(self, limits: Sequence[str]) -> Iterator[tuple[tuple[str, str], list[str]]]:
        """The resources whose objects are measured by these limits, with their own of these."""
        for of in dict.fromkeys((*MEASURED, *filter(None, map(counted, limits)))):
            if names := evaluator(*of).names(limits):
                yield of, names

    def _resource(self, of: tuple[str, str]) -> Resource | None:
        """None for what is not served at all, or that nobody counts."""
        return _BUILT_IN.get(of) or next((one for one in self._custom.namespaced() if one.key == of), None)

    async def _used_of(
        self, quota: Object, resource: Resource, of: Evaluator, names: Sequence[str]
    ) -> tuple[Amounts, str]:
        """What the objects of a resource use, and in which version."""
        used = dict.fromkeys(names, Quantity(0))
        scope = namespace(quota)
        if of.counts_only:
            page = await self._metadata_client.list(resource, scope, limit=1)
            number = len(page["items"]) + int(page["metadata"].get("remainingItemCount") or 0)
            count = number if of.is_in_scopes(quota, {}) else 0
            return dict.fromkeys(names, Quantity(count * NANO)), resource_version(page)
        now = self._clock.now()
        token: str | None = None
        while True:
            page = await self._client.list(resource, scope, limit=PAGE_OBJECTS, continue_=token)
            for obj in page["items"]:
                if of.is_in_scopes(quota, obj):
                    for limit, amount in of.usage(obj, now).items():
                        if limit in used:
                            used[limit] = used[limit] + amount
            token = page["metadata"].get("continue")
            if not token:
                return used, resource_version(page)


def _hard(quota: Object) -> dict[str, str]:
    found: dict[str, str] = get_path(quota, "spec", "hard", default={})
    return found


def _charged(quota: Object) -> Amounts:
    return amounts(get_path(quota, "status", "used"))


def _is_new(quota: Object) -> bool:
    """Whether the API server does not charge yet for all that is limited."""
    return bool(get_path(quota, "status", "hard", default={}) != _hard(quota))


def _uses_less(old: Object, new: Object) -> bool:
    """Whether a pod may use less than before, or be in other scopes."""
    return (
        is_finished(old) != is_finished(new)
        or old["metadata"].get("generation") != new["metadata"].get("generation")
        or _running_resources(old) != _running_resources(new)
    )


def _running_resources(pod: Object) -> list[object]:
    statuses: list[Object] = get_path(pod, "status", "containerStatuses", default=[])
    return [(status.get("resources"), status.get("allocatedResources")) for status in statuses]
