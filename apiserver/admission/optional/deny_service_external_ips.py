"""DenyServiceExternalIPs: no Service takes addresses that it has not had: whoever writes one could take anybody's.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#denyserviceexternalips
"""

from __future__ import annotations

from apimachinery.meta import get_path
from apimachinery.resources import SERVICES
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused
from apiserver.admission.served import Served
from apiserver.authorization import Authorizer


def plugin(authorizer: Authorizer, served: Served) -> Plugin:
    """The plugin."""
    return Plugin("DenyServiceExternalIPs", (CREATE, UPDATE), validate=_check, resources=(SERVICES.key,))


async def _check(attributes: Attributes, cluster: Cluster) -> None:
    new, had = (set(get_path(one, "spec", "externalIPs", default=())) for one in (attributes.obj, attributes.old))
    if new - had:
        raise refused(attributes, "Use of external IPs is denied by admission control")
