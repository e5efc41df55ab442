"""What a scheduler knows and decides, without any I/O: events of nodes, pods and storage go in, placements come out.

It takes every event at once, also while another scheduler leads, so that whoever takes over knows the cluster.
"""

from __future__ import annotations

import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import orjson

from apiclient.informer import DELETED
from apiclient.logs import kv
from apimachinery.meta import Object, deletion_requested, labels, name, namespace, namespaced_key, uid
from scheduler.affinity_terms import terms_of
from scheduler.diagnosis import Diagnosis, News, diagnose, still_against, still_against_for_storage
from scheduler.evaluation import Evaluations, Turn
from scheduler.framework import DEFAULT_SCHEDULER_NAME, Attempt, PodClass, Profile, Remedy
from scheduler.gang_cycle import GangOutcome, may_have_room, place_gang, settle
from scheduler.gangs import Gangs, gang_of
from scheduler.nominating import Nominating
from scheduler.nominations import Applicant
from scheduler.pods import Usage, is_terminal, node_name, priority, usage_fields, usage_of
from scheduler.queue import QueuedPod, SchedulingQueue
from scheduler.residents import Resident, resident_labels
from scheduler.snapshot import NOTHING, Change, Snapshot
from scheduler.storage import Decision, decide, options_for, wanted_claims
from scheduler.verdicts import AllVerdicts

logger = logging.getLogger(__name__)

USAGES_REMEMBERED = RESIDENTS_REMEMBERED = 4096
# How far the changes of nodes, pods and storage have been followed.
State = tuple[int, int, int, int]
# Pods of one class and priority fail alike, but for those that may send nobody away or have a node in view.
FailingAlike = tuple[PodClass, int, str | None, str]
Taker = Callable[[Object | None, Object | None], None]


@dataclass(frozen=True, slots=True)
class Placement:
    """A pod and the node that was found for it; the pod is assumed to be there from now on.

    `decision` is what has to become of its claims first, if any of them is not bound.
    """

    queued: QueuedPod
    node: str
    decision: Decision | None = None


