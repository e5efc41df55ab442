"""CertificateRequests: a certificate request says who asks, and since when something was decided of it.

Kubernetes does this where it stores requests, which here knows neither users nor the time.
Source: kubernetes/pkg/registry/certificates/certificates/strategy.go
"""

from __future__ import annotations

from collections.abc import Callable

from apimachinery.resources import CERTIFICATESIGNINGREQUESTS
from apimachinery.time import rfc3339
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin


def plugin(now: Callable[[], float]) -> Plugin:
    """The plugin."""

    async def complete(attributes: Attributes, cluster: Cluster) -> None:
        # Few requests come, and their rules need those of much else.
        from apiserver.registry.certificatesigningrequests import stamp_conditions, with_requestor

        request, user = attributes.obj, attributes.user
        assert request is not None
        if attributes.operation == CREATE:
            with_requestor(request, user.name, user.uid, user.groups, dict(user.extra))
        elif attributes.subresource and attributes.old is not None:
            stamp_conditions(request, attributes.old, rfc3339(now()))

    return Plugin(
        "CertificateRequests",
        (CREATE, UPDATE),
        mutate=complete,
        resources=(CERTIFICATESIGNINGREQUESTS.key,),
        subresources=("approval", "status"),
    )
