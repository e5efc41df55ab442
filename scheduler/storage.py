"""What the scheduler knows of storage: claims, volumes and classes, and what it has decided about them.

It is ahead of the API server by the decisions that are on their way: the volume that a claim is to get, or the node
on which one is to be made for it. Other pods are placed as if these had been carried out; a decision that comes to
nothing is forgotten. Pure: events go in, answers come out.

Source: https://kubernetes.io/docs/concepts/storage/storage-classes/#volume-binding-mode and
kubernetes/pkg/scheduler/framework/plugins/volumebinding
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from apimachinery import meta
from apimachinery.meta import Object, deletion_requested, get_path, name, namespace, namespaced_key, uid
from apimachinery.persistent_volumes import (
    NO_PROVISIONER,
    SELECTED_NODE,
    claim_key,
    claim_name,
    claim_reference,
    class_of,
    is_bound_to,
    is_for_pod,
    is_fully_bound,
    not_for_pod,
    requested,
    smallest_match,
    waits_for_consumer,
)

BIND_TIMEOUT_SECONDS = 600.0
UNBOUND_IMMEDIATE = "pod has unbound immediate PersistentVolumeClaims"


class Wanted(NamedTuple):
    """A claim that a pod uses; `owner` is the uid of the pod `pod` that it has to be made for, if it has to."""

    namespace: str
    claim: str
    pod: str = ""
    owner: str = ""

    @property
    def key(self) -> str:
        """The claim's key."""
        return f"{self.namespace}/{self.claim}"


Claims = tuple[Wanted, ...]


