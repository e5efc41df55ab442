"""What is to be written so that claims and volumes find each other: pure.

A binding is four writes, in this order: the volume names the claim, its status says Bound, the claim names the
volume, its status says Bound. It may break off after each of them; whoever looks next at either of the two goes on.
So that no two claims ever have one volume, the volume's word counts.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#lifecycle-of-a-volume-and-claim and
kubernetes/pkg/controller/volume/persistentvolume
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from apimachinery import meta
from apimachinery.meta import Object, get_path, name, namespaced_key, uid
from apimachinery.persistent_volumes import (
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    OLD_CLASS_ANNOTATION,
    OLD_STORAGE_PROVISIONER,
    PROVISIONED_BY,
    SELECTED_NODE,
    STORAGE_PROVISIONER,
    best_match,
    claim_key,
    claim_reference,
    claim_uid,
    class_of,
    is_bound_to,
    mode,
    size,
    waits_for_consumer,
    why_unsatisfied,
)
from apimachinery.quantity import parse

NORMAL, WARNING = "Normal", "Warning"
NO_VOLUME = "no persistent volumes available for this claim and no storage class is set"
WAITS = "waiting for first consumer to be created before binding"
LOST_REFERENCE = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
LOST_VOLUME = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
MISBOUND = "Two claims are bound to the same volume, this one is bound incorrectly"
NO_RECYCLER = "No recycler plugin found for the volume!"
_BUILT_IN_PREFIX = "kubernetes.io/"


class Told(NamedTuple):
    """An event about one of the objects."""

    about: Object
    type: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Change:
    """Merge patches of an object and of its status; an empty one changes nothing."""

    obj: Object
    fields: Object = field(default_factory=dict)
    status: Object = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to write, the volume first, and what to tell. `error` says what must not be."""

    volume: Change | None = None
    claim: Change | None = None
    told: tuple[Told, ...] = ()
    error: str = ""


ClassNamed = Callable[[str], Object | None]


def plan_claim(
    claim: Object,
    volumes: Sequence[Object],
    class_named: ClassNamed,
    default_class: str = "",
    waiting_pods: Sequence[str] = (),
) -> Plan:
    """The next step for a claim. `waiting_pods` are the names of the pods that use it and have no node yet."""
    by_name = {name(volume): volume for volume in volumes}
    wanted = get_path(claim, "spec", "volumeName", default="")
    if BIND_COMPLETED in meta.annotations(claim):
        return _plan_bound(claim, wanted, by_name.get(wanted))
    if wanted:
        return _plan_named(claim, by_name.get(wanted))
    storage_class = class_named(class_of(claim)) if class_of(claim) else None
    delayed = waits_for_consumer(storage_class)
    volume = best_match(claim, volumes, delay_binding=delayed)
    if volume is not None:
        return bind(volume, claim)
    if default_class and _has_no_class(claim):
        return Plan(claim=Change(claim, {"spec": {"storageClassName": default_class}}))
    if delayed and SELECTED_NODE not in meta.annotations(claim):
        return _pending(claim, Told(claim, NORMAL, *_waits(waiting_pods)))
    if class_of(claim):
        return _plan_provisioning(claim, storage_class)
    return _pending(claim, Told(claim, NORMAL, "FailedBinding", NO_VOLUME))


def _has_no_class(claim: Object) -> bool:
    """Whether a claim leaves its class open, as it can't once it has said that it wants none ("")."""
    unset = get_path(claim, "spec", "storageClassName") is None
    return unset and OLD_CLASS_ANNOTATION not in meta.annotations(claim)


def _waits(pods: Sequence[str]) -> tuple[str, str]:
    if not pods:
        return "WaitForFirstConsumer", WAITS
    return "WaitForPodScheduled", f"waiting for pod{'s' if len(pods) > 1 else ''} {','.join(pods)} to be scheduled"