class Cluster:
    """The nodes, the pods on them, and the pods that wait; those whose scheduler no profile is of are left alone."""

    def __init__(self, *profiles: Profile, rng: random.Random, queue: SchedulingQueue | None = None) -> None:
        self.snapshot = Snapshot()
        self.queue = SchedulingQueue() if queue is None else queue
        self.gangs = Gangs()
        self._profiles = {profile.scheduler_name: profile for profile in profiles}
        self._relations = frozenset[str]().union(*(profile.relations for profile in profiles))
        self._evaluations = Evaluations(self._profiles)
        self._verdicts = AllVerdicts()
        self._turn = Turn(rng)
        self._usages: OrderedDict[bytes, Usage] = OrderedDict()
        self._news = News()
        self._residents: OrderedDict[bytes, Resident] = OrderedDict()
        # While nobody waits because of other pods, nobody need be told of them.
        self._others_matter = False
        self._storage_changed = self._namespaces_changed = False
        self._diagnoses: dict[FailingAlike, tuple[State, Diagnosis]] = {}
        self._nominating = Nominating(self.snapshot, self.queue, self._note)
        self._memory: OrderedDict[Hashable, Any] = OrderedDict()

    def node_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        """Take an event of a node, as an informer tells it."""
        if new is None or kind == DELETED:
            assert old is not None, "who is deleted has been there"
            self.snapshot.remove_node(name(old))
            self._nominating.node_gone(name(old))
            self._news.elsewhere |= Change.NODE_REMOVED
        else:
            self._note(self.snapshot.set_node(new), name(new))

    def pod_changed(self, kind: str, old: Object | None, new: Object | None, *, now: float) -> None:
        """Take an event of a pod, as an informer tells it."""
        if new is None or kind == DELETED:
            assert old is not None, "who is deleted has been there"
            self._pod_ended(uid(old), now)
            return
        try:
            self._take(new, now)
        except (KeyError, TypeError, ValueError) as error:
            # The API server validates pods; should it ever let a wrong one pass, the others go on.
            logger.error(kv("pod not understood", pod=namespaced_key(new), error=repr(error)))
            self._waits_no_more(uid(new), now)
            self.gangs.pod_left(uid(new))

    def storage_changed(self, take: Taker, old: Object | None, new: Object | None) -> None:
        """Take an event of a claim, a volume or a class of storage: `take` is the storage's method for it."""
        take(old, new)
        self._storage_changed = True

    def group_changed(self, old: Object | None, new: Object | None) -> None:
        """Take an event of a service, a controller or a namespace that pods belong to."""
        groups = self.snapshot.groups
        before = groups.version
        groups.changed(old, new)
        if groups.version != before and (new or old or {})["kind"] == "Namespace":
            self._namespaces_changed = self._others_matter

    def workload_changed(self, old: Object | None, new: Object | None) -> None:
        """Take an event of a Workload, which says which pods are placed together."""
        self.gangs.workload_changed(old, new)

    def budget_changed(self, old: Object | None, new: Object | None) -> None:
        """Take an event of a budget of disruption."""
        self.snapshot.budgets.changed(old, new)

    def _take(self, pod: Object, now: float) -> None:
        if is_terminal(pod):
            self._pod_ended(uid(pod), now)
        elif node_name(pod):
            self._waits_no_more(uid(pod), now, node=node_name(pod))
            self._pod_assigned(pod)
        elif (profile := self._profiles.get(scheduler_of(pod))) is not None:
            self._pod_waits(profile, pod, now)

    def next_pod(self, now: float) -> QueuedPod | None:
        """The pod to place next: by `place`, or by `place_gang` if it is one of a gang."""
        if self.gangs.changed:
            settle(self.gangs, self.queue, now, withdraw=self.withdraw)
        if self._news:
            news, self._news = self._news, News()
            self._nominating.wake(news.rows, self.profile_of, now)
            self.queue.move(
                lambda pod_class, rejectors, first: self._may_help(
                    pod_class,
                    still_against(
                        self.profile_of(pod_class), pod_class, rejectors, news, self.snapshot, Applicant(first, "")
                    ),
                ),
                now,
            )
            self._others_matter = self._others_matter and self.queue.any_rejected_by(self._relations)
        if self._storage_changed:
            self._storage_changed = False
            self.queue.move(
                lambda pod_class, rejectors, first: self._may_help(
                    pod_class,
                    still_against_for_storage(
                        self.profile_of(pod_class), pod_class, rejectors, self.snapshot, Applicant(first, "")
                    ),
                ),
                now,
            )
        if self._namespaces_changed:
            self._namespaces_changed = False
            # Whom a selector of namespaces means is found out when a pod is described, as it is when it is tried.
            self.queue.move(lambda _, rejectors, __: bool(rejectors & self._relations), now)
        queued = self.queue.pop(now)
        if queued is not None:
            self.describe(queued, now)
        return queued

    def describe(self, queued: QueuedPod, now: float) -> None:
        """Have a pod that was taken out be of the class that it is of now."""
        if queued.described != self.snapshot.circumstances:
            queued.described = self.snapshot.circumstances
            self.queue.describe_anew(
                queued, self.profile_of(queued.pod_class).describe(queued.pod, self.snapshot), now
            )

    def held_back(self, now: float) -> Iterator[tuple[Object, str]]:
        """The pods that are to be told now why nobody tries to place them, and why that is."""
        for pod_uid, why in self.gangs.tell(now):
            queued = self.queue.get(pod_uid)
            if queued is not None:
                yield queued.pod, why

    def next_due(self) -> float | None:
        """When there will be something to do without any event; None if never."""
        return min((due for due in (self.queue.next_due(), self.gangs.next_due()) if due is not None), default=None)

    def _may_help(self, pod_class: PodClass, against: frozenset[str] | None) -> bool:
        """Whether nothing is against a class on some node any more; whatever still is will be watched from now on."""
        if against:
            self.queue.rejected_too(pod_class, against)
            self._turned_down_by(against)
        if against is not None or pod_class.gang is None:
            return against is None
        return may_have_room(pod_class.gang, self.gangs, self.queue, self._profiles, self.snapshot)

    def _turned_down_by(self, plugins: frozenset[str]) -> None:
        self._others_matter = self._others_matter or bool(plugins & self._relations)

    def place(self, queued: QueuedPod, now: float) -> Placement | Diagnosis:
        """Find a node for a pod and assume it there, or say why there is none."""
        placement = self.assume(queued)
        if placement is None:
            return self.not_placed(queued, now)
        self.settled(placement, now)
        return placement

    def place_gang(self, queued: QueuedPod, now: float) -> GangOutcome:
        """Find nodes for a pod and all of its gang that wait, and assume them there; or say why there is none."""
        return place_gang(self, queued, now)

    def turn_down(self, queued: QueuedPod, rejectors: frozenset[str], now: float, *, nominated: bool = False) -> None:
        """A pod that was taken out waits until something may help it against these plugins."""
        self.queue.fail(queued, rejectors, now, nominated=nominated)
        self._turned_down_by(rejectors)

    def assume(self, queued: QueuedPod) -> Placement | None:
        """Find the best node for a pod and assume it there, as long as `take_back` does not follow."""
        applicant, profile = _applicant(queued), self.profile_of(queued.pod_class)
        row = self._nominating.kept_row(queued, profile, applicant)
        if row is None:
            verdicts = self._verdicts.of(profile, queued.pod_class, applicant)
            row = self._evaluations.of(queued.pod_class).best(self.snapshot, self._turn, applicant, verdicts)
            if row is None:
                return None
            self._turn.take(row)
        node = self.snapshot.node_name(row)
        decision = self._decide(queued, row) if "volumes" in queued.pod["spec"] else None
        resident = self._resident(queued.pod)
        self.snapshot.place(queued.uid, node, queued.pod_class.usage, resident, assumed=True, pod=queued.pod)
        return Placement(queued, node, decision)

    def take_back(self, placement: Placement) -> None:
        """Undo `assume`, before anybody has seen it."""
        self.snapshot.remove(placement.queued.uid)
        self.snapshot.storage.forget(placement.queued.uid)
        self.snapshot.storage.release(placement.queued.uid)

    def settled(self, placement: Placement, now: float) -> None:
        """What was assumed stays, and may matter to others."""
        queued = placement.queued
        self._nominating.forget(queued.uid, node=placement.node)
        if self._others_matter:
            self._note_resident(self._resident(queued.pod))
        if queued.pod_class.gang is not None:
            self.gangs.pod_placed(queued.uid, queued.pod_class.gang)
        self.queue.follow(queued.pod_class, now)

    def not_placed(self, queued: QueuedPod, now: float) -> Diagnosis:
        """A pod fits nowhere: it waits, for room that is made for it if that can be."""
        diagnosis = self.diagnosis(queued, makes_room=True)
        remedy = diagnosis.remedy
        if remedy is not None and remedy.victims:
            remedy = self.nominate(queued, remedy, now)
            self.turn_down(queued, diagnosis.rejectors, now, nominated=True)
            return replace(diagnosis, remedy=remedy)
        if remedy is not None and remedy.node == "":
            self._nominating.forget(queued.uid)
        self.turn_down(queued, diagnosis.rejectors, now)
        return diagnosis

    def nominate(self, queued: QueuedPod, remedy: Remedy, now: float) -> Remedy:
        """Keep room for a pod where it is made; tells what is to be done for that."""
        return self._nominating.begin(queued, self._resident(queued.pod), remedy, now)

    def withdraw(self, pod_uid: str) -> bool:
        """Keep no room for a pod any more; returns whether any was."""
        kept = self.snapshot.nominations.get(pod_uid) is not None
        self._nominating.forget(pod_uid)
        return kept

    def room_not_made(self, queued: QueuedPod, victims: Iterable[Object], now: float) -> None:
        """Pods could not be sent away for another one: it is tried again."""
        self._nominating.failed(queued, victims, now)

    def _decide(self, queued: QueuedPod, row: int) -> Decision | None:
        """What the pod's claims get on this node; None if they are all bound."""
        storage, claims = self.snapshot.storage, wanted_claims(queued.pod)
        _, unbound = storage.split(claims)
        decision, profile = None, self.profile_of(queued.pod_class)
        if unbound and profile.binds_volumes:
            node = self.snapshot.node(row)
            assert node is not None, "a node that was chosen is there"
            decision = decide(options_for(storage, unbound), name(node), labels(node))
            assert decision is not None, "a node that was chosen has what the claims need"
            decision = replace(decision, timeout_seconds=profile.bind_timeout_seconds)
            storage.assume(queued.uid, decision)
        if claims:
            storage.use(queued.uid, claims)
        return decision

    def bound(self, placement: Placement, now: float) -> None:
        """The API server has taken the placement; the pod stays assumed until its event arrives."""
        self.queue.remove(placement.queued.uid, now)
        if placement.decision is not None:
            self.snapshot.storage.forget(placement.queued.uid)

    def forget(self, placement: Placement) -> None:
        """The placement has come to nothing: its room is free for others."""
        placed = self.snapshot.placed(placement.queued.uid)
        if placed is not None and placed.assumed:
            self.snapshot.remove(placement.queued.uid)
            self._note(Change.POD_REMOVED, placed.node)
            self._note_resident(placed.resident)
            self._release(placement.queued.uid)
            self._count_in_gang(placement.queued)
        if (queued := self.queue.get(placement.queued.uid)) is not None:
            self._nominating.told(None, queued, self._resident)

    def _count_in_gang(self, queued: QueuedPod) -> None:
        """A pod that has no node may have one, or may not, which its gang has to know."""
        key = queued.pod_class.gang
        if key is None:
            return
        if self.queue.get(queued.uid) is queued and not queued.pod["spec"].get("schedulingGates"):
            self.gangs.pod_waits(queued.uid, key)
        else:
            self.gangs.pod_left(queued.uid)

    def _waits_no_more(self, pod_uid: str, now: float, *, node: str = "") -> None:
        self.queue.remove(pod_uid, now)
        self._nominating.forget(pod_uid, node=node)

    def _pod_ended(self, pod_uid: str, now: float) -> None:
        self._waits_no_more(pod_uid, now)
        self.snapshot.nominations.victims.discard(pod_uid)
        self.gangs.pod_left(pod_uid)
        placed = self.snapshot.remove(pod_uid)
        if placed is not None:
            self._note(Change.POD_REMOVED, placed.node)
            self._note_resident(placed.resident)
            self._release(pod_uid)

    def _release(self, pod_uid: str) -> None:
        """A pod uses its claims no more, and nothing is to be done about them for it."""
        self.snapshot.storage.forget(pod_uid)
        if self.snapshot.storage.release(pod_uid):
            self._storage_changed = True

    def _pod_assigned(self, pod: Object) -> None:
        before = self.snapshot.placed(uid(pod))
        usage, resident = self._usage(pod), self._resident(pod)
        if before is None or (before.node, before.resident) != (node_name(pod), resident):
            self._note_resident(resident)
            if before is not None:
                self._note_resident(before.resident)
        self.snapshot.place(uid(pod), node_name(pod), usage, resident, pod=pod)
        if (key := gang_of(pod)) is not None:
            if deletion_requested(pod):
                self.gangs.pod_left(uid(pod))
            else:
                self.gangs.pod_placed(uid(pod), key)
        if "volumes" in pod["spec"] and (claims := wanted_claims(pod)):
            self.snapshot.storage.use(uid(pod), claims)
        if before is not None and (before.node, before.usage) != (node_name(pod), usage):
            self._note(Change.POD_REMOVED, before.node)

    def _pod_waits(self, profile: Profile, pod: Object, now: float) -> None:
        if deletion_requested(pod):
            self._waits_no_more(uid(pod), now)
            self.gangs.pod_left(uid(pod))
            return
        placed = self.snapshot.placed(uid(pod))
        known = self.queue.get(uid(pod))
        before = known.pod if known is not None else None
        if placed is not None and known is None:
            return  # bound by us, but this version of the pod is from before that
        pod_class = profile.describe(pod, self.snapshot)
        if known is not None:
            self.queue.update(pod, pod_class, now, described=self.snapshot.circumstances)
        else:
            known = self.queue.add(pod, pod_class, now, described=self.snapshot.circumstances)
        if placed is None:
            self._nominating.told(before, known, self._resident)
            self._count_in_gang(known)

    def _note(self, change: Change, node: str) -> None:
        """Something on a node has changed: before the next placement it is asked which pods that may help."""
        row = self.snapshot.row(node)
        if row is not None and change:
            self._news.rows[row] = self._news.rows.get(row, NOTHING) | change

    def _note_resident(self, resident: Resident) -> None:
        """A pod has come to a node, or left it: the same for those that wait because of where others are."""
        if self._others_matter:
            self._news.residents.add(resident)

    def diagnosis(self, queued: QueuedPod, *, makes_room: bool = False) -> Diagnosis:
        """Why this pod fits nowhere, and what can be done about it if it `makes_room`.

        Worked out once for all that fail alike in the same state.
        """
        snapshot = self.snapshot
        position = *snapshot.position, snapshot.storage.version, snapshot.standings.position
        policy = queued.pod["spec"].get("preemptionPolicy") or "" if makes_room else None
        own = queued.uid if snapshot.nominations.get(queued.uid) is not None else ""
        alike = queued.pod_class, priority(queued.pod), policy, own
        known = self._diagnoses.get(alike)
        if known is not None and known[0] == position:
            return known[1]
        # What is known of other states is of no use any more.
        self._diagnoses = {c: k for c, k in self._diagnoses.items() if k[0] == position}
        profile = self.profile_of(queued.pod_class)
        applicant = _applicant(queued)
        verdicts = self._verdicts.of(profile, queued.pod_class, applicant)
        diagnosis = diagnose(profile, queued.pod_class, snapshot, applicant, verdicts)
        remedy = self._remedy(profile, queued, diagnosis) if makes_room else None
        if remedy is not None:
            message = f"{diagnosis.message} {remedy.message}".rstrip()
            diagnosis = replace(diagnosis, message=message, remedy=remedy)
        if remedy is None or not remedy.victims:
            self._diagnoses[alike] = position, diagnosis
        return diagnosis

    def _remedy(self, profile: Profile, queued: QueuedPod, diagnosis: Diagnosis) -> Remedy | None:
        """What can be done for a pod that fits nowhere; None if nobody has anything to say about that."""
        if diagnosis.helpable is None:
            return None
        attempt = Attempt(
            profile,
            queued.pod_class,
            queued.pod,
            _applicant(queued),
            self.snapshot,
            diagnosis.helpable,
            self._memory,
        )
        found = None
        for plugin, _ in profile.plugins:
            if plugin.post_filter is not None:
                found = plugin.post_filter(attempt)
                if found.victims:
                    break
        return found

    def profile_of(self, pod_class: PodClass) -> Profile:
        return self._profiles[pod_class.scheduler_name]

    def _usage(self, pod: Object) -> Usage:
        signature = orjson.dumps(usage_fields(pod))
        known = self._usages.get(signature)
        if known is None:
            known = self._usages[signature] = usage_of(pod)
            if len(self._usages) > USAGES_REMEMBERED:
                self._usages.popitem(last=False)
        return known

    def _resident(self, pod: Object) -> Resident:
        """The pod as others ask for it; one object for all pods that are the same in that."""
        own, terminating = labels(pod), deletion_requested(pod)
        signature = orjson.dumps((namespace(pod), own, terminating, pod["spec"].get("affinity")))
        known = self._residents.get(signature)
        if known is None:
            known = self._residents[signature] = Resident(
                namespace(pod), resident_labels(own), terminating, terms_of(pod)
            )
            if len(self._residents) > RESIDENTS_REMEMBERED:
                self._residents.popitem(last=False)
        return known


def scheduler_of(pod: Object) -> str:
    """The name of the scheduler that a pod waits for."""
    return pod["spec"].get("schedulerName") or DEFAULT_SCHEDULER_NAME


def _applicant(queued: QueuedPod) -> Applicant:
    return Applicant(priority(queued.pod), queued.uid)