def wanted_claims(pod: Object) -> Claims:
    """The claims that a pod uses."""
    return tuple(
        Wanted(namespace(pod), claim, *((name(pod), uid(pod)) if volume.get("ephemeral") is not None else ()))
        for volume in pod["spec"].get("volumes") or ()
        if (claim := claim_name(pod, volume))
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of a pod's claims on a node: (claim, volume) to be bound, and claims to make volumes for.

    All that may take no longer than `timeout_seconds`.
    """

    node: str
    bindings: tuple[tuple[str, str], ...] = ()
    provisions: tuple[str, ...] = ()
    timeout_seconds: float = BIND_TIMEOUT_SECONDS

    @property
    def claims(self) -> list[str]:
        """The keys of all claims that have to be bound before the pod can be."""
        return [*(claim for claim, _ in self.bindings), *self.provisions]


class Storage:
    """Claims by key, volumes and classes by name; who uses which claim; and the decisions that are on their way.

    `version` grows with every change.
    """

    def __init__(self) -> None:
        self.version = 0
        self._claims: dict[str, Object] = {}
        self._volumes: dict[str, Object] = {}
        # The names of the volumes of each claim; those of "" are nobody's.
        self._volumes_of: dict[str, set[str]] = {}
        self._classes: dict[str, Object] = {}
        self._decisions: dict[str, Decision] = {}
        self._users: dict[str, set[str]] = {}
        self._used: dict[str, Claims] = {}

    # Events.

    def claim_changed(self, old: Object | None, new: Object | None) -> None:
        """A claim is new, has changed or is gone."""
        self._take(self._claims, old, new)

    def volume_changed(self, old: Object | None, new: Object | None) -> None:
        """A volume is new, has changed or is gone."""
        volume = new or old
        assert volume is not None, "something has changed"
        if (known := self._volumes.get(name(volume))) is not None:
            names = self._volumes_of[claim_key(known)]
            names.discard(name(volume))
            if not names:
                del self._volumes_of[claim_key(known)]
        if new is not None:
            self._volumes_of.setdefault(claim_key(new), set()).add(name(new))
        self._take(self._volumes, old, new)

    def class_changed(self, old: Object | None, new: Object | None) -> None:
        """A class is new, has changed or is gone."""
        self._take(self._classes, old, new)

    def _take(self, known: dict[str, Object], old: Object | None, new: Object | None) -> None:
        obj = new or old
        assert obj is not None
        if new is None:
            known.pop(namespaced_key(obj), None)
        else:
            known[namespaced_key(obj)] = new
        self.version += 1

    def use(self, pod_uid: str, claims: Claims) -> None:
        """A pod that uses claims has been placed."""
        self._used[pod_uid] = claims
        for wanted in claims:
            self._users.setdefault(wanted.key, set()).add(pod_uid)
        self.version += 1

    def release(self, pod_uid: str) -> bool:
        """A pod is gone, or has not been placed after all; tells whether it used any claim."""
        claims = self._used.get(pod_uid, ())
        self.suppose(pod_uid, uses=False)
        self._used.pop(pod_uid, None)
        self.version += bool(claims)
        return bool(claims)

    def suppose(self, pod_uid: str, *, uses: bool) -> None:
        """Have a placed pod use its claims, or not, for a while."""
        for wanted in self._used.get(pod_uid, ()):
            users = self._users.setdefault(wanted.key, set())
            if uses:
                users.add(pod_uid)
            else:
                users.discard(pod_uid)
            if not users:
                del self._users[wanted.key]

    def assume(self, pod_uid: str, decision: Decision) -> None:
        """Go by a decision from now on."""
        self._decisions[pod_uid] = decision
        self.version += 1

    def forget(self, pod_uid: str) -> None:
        """A decision has been carried out (the objects say so themselves), or has come to nothing."""
        if self._decisions.pop(pod_uid, None) is not None:
            self.version += 1

    # Questions.

    def claim(self, key: str) -> Object | None:
        """A claim as the API server has it."""
        return self._claims.get(key)

    def volume(self, called: str) -> Object | None:
        """A volume as the API server has it."""
        return self._volumes.get(called)

    def used_by_others(self, key: str) -> bool:
        """Whether a pod that has been placed uses a claim."""
        return key in self._users

    def objection(self, claims: Claims) -> str:
        """Why a pod with these claims can't be placed anywhere as they are; "" if they are all right."""
        immediate = ""
        for wanted in claims:
            claim = self._claims.get(wanted.key)
            if claim is None:
                missing = f'persistentvolumeclaim "{wanted.claim}"'
                if wanted.owner:
                    return f"waiting for ephemeral volume controller to create the {missing}"
                return f"{missing} not found"
            if get_path(claim, "status", "phase") == "Lost":
                volume = get_path(claim, "spec", "volumeName", default="")
                return f'persistentvolumeclaim "{wanted.claim}" bound to non-existent persistentvolume "{volume}"'
            if deletion_requested(claim):
                return f'persistentvolumeclaim "{wanted.claim}" is being deleted'
            if wanted.owner:
                pod = {"metadata": {"name": wanted.pod, "namespace": wanted.namespace, "uid": wanted.owner}}
                if not is_for_pod(claim, pod):
                    return not_for_pod(claim, pod)
            if not is_fully_bound(claim) and not self._waits(claim):
                immediate = UNBOUND_IMMEDIATE
        return immediate

    def _waits(self, claim: Object) -> bool:
        """Whether it is for us to say what a claim gets; one that asks for a volume by name is bound by itself."""
        return waits_for_consumer(self._classes.get(class_of(claim))) and not get_path(claim, "spec", "volumeName")

    def split(self, claims: Claims) -> tuple[list[Object], list[Object]]:
        """Those of the claims that are bound, and those that are not."""
        known = [claim for wanted in claims if (claim := self._claims.get(wanted.key)) is not None]
        return [one for one in known if is_fully_bound(one)], [one for one in known if not is_fully_bound(one)]

    def selected_node(self, claim: Object) -> str:
        """The node on which a volume is being made for a claim."""
        key = namespaced_key(claim)
        decided = (decision.node for decision in self._decisions.values() if key in decision.provisions)
        return next(decided, meta.annotations(claim).get(SELECTED_NODE, ""))

    def candidates(self, claim: Object) -> list[Object]:
        """The volumes that a claim might get on some node."""
        spoken_for = {volume: key for decision in self._decisions.values() for key, volume in decision.bindings}
        found = []
        for called in sorted(self._volumes_of.get(namespaced_key(claim), set()) | self._volumes_of.get("", set())):
            volume, whose = self._volumes[called], spoken_for.get(called)
            if whose == namespaced_key(claim):
                found.append({**volume, "spec": {**volume["spec"], "claimRef": claim_reference(claim)}})
            elif whose is None and self._may_get(claim, volume):
                found.append(volume)
        return found

    def _may_get(self, claim: Object, volume: Object) -> bool:
        if get_path(volume, "spec", "claimRef") is not None:
            return is_bound_to(volume, claim)
        return class_of(volume) == class_of(claim)

    def topologies(self, claim: Object) -> Sequence[Object] | None:
        """Where a volume can be made for a claim: terms of which a node must meet one; () anywhere, None nowhere."""
        storage_class = self._classes.get(class_of(claim))
        provisioner = (storage_class or {}).get("provisioner") or NO_PROVISIONER
        if storage_class is None or provisioner == NO_PROVISIONER:
            return None
        return storage_class.get("allowedTopologies") or ()


class Options(NamedTuple):
    """What there is for a claim that is not bound; the same for all nodes."""

    claim: Object
    selected_node: str
    candidates: list[Object]
    topologies: Sequence[Object] | None

    @property
    def same_everywhere(self) -> bool:
        """Whether no node is better than another."""
        return not (self.selected_node or self.candidates or self.topologies)


def options_for(storage: Storage, claims: Iterable[Object]) -> list[Options]:
    """The options of these claims, of the smallest first: it leaves the most to the others."""
    return [
        Options(one, storage.selected_node(one), storage.candidates(one), storage.topologies(one))
        for one in sorted(claims, key=requested)
    ]


def decide(options: Iterable[Options], node: str, labels: Mapping[str, str]) -> Decision | None:
    """What these claims get on a node; None if one of them gets nothing there."""
    bindings: list[tuple[str, str]] = []
    provisions: list[str] = []
    for claim, selected, candidates, topologies in options:
        key = namespaced_key(claim)
        if selected:
            if selected != node:
                return None
            provisions.append(key)
            continue
        taken = [volume for _, volume in bindings]
        match = smallest_match(claim, candidates, node_labels=labels, but=taken, delay_binding=True)
        if match is not None:
            bindings.append((key, name(match)))
        elif topologies is not None and is_within(topologies, labels):
            provisions.append(key)
        else:
            return None
    return Decision(node, tuple(bindings), tuple(provisions))


def is_within(topologies: Sequence[Object], labels: Mapping[str, str]) -> bool:
    """Whether a node with these labels meets one of the terms, or there are none."""
    if not topologies:
        return True
    return any(
        all(labels.get(entry["key"]) in entry["values"] for entry in term.get("matchLabelExpressions") or ())
        for term in topologies
    )
