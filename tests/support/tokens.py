"""An API server that gives no tokens, for tests of volumes that show none."""

from __future__ import annotations

from apimachinery.errors import not_found
from apimachinery.meta import Object
from kubelet.tokens import Token


class NoTokens:
    """`kubelet.tokens.Tokens` without any."""

    async def get(self, pod: Object, audience: str, seconds: int) -> Token:
        """There is none."""
        raise not_found("serviceaccounts", "default")

    def forget(self, pod_uid: str) -> None:
        """There is nothing to be forgotten."""
