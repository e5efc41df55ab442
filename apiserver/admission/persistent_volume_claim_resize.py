"""PersistentVolumeClaimResize: a claim can ask for more only once it is bound, and if its class allows that.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#persistentvolumeclaimresize
"""

from __future__ import annotations

from apimachinery import meta
from apimachinery.meta import Object, get_path
from apimachinery.quantity import parse
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, STORAGECLASSES
from apiserver.admission.default_storage_class import OLD_ANNOTATION
from apiserver.admission.plugin import UPDATE, Attributes, Cluster, Plugin, refused


async def _check(attributes: Attributes, cluster: Cluster) -> None:
    claim, old = attributes.obj, attributes.old
    assert claim is not None and old is not None
    if _size(claim) <= _size(old):
        return
    if get_path(old, "status", "phase") != "Bound":
        raise refused(attributes, "Only bound persistent volume claims can be expanded")
    wanted = storage_class_of(claim)
    found = cluster.get(STORAGECLASSES, "", wanted) if wanted and wanted == storage_class_of(old) else None
    if found is None or not found.get("allowVolumeExpansion"):
        why = (
            "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must "
            "support resize"
        )
        raise refused(attributes, why)


def _size(claim: Object) -> int:
    return parse(get_path(claim, "spec", "resources", "requests", "storage", default="0")).nanos


def storage_class_of(claim: Object) -> str:
    """The class of a claim, also if it says it in the way of its first versions."""
    found: str = meta.annotations(claim).get(OLD_ANNOTATION) or get_path(
        claim, "spec", "storageClassName", default=""
    )
    return found


PLUGIN = Plugin("PersistentVolumeClaimResize", (UPDATE,), validate=_check, resources=(PERSISTENTVOLUMECLAIMS.key,))
