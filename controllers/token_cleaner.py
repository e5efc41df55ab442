"""Removes bootstrap tokens that have expired: machines can't join by them any more.

Source: https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/#token-management-with-kubeadm
"""

from __future__ import annotations

import base64
import binascii

from apimachinery.meta import Object, deletion_requested, get_path, namespaced_key, split_key, uid
from apimachinery.resources import SECRETS
from apimachinery.time import parse_rfc3339
from controllers.context import Context
from controllers.requests import unless_gone

NAMESPACE, TYPE = "kube-system", "bootstrap.kubernetes.io/token"


def expires_at(secret: Object) -> float | None:
    """When a token ends, in seconds since 1970; None for never. What can't be read has ended."""
    encoded = get_path(secret, "data", "expiration", default="")
    if not encoded:
        return None
    try:
        return parse_rfc3339(base64.b64decode(encoded, validate=True).decode())
    except (ValueError, binascii.Error):
        return 0.0


class TokenCleaner:
    """One control loop over all bootstrap tokens."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._clock = context.clock
        selector = f"metadata.namespace={NAMESPACE},type={TYPE}"
        self._tokens = context.informers.whole.informer(SECRETS, field_selector=selector)
        self.informers = (self._tokens,)
        self.queue = context.queue()
        self._tokens.add_handler(self._token_changed)

    def _token_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.queue.add(namespaced_key(new))

    async def reconcile(self, key: str) -> None:
        """Remove a token whose time is up, or look at it again then."""
        secret = self._tokens.get(key)
        end = expires_at(secret) if secret is not None else None
        if secret is None or end is None or deletion_requested(secret):
            return
        left = end - self._clock.now()
        if left > 0:
            self.queue.add_after(key, left)
            return
        scope, name = split_key(key)
        await unless_gone(self._client.delete(SECRETS, name, scope, uid=uid(secret)))
