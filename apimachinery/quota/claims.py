"""What PersistentVolumeClaims use: themselves and their storage, in all and of each StorageClass.

Source: kubernetes/pkg/quota/v1/evaluator/core/persistent_volume_claims.go
"""

from __future__ import annotations

from apimachinery.meta import Object, get_path
from apimachinery.pod_resources import Amounts, amounts
from apimachinery.quantity import NANO, Quantity
from apimachinery.quota.scopes import Requirement, matches

COUNT, CLAIMS, STORAGE = "count/persistentvolumeclaims", "persistentvolumeclaims", "requests.storage"
_OF_CLASS = ".storageclass.storage.k8s.io/"
_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


def concerns(name: str) -> bool:
    """Whether claims are measured by a limit."""
    return name in (COUNT, CLAIMS, STORAGE) or name.endswith((f"{_OF_CLASS}{CLAIMS}", f"{_OF_CLASS}{STORAGE}"))


def usage(claim: Object, now: float) -> Amounts:
    """What a claim uses."""
    one = Quantity(NANO)
    found: Amounts = {COUNT: one, CLAIMS: one}
    storage = _storage(claim)
    if storage is not None:
        found[STORAGE] = storage
    if of_class := _class(claim):
        found[f"{of_class}{_OF_CLASS}{CLAIMS}"] = one
        if storage is not None:
            found[f"{of_class}{_OF_CLASS}{STORAGE}"] = storage
    return found


def _storage(claim: Object) -> Quantity | None:
    """In whole bytes: what is asked for, or what a resize has come to if that is more."""
    asked = amounts(get_path(claim, "spec", "resources", "requests")).get("storage")
    if asked is None:
        return None
    allocated = amounts(get_path(claim, "status", "allocatedResources")).get("storage", asked)
    larger = allocated if asked < allocated else asked
    return Quantity(larger.value() * NANO, larger.family)


def _class(claim: Object) -> str:
    annotated: str | None = (claim["metadata"].get("annotations") or {}).get(_CLASS_ANNOTATION)
    return annotated if annotated is not None else get_path(claim, "spec", "storageClassName", default="")


def in_scope(requirement: Requirement, claim: Object) -> bool:
    """Whether a claim is in a scope: the VolumeAttributesClasses that it has, is about to have or wants."""
    if requirement.get("scopeName") != "VolumeAttributesClass":
        return False
    names = attributes_classes(claim)
    return any(matches(requirement, name) for name in names or ("",))


def attributes_classes(claim: Object) -> set[str]:
    """All VolumeAttributesClasses that a claim has to do with."""
    status = claim.get("status") or {}
    named = (
        get_path(claim, "spec", "volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return {name for name in named if name}
