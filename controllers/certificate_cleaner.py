"""Removes certificate requests that nobody needs any more: some time after they were decided, or if nobody decides;
at the latest when the certificate has ended.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#request-signing-process
"""

from __future__ import annotations

from apimachinery.certificate_requests import certificate_end
from apimachinery.meta import Object, find_condition, get_path, name, uid
from apimachinery.resources import CERTIFICATESIGNINGREQUESTS
from apimachinery.time import parse_rfc3339
from controllers.context import Context
from controllers.requests import unless_gone

# How long a request is kept after it was signed, found wrong or denied; and how long one may wait.
DECIDED_SECONDS, PENDING_SECONDS = 3600.0, 86400.0


def removed_at(request: Object) -> float:
    """When a request is to go, in seconds since 1970."""
    decided = [
        parse_rfc3339(condition["lastUpdateTime"])
        for kind in ("Denied", "Failed", "Approved")
        if (condition := find_condition(request, kind)) is not None and condition.get("lastUpdateTime")
    ]
    created = parse_rfc3339(request["metadata"]["creationTimestamp"])
    waits_for_certificate = find_condition(request, "Approved") is not None and not (
        get_path(request, "status", "certificate") or find_condition(request, "Failed") is not None
    )
    if not decided or waits_for_certificate:
        return created + PENDING_SECONDS
    end = max(decided) + DECIDED_SECONDS
    expired = certificate_end(request)
    return end if expired is None else min(end, expired)


class CertificateCleaner:
    """One control loop over all CertificateSigningRequests."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._requests = context.informers.of(CERTIFICATESIGNINGREQUESTS)
        self.informers = (self._requests,)
        self.queue = context.queue()
        self._requests.add_handler(self._request_changed)

    def _request_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.queue.add(name(new))

    async def reconcile(self, key: str) -> None:
        """Remove a request whose time has come, or look at it again then."""
        request = self._requests.get(key)
        if request is None:
            return
        remaining = removed_at(request) - self._clock.now()
        if remaining > 0:
            self.queue.add_after(key, remaining)
            return
        await unless_gone(self._client.delete(CERTIFICATESIGNINGREQUESTS, key, uid=uid(request)))
