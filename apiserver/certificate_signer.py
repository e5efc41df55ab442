"""Signs the certificates that somebody has approved, for Kubernetes' own three signers.

It runs in the API server, and not among the controllers: the authority's key never leaves the server's folder.
A request that no certificate may come of is marked `Failed` with the reason.

Sources: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/,
docs/decisions/0014-the-authority-signs-in-the-api-server.md
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apimachinery.certificate_requests import Signer, problem, read
from apimachinery.errors import internal
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.resources import CERTIFICATESIGNINGREQUESTS
from apimachinery.time import rfc3339
from apiserver.logs import kv
from apiserver.pki import PkiError
from apiserver.rest.own_writes import OwnWrites
from apiserver.storage.entry import Entry

SECONDS_MIN = 600

log = logging.getLogger(__name__)


class CertificateSigner:
    """Signs with the authority in a folder; no certificate holds for longer than `seconds_max`."""

    def __init__(self, own: OwnWrites, folder: Path, *, seconds_max: float, now: Callable[[], float]) -> None:
        self._own = own
        self._folder = folder
        self._seconds_max = seconds_max
        self._now = now

    async def handle(self, entry: Entry, gone: bool) -> None:
        """Sign a request if it is one of ours and its time has come. Raises ApiError, or Conflict."""
        request = entry.obj
        if gone or not wants_signature(request):
            return
        # In a thread: keys are read from the disk, and the library that makes certificates is large.
        certificate, why_not = await asyncio.to_thread(self._sign, request)
        status = dict(request.get("status") or {})
        if why_not:
            status["conditions"] = [*(status.get("conditions") or ()), self._failed(why_not)]
        else:
            status["certificate"] = base64.b64encode(certificate).decode()
        await self._own.update(CERTIFICATESIGNINGREQUESTS, entry, {**request, "status": status}, status=True)
        told = "certificate refused" if why_not else "certificate signed"
        log.info(kv(told, request=entry.name, signer=request["spec"]["signerName"], reason=why_not or None))

    def _sign(self, request: Object) -> tuple[bytes, str]:
        """(the certificate, why there is none). Raises ApiError if that is our own fault."""
        from apiserver.certificates import Authority, sign_request, utc

        spec = request["spec"]
        usages = spec.get("usages") or []
        try:
            if why_not := problem(spec["signerName"], read(request), usages):
                return b"", why_not
            authority = Authority.open(self._folder)
            pem = base64.b64decode(spec["request"])
            return sign_request(authority, pem, usages, self._seconds(spec), utc(self._now())), ""
        except ValueError as error:
            return b"", str(error)
        except PkiError as error:
            raise internal(str(error)) from error

    def _seconds(self, spec: dict[str, Any]) -> float:
        asked = spec.get("expirationSeconds")
        return self._seconds_max if asked is None else min(max(asked, SECONDS_MIN), self._seconds_max)

    def _failed(self, why: str) -> dict[str, Any]:
        condition = {"type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why}
        return {**condition, "lastUpdateTime": rfc3339(self._now()), "lastTransitionTime": rfc3339(self._now())}


def wants_signature(request: Object) -> bool:
    """Whether a request has been approved, and neither signed nor found wrong yet."""
    return (
        get_path(request, "spec", "signerName") in Signer.ALL
        and find_condition(request, "Approved") is not None
        and find_condition(request, "Denied") is None
        and find_condition(request, "Failed") is None
        and not get_path(request, "status", "certificate")
    )