def _plan_named(claim: Object, volume: Object | None) -> Plan:
    """For a claim that asks for a volume by name."""
    if volume is None:
        return _pending(claim)
    if get_path(volume, "spec", "claimRef") is None:
        if why := why_unsatisfied(claim, volume):
            message = f'Cannot bind to requested volume "{name(volume)}": {why}'
            return _pending(claim, Told(claim, WARNING, "VolumeMismatch", message))
        return bind(volume, claim)
    if is_bound_to(volume, claim):
        return bind(volume, claim)
    if BOUND_BY_CONTROLLER not in meta.annotations(claim):
        message = f'volume "{name(volume)}" already bound to a different claim.'
        return _pending(claim, Told(claim, WARNING, "FailedBinding", message))
    which = f'invalid binding of claim "{namespaced_key(claim)}" to volume "{name(volume)}"'
    return Plan(error=f'{which}: volume already claimed by "{claim_key(volume)}"')


def _plan_bound(claim: Object, wanted: str, volume: Object | None) -> Plan:
    """For a claim that has once been bound."""
    if not wanted:
        return _lost(claim, "ClaimLost", LOST_REFERENCE)
    if volume is None:
        return _lost(claim, "ClaimLost", LOST_VOLUME)
    if get_path(volume, "spec", "claimRef") is None or claim_uid(volume) == uid(claim):
        return bind(volume, claim)
    return _lost(claim, "ClaimMisbound", MISBOUND)


