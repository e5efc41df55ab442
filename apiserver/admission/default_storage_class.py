"""DefaultStorageClass: a claim that names no class is of the cluster's default one.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#defaultstorageclass
"""

from __future__ import annotations

from apimachinery import meta
from apimachinery.meta import name
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, STORAGECLASSES
from apiserver.admission.default_classes import newest
from apiserver.admission.plugin import CREATE, Attributes, Cluster, Plugin
from apiserver.registry.storageclasses import is_default

OLD_ANNOTATION = "volume.beta.kubernetes.io/storage-class"


async def _set_class(attributes: Attributes, cluster: Cluster) -> None:
    claim = attributes.obj
    assert claim is not None
    spec = claim.setdefault("spec", {})
    # An empty name says that it is to be of no class.
    if spec.get("storageClassName") is not None or OLD_ANNOTATION in meta.annotations(claim):
        return
    default = newest(cluster.list(STORAGECLASSES, ""), is_default)
    if default is not None:
        spec["storageClassName"] = name(default)


PLUGIN = Plugin("DefaultStorageClass", (CREATE,), mutate=_set_class, resources=(PERSISTENTVOLUMECLAIMS.key,))
