"""The claims of a StatefulSet's pods, and who takes them along when it goes.

Claims stay when pods go, unless the set's retention policy says otherwise: then they are owned by what they go
with, and the garbage collector does the rest. A claim that is to go with the set is owned by the set; one that is to
go with a pod by that pod, but only once there is to be no pod of its ordinal any more. All functions are pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#persistentvolumeclaim-retention
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from apimachinery.meta import Object, deletion_requested, get_path, name, namespace, owner_reference, uid
from controllers.stateful_set_identity import KIND, claim_name, claim_templates, in_range, ordinal

Reference = dict[str, object]
POD_KIND = {"apiVersion": "v1", "kind": "Pod"}


@dataclass(frozen=True, slots=True)
class ClaimPlan:
    """What a pod's claims need: those to create, owner references to write, and what is wrong with others."""

    create: tuple[Object, ...] = ()
    references: tuple[tuple[Object, list[Reference]], ...] = ()
    # Names of claims that are going, so that no pod can be given them.
    leaving: tuple[str, ...] = ()
    # Names of claims that another controller has, so that the retention policy does not hold for them.
    conflicting: tuple[str, ...] = ()


NOTHING = ClaimPlan()


def plan_claims_of(stateful_set: Object, pod: Object, known: Mapping[str, Object]) -> ClaimPlan:
    """What the claims of this pod need; `known` are the claims of the namespace by name."""
    create: list[Object] = []
    references: list[tuple[Object, list[Reference]]] = []
    leaving, conflicting = [], []
    for template in claim_templates(stateful_set):
        wanted = claim_name(stateful_set, template, ordinal(pod))
        claim = known.get(wanted)
        if claim is None:
            create.append(new_claim(stateful_set, template, pod))
            continue
        if deletion_requested(claim):
            leaving.append(wanted)
        if has_other_controller(stateful_set, pod, claim):
            conflicting.append(wanted)
        owners = owners_of_claim(stateful_set, pod, claim)
        if owners is not None:
            references.append((claim, owners))
    return ClaimPlan(tuple(create), tuple(references), tuple(leaving), tuple(conflicting))


def new_claim(stateful_set: Object, template: Object, pod: Object) -> Object:
    """The claim that a pod has of a claim template: with the labels that the set selects by."""
    metadata = template["metadata"]
    selected = get_path(stateful_set, "spec", "selector", "matchLabels", default={})
    labels = {**(metadata.get("labels") or {}), **selected}
    claim: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            **{key: value for key, value in metadata.items() if value},
            "name": claim_name(stateful_set, template, ordinal(pod)),
            "namespace": namespace(stateful_set),
            "labels": labels,
        },
        "spec": template["spec"],
    }
    if owners := owners_of_claim(stateful_set, pod, claim):
        claim["metadata"]["ownerReferences"] = owners
    return claim


def goes_with(stateful_set: Object, event: str) -> bool:
    """True if claims are deleted `whenDeleted` or `whenScaled`."""
    policy = get_path(stateful_set, "spec", "persistentVolumeClaimRetentionPolicy", event, default="Retain")
    return bool(policy == "Delete")


def claim_is_stale(stateful_set: Object, pod: Object, known: Mapping[str, Object]) -> bool:
    """True if a claim is still to go with an earlier pod of this name: the next must not get it."""
    if not goes_with(stateful_set, "whenScaled"):
        return False
    names = (claim_name(stateful_set, template, ordinal(pod)) for template in claim_templates(stateful_set))
    return any(_is_another(known[one], pod, POD_KIND) for one in names if one in known)


def has_other_controller(stateful_set: Object, pod: Object, claim: Object) -> bool:
    """True if the claim is controlled by neither this set nor this pod, though the policy has it go with these."""
    if not goes_with(stateful_set, "whenScaled") and not goes_with(stateful_set, "whenDeleted"):
        return False
    for reference in _references(claim):
        ours = [owner for owner, kind in ((stateful_set, KIND), (pod, POD_KIND)) if _names(reference, owner, kind)]
        if ours:
            if reference["uid"] != uid(ours[0]):
                return True
        elif reference.get("controller"):
            return True
    return False


def owners_of_claim(stateful_set: Object, pod: Object, claim: Object) -> list[Reference] | None:
    """The owner references that the retention policy has the claim carry; None if nothing is to be written."""
    if _is_another(claim, stateful_set, KIND) or _is_another(claim, pod, POD_KIND):
        return None  # it goes with an earlier set or pod of this name, and is not ours to keep
    before = _references(claim)
    wanted = [one for one in before if not _names(one, stateful_set, KIND) and not _names(one, pod, POD_KIND)]
    if not has_other_controller(stateful_set, pod, claim):
        if goes_with(stateful_set, "whenScaled") and not in_range(stateful_set, ordinal(pod)):
            wanted.append(owner_reference({**pod, **POD_KIND}))
        elif goes_with(stateful_set, "whenDeleted"):
            wanted.append(owner_reference({**stateful_set, **KIND}))
    return None if _told(wanted) == _told(before) else wanted


def _told(references: list[Reference]) -> set[tuple[object, bool]]:
    return {(reference["uid"], bool(reference.get("controller"))) for reference in references}


def _references(claim: Object) -> list[Reference]:
    found: list[Reference] = claim["metadata"].get("ownerReferences") or []
    return found


def _is_another(claim: Object, owner: Object, kind: Mapping[str, str]) -> bool:
    """True if the claim is owned by something of that name which is not (or no longer) this owner."""
    first = next((one for one in _references(claim) if _names(one, owner, kind)), None)
    return first is not None and first["uid"] != uid(owner)


def _names(reference: Reference, owner: Object, kind: Mapping[str, str]) -> bool:
    wanted = (kind["apiVersion"], kind["kind"], name(owner))
    return (reference["apiVersion"], reference["kind"], reference["name"]) == wanted
