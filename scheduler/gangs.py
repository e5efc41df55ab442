"""Gangs: the pods of a Workload's group that are placed together or not at all.

A pod says by `spec.workloadRef` which group of which Workload it belongs to (and to which replica of the group). It
is held back until that Workload is there and, if the group is a gang, as many pods as its `minCount` says. From then
on the gang's pods are placed in one go (`scheduler.gang_cycle`) for as long as fewer than `minCount` of them have a
node; further ones are placed one by one. A pod that is being deleted counts no more, whatever it still takes up.

Only tells what holds: events go in, and who looks next asks `changed`. Pure.
Source: https://kubernetes.io/docs/concepts/workloads/workload-api/ and https://kep.k8s.io/4671
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from apimachinery.meta import Object, name, namespace

TOO_FEW_PODS = "waiting for minCount pods from a gang to appear in scheduling queue"
# How long a pod is held back before anybody is told why: most pods of a gang come right after each other.
TOLD_AFTER_SECONDS = 1.0


# In the order in which they came, for the same history to have the same outcome.
Uids = dict[str, None]


class GangKey(NamedTuple):
    """Which pods belong together."""

    namespace: str
    workload: str
    pod_group: str
    replica: str = ""

    def __str__(self) -> str:
        replica = f', replica "{self.replica}"' if self.replica else ""
        return f'pod group "{self.pod_group}" of workload "{self.workload}"{replica}'


def gang_of(pod: Object) -> GangKey | None:
    """The group that a pod belongs to; None for most pods."""
    reference = pod["spec"].get("workloadRef")
    if reference is None:
        return None
    return GangKey(
        namespace(pod), reference["name"], reference["podGroup"], reference.get("podGroupReplicaKey") or ""
    )


@dataclass(slots=True)
class Gang:
    """The pods of one group, by uid: those that wait, free to be tried or held back, and those that have a node.

    `objection` is why those that wait are held back, "" if they are not. `tried_for` is how many had to be placed
    together when that was tried in vain, `message` what was said then.
    """

    objection: str = ""
    free: Uids = field(default_factory=dict)
    held: Uids = field(default_factory=dict)
    placed: Uids = field(default_factory=dict)
    told: Uids = field(default_factory=dict)
    tried_for: int = 0
    message: str = ""

    @property
    def size(self) -> int:
        """How many pods there are."""
        return len(self.free) + len(self.held) + len(self.placed)


class Gangs:
    """All groups that pods belong to, and what their Workloads say of them.

    `changed` are the groups whose pods may have to be held back or let go; `untold` are those with pods that have
    been held back without being told why, each with the moment (monotonic seconds) at which they are.
    """

    def __init__(self) -> None:
        self.changed: dict[GangKey, None] = {}
        self.untold: dict[GangKey, float] = {}
        # Of each Workload the least number of pods of each group that are placed together.
        self._minima: dict[tuple[str, str], dict[str, int]] = {}
        self._gangs: dict[GangKey, Gang] = {}
        self._of_workload: dict[tuple[str, str], dict[GangKey, None]] = {}
        self._keys: dict[str, GangKey] = {}

    def get(self, key: GangKey) -> Gang | None:
        """The pods of a group; None if there are none."""
        return self._gangs.get(key)

    def workload_changed(self, old: Object | None, new: Object | None) -> None:
        """A Workload is new, has changed or is gone."""
        workload = new or old
        assert workload is not None, "something has changed"
        called = namespace(workload), name(workload)
        if new is None:
            self._minima.pop(called, None)
        else:
            self._minima[called] = dict(_minima(new["spec"].get("podGroups") or ()))
        self.changed |= self._of_workload.get(called, {})

    def pod_waits(self, uid: str, key: GangKey) -> None:
        """A pod waits for a node, and nothing of its own holds it back."""
        gang = self._gang_of(uid, key)
        gang.placed.pop(uid, None)
        if uid not in gang.held:
            gang.free[uid] = None
        self.changed[key] = None

    def pod_placed(self, uid: str, key: GangKey) -> None:
        """A pod has a node, or is about to."""
        gang = self._gang_of(uid, key)
        gang.free.pop(uid, None)
        gang.held.pop(uid, None)
        gang.told.pop(uid, None)
        gang.placed[uid] = None
        self.changed[key] = None

    def pod_left(self, uid: str) -> None:
        """A pod counts no more: it has ended, is to end, or must not be placed yet for reasons of its own."""
        key = self._keys.pop(uid, None)
        if key is None:
            return
        gang = self._gangs[key]
        for part in (gang.free, gang.held, gang.placed, gang.told):
            part.pop(uid, None)
        if gang.size:
            self.changed[key] = None
            return
        del self._gangs[key]
        self.untold.pop(key, None)
        self.changed.pop(key, None)
        of_workload = self._of_workload[key[:2]]
        of_workload.pop(key, None)
        if not of_workload:
            del self._of_workload[key[:2]]

    def objection(self, key: GangKey) -> str:
        """Why no pod of a group may be tried now; "" if they may."""
        groups = self._minima.get(key[:2])
        if groups is None:
            return f'waiting for pods\'s workload "{key.workload}" to appear in scheduling queue'
        minimum = groups.get(key.pod_group)
        if minimum is None:
            return f'pod group "{key.pod_group}" doesn\'t exist for a workload "{key.workload}"'
        return TOO_FEW_PODS if self._gangs[key].size < minimum else ""

    def missing(self, key: GangKey) -> int:
        """How many pods of a group have to be placed in one go; 0 if each may be placed alone."""
        minimum = self._minima.get(key[:2], {}).get(key.pod_group, 0)
        return max(0, minimum - len(self._gangs[key].placed))

    def settle(self, key: GangKey, now: float) -> tuple[Uids, bool]:
        """See what has become of a group; returns the pods that change sides, and whether these are held back now."""
        gang = self._gangs[key]
        objection = self.objection(key)
        if objection != gang.objection:
            gang.objection = objection
            gang.told.clear()
        if objection:
            moved, gang.free = gang.free, {}
            gang.held |= moved
            if len(gang.held) > len(gang.told):
                self.untold.setdefault(key, now + TOLD_AFTER_SECONDS)
        else:
            moved, gang.held = gang.held, {}
            gang.free |= moved
            self.untold.pop(key, None)
        return moved, bool(objection)

    def failed(self, key: GangKey, needed: int, message: str) -> bool:
        """So many pods could not be placed together; returns whether that is news."""
        gang = self._gangs[key]
        news = gang.message != message
        gang.tried_for, gang.message = needed, message
        return news

    def eased(self, key: GangKey) -> Uids:
        """The pods of a group that are worth another try: fewer of them need room at once than when that failed."""
        gang = self._gangs[key]
        if gang.objection or self.missing(key) >= gang.tried_for:
            return {}
        gang.tried_for = 0
        return dict(gang.free)

    def tell(self, now: float) -> list[tuple[str, str]]:
        """The pods that are to be told now why they are held back, by uid, and why."""
        found = []
        for key in [key for key, due in self.untold.items() if due <= now]:
            del self.untold[key]
            gang = self._gangs[key]
            found += [(uid, gang.objection) for uid in gang.held if uid not in gang.told]
            gang.told = dict(gang.held)
        return found

    def next_due(self) -> float | None:
        """When `tell` will have something; None if never."""
        return min(self.untold.values(), default=None)

    def _gang_of(self, uid: str, key: GangKey) -> Gang:
        self._keys[uid] = key
        gang = self._gangs.get(key)
        if gang is None:
            gang = self._gangs[key] = Gang()
            self._of_workload.setdefault(key[:2], {})[key] = None
        return gang


def _minima(groups: Iterable[Object]) -> Iterable[tuple[str, int]]:
    for group in groups:
        policy = group.get("policy") or {}
        yield group["name"], (policy.get("gang") or {}).get("minCount") or 0
