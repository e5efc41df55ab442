"""Approves the certificates that node agents ask for to be known by, where a right says that they may have them.

    nodeclient       a machine that joins asks for the certificate of its node
    selfnodeclient   a node asks for its own certificate anew

Who asks needs the right to `create` that subresource of certificate requests. All other requests wait for somebody.
Source: https://kubernetes.io/docs/reference/access-authn-authz/kubelet-tls-bootstrapping/#approval
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from apiclient.logs import kv
from apimachinery.certificate_requests import Signer, decided, problem, read
from apimachinery.meta import Object, get_path, name
from apimachinery.resources import CERTIFICATESIGNINGREQUESTS, SUBJECTACCESSREVIEWS
from apimachinery.time import rfc3339
from controllers.context import Context
from controllers.requests import unless_gone

logger = logging.getLogger(__name__)


def wanted_rights(request: Object) -> list[tuple[str, str]]:
    """(the right that would be enough, what is then said), for a request of a node agent; none for any other.

    Raises ValueError for a request that can't be read.
    """
    spec = request.get("spec") or {}
    if spec.get("signerName") != Signer.KUBELET_CLIENT:
        return []
    asked = read(request)
    if problem(Signer.KUBELET_CLIENT, asked, spec.get("usages") or ()):
        return []
    found = [("nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.")]
    if asked.common_name == spec.get("username"):
        told = "Auto approving self kubelet client certificate after SubjectAccessReview."
        found.insert(0, ("selfnodeclient", told))
    return found


class CertificateApproval:
    """One control loop over all CertificateSigningRequests."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        self._requests = context.informers.of(CERTIFICATESIGNINGREQUESTS)
        self.informers = (self._requests,)
        self.queue = context.queue()
        self._requests.add_handler(self._request_changed)

    def _request_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None and not decided(new):
            self.queue.add(name(new))

    async def reconcile(self, key: str) -> None:
        """Approve a request if a right says so."""
        request = self._requests.get(key)
        if request is None or decided(request) or get_path(request, "status", "certificate"):
            return
        try:
            # In a thread: the first request has a large library imported.
            rights = await asyncio.to_thread(wanted_rights, request)
        except ValueError as error:
            logger.warning(kv("certificate request not understood", request=key, error=error))
            return
        for subresource, told in rights:
            if await self._may(request["spec"], subresource):
                await self._approve(request, told)
                return

    async def _may(self, spec: dict[str, Any], subresource: str) -> bool:
        about = {"group": CERTIFICATESIGNINGREQUESTS.group, "resource": CERTIFICATESIGNINGREQUESTS.plural}
        who = {"user": spec.get("username"), "uid": spec.get("uid"), "groups": spec.get("groups")}
        review = {
            "apiVersion": SUBJECTACCESSREVIEWS.api_version,
            "kind": SUBJECTACCESSREVIEWS.kind,
            "spec": {
                **{key: value for key, value in {**who, "extra": spec.get("extra")}.items() if value},
                "resourceAttributes": {**about, "verb": "create", "version": "*", "subresource": subresource},
            },
        }
        answer = await self._client.create(SUBJECTACCESSREVIEWS, review)
        return bool(get_path(answer, "status", "allowed"))

    async def _approve(self, request: Object, told: str) -> None:
        now = rfc3339(self._clock.now())
        condition = {"type": "Approved", "status": "True", "reason": "AutoApproved", "message": told}
        times = {"lastUpdateTime": now, "lastTransitionTime": now}
        conditions = [*get_path(request, "status", "conditions", default=[]), {**condition, **times}]
        approved = {**request, "status": {**(request.get("status") or {}), "conditions": conditions}}
        await unless_gone(self._client.update(CERTIFICATESIGNINGREQUESTS, approved, subresource="approval"))
        logger.info(kv("certificate request approved", request=name(request), user=request["spec"].get("username")))