def _plan_provisioning(claim: Object, storage_class: Object | None) -> Plan:
    """Ask the provisioner of the class, by an annotation, to make a volume."""
    if storage_class is None:
        message = f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
        return _pending(claim, Told(claim, WARNING, "ProvisioningFailed", message))
    provisioner: str = storage_class["provisioner"]
    if provisioner.startswith(_BUILT_IN_PREFIX):
        # None of those that were once built into Kubernetes is any more, and `no-provisioner` never was one.
        message = f"no volume plugin matched name: {provisioner}"
        return _pending(claim, Told(claim, WARNING, "ProvisioningFailed", message))
    asked = {STORAGE_PROVISIONER: provisioner, OLD_STORAGE_PROVISIONER: provisioner}
    fields = {"metadata": {"annotations": asked}} if _differs(meta.annotations(claim), asked) else {}
    message = (
        f"Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the "
        "system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    told = (Told(claim, NORMAL, "ExternalProvisioning", message),)
    return Plan(claim=Change(claim, fields, _claim_status(claim, "Pending", None)), told=told)


def _differs(known: Object, wanted: Object) -> bool:
    return any(known.get(key) != value for key, value in wanted.items())


def _pending(claim: Object, *told: Told) -> Plan:
    return Plan(claim=Change(claim, status=_claim_status(claim, "Pending", None)), told=told)


def _lost(claim: Object, reason: str, message: str) -> Plan:
    """Told once: nothing brings the claim back."""
    is_news = get_path(claim, "status", "phase") != "Lost"
    told = (Told(claim, WARNING, reason, message),) if is_news else ()
    return Plan(claim=Change(claim, status=_claim_status(claim, "Lost", None)), told=told)


def bind(volume: Object, claim: Object) -> Plan:
    """Bind the two to each other, as far as they are not yet."""
    return Plan(volume=_bind_volume(volume, claim), claim=_bind_claim(claim, volume))


def _bind_volume(volume: Object, claim: Object) -> Change:
    fields: Object = {}
    if not is_bound_to(volume, claim) and BOUND_BY_CONTROLLER not in meta.annotations(volume):
        fields["metadata"] = {"annotations": {BOUND_BY_CONTROLLER: "yes"}}
    if not is_bound_to(volume, claim) or claim_uid(volume) != uid(claim):
        fields["spec"] = {"claimRef": claim_reference(claim)}
    return Change(volume, fields, _phase(volume, "Bound"))


def _bind_claim(claim: Object, volume: Object) -> Change:
    fields: Object = {}
    marks = {}
    if get_path(claim, "spec", "volumeName") != name(volume):
        fields["spec"] = {"volumeName": name(volume)}
        marks[BOUND_BY_CONTROLLER] = "yes"
    marks[BIND_COMPLETED] = "yes"
    missing = {key: value for key, value in marks.items() if key not in meta.annotations(claim)}
    if missing:
        fields["metadata"] = {"annotations": missing}
    return Change(claim, fields, _claim_status(claim, "Bound", volume))


def _claim_status(claim: Object, phase: str, volume: Object | None) -> Object:
    """The patch of a claim's status, empty if it says all that already."""
    known = claim.get("status") or {}
    wanted: Object = {"phase": phase, "accessModes": None, "capacity": None}
    if volume is not None:
        wanted["accessModes"] = get_path(volume, "spec", "accessModes")
        wanted["capacity"] = known.get("capacity")
        # What a bound claim says of its size may differ from its volume's on purpose, while that is made larger.
        if known.get("phase") != phase and _capacity(known) != size(volume):
            wanted["capacity"] = get_path(volume, "spec", "capacity")
        if attributes := get_path(volume, "spec", "volumeAttributesClassName"):
            wanted["currentVolumeAttributesClassName"] = attributes
    return {key: value for key, value in wanted.items() if (known.get(key) or None) != value}


def _capacity(status: Object) -> int | None:
    known = get_path(status, "capacity", "storage")
    return None if known is None else parse(known).nanos


def _phase(volume: Object, phase: str, message: str = "") -> Object:
    known = volume.get("status") or {}
    if known.get("phase") == phase and (known.get("message") or "") == message:
        return {}
    return {"phase": phase, "message": message or None, "reason": None}


def plan_volume(volume: Object, claim: Object | None) -> Plan:
    """The next step for a volume; `claim` is who now has the name of the claim that it is bound to."""
    if get_path(volume, "spec", "claimRef") is None or not claim_uid(volume):
        return _volume_in(volume, "Available")
    if claim is None or uid(claim) != claim_uid(volume):
        return _plan_released(volume)
    bound_to = get_path(claim, "spec", "volumeName", default="")
    if not bound_to:
        if mode(claim) == mode(volume):
            return Plan()  # the claim's next step completes the binding
        return Plan(told=_mode_mismatch(volume, claim))
    if bound_to == name(volume):
        return _volume_in(volume, "Bound")
    if PROVISIONED_BY in meta.annotations(volume) and _policy(volume) == "Delete":
        # Made for a claim that has found another one meanwhile.
        return _plan_released(volume)
    return Plan(volume=_unbind(volume))


def _mode_mismatch(volume: Object, claim: Object) -> tuple[Told, ...]:
    end = "due to incompatible volumeMode."
    of_volume = f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{name(claim)}" {end}'
    of_claim = f'Cannot bind PersistentVolume "{name(volume)}" to requested PersistentVolumeClaim {end}'
    return (
        Told(volume, WARNING, "VolumeMismatch", of_volume),
        Told(claim, WARNING, "VolumeMismatch", of_claim),
    )


def _volume_in(volume: Object, phase: str) -> Plan:
    return Plan(volume=Change(volume, status=_phase(volume, phase)))


def _policy(volume: Object) -> str:
    found: str = get_path(volume, "spec", "persistentVolumeReclaimPolicy", default="Retain")
    return found


def _plan_released(volume: Object) -> Plan:
    """Its claim is gone. A volume that somebody has provisioned is deleted by them, once it is Released."""
    if get_path(volume, "status", "phase") not in ("Released", "Failed"):
        return _volume_in(volume, "Released")
    policy = _policy(volume)
    if policy == "Recycle":
        return _failed(volume, "VolumeFailedRecycle", NO_RECYCLER)
    if policy == "Delete" and PROVISIONED_BY not in meta.annotations(volume):
        why = "no deletable volume plugin matched"
        message = f'error getting deleter volume plugin for volume "{name(volume)}": {why}'
        return _failed(volume, "VolumeFailedDelete", message)
    return Plan()


def _failed(volume: Object, reason: str, message: str) -> Plan:
    status = _phase(volume, "Failed", message)
    told = (Told(volume, WARNING, reason, message),) if status else ()
    return Plan(volume=Change(volume, status=status), told=told)


def _unbind(volume: Object) -> Change:
    """Take back what we have written; what users have written keeps the volume for a claim of that name."""
    status = _phase(volume, "Available")
    if BOUND_BY_CONTROLLER in meta.annotations(volume):
        fields = {"metadata": {"annotations": {BOUND_BY_CONTROLLER: None}}, "spec": {"claimRef": None}}
        return Change(volume, fields, status)
    return Change(volume, {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}, status)
