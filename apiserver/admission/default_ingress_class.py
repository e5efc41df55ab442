"""DefaultIngressClass: an ingress that names no class is of the cluster's default one.

Source: https://kubernetes.io/docs/concepts/services-networking/ingress/#default-ingress-class
"""

from __future__ import annotations

from apimachinery import meta
from apimachinery.meta import Object, name
from apimachinery.resources import INGRESSCLASSES, INGRESSES
from apiserver.admission.default_classes import newest
from apiserver.admission.plugin import CREATE, Attributes, Cluster, Plugin

IS_DEFAULT = "ingressclass.kubernetes.io/is-default-class"
OLD_ANNOTATION = "kubernetes.io/ingress.class"


def _is_default(ingress_class: Object) -> bool:
    return meta.annotations(ingress_class).get(IS_DEFAULT) == "true"


async def _set_class(attributes: Attributes, cluster: Cluster) -> None:
    ingress = attributes.obj
    assert ingress is not None
    spec = ingress.setdefault("spec", {})
    if spec.get("ingressClassName") is not None or OLD_ANNOTATION in meta.annotations(ingress):
        return
    default = newest(cluster.list(INGRESSCLASSES, ""), _is_default)
    if default is not None:
        spec["ingressClassName"] = name(default)


PLUGIN = Plugin("DefaultIngressClass", (CREATE,), mutate=_set_class, resources=(INGRESSES.key,))
