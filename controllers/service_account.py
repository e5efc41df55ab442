"""Keeps an account named `default` in every namespace, for pods that name none.

Source: https://kubernetes.io/docs/concepts/security/service-accounts/#default-service-accounts
"""

from __future__ import annotations

from apimachinery.meta import Object, deletion_requested, name, namespace
from apimachinery.resources import NAMESPACES, SERVICEACCOUNTS
from controllers.context import Context
from controllers.requests import create_if_absent

DEFAULT = "default"


class ServiceAccountController:
    """One control loop over all namespaces."""

    def __init__(self, context: Context) -> None:
        self._client = context.client
        self._namespaces = context.informers.of(NAMESPACES)
        self._accounts = context.informers.of(SERVICEACCOUNTS)
        self.informers = (self._namespaces, self._accounts)
        self.queue = context.queue()
        self._namespaces.add_handler(self._namespace_changed)
        self._accounts.add_handler(self._account_changed)

    def _namespace_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is not None:
            self.queue.add(name(new))

    def _account_changed(self, kind: str, old: Object | None, new: Object | None) -> None:
        if new is None and old is not None and name(old) == DEFAULT:
            self.queue.add(namespace(old))

    async def reconcile(self, key: str) -> None:
        """Create the namespace's default account if it has none."""
        scope = self._namespaces.get(key)
        if scope is None or deletion_requested(scope) or self._accounts.get(f"{key}/{DEFAULT}") is not None:
            return
        kind = {"apiVersion": SERVICEACCOUNTS.api_version, "kind": SERVICEACCOUNTS.kind}
        account = {**kind, "metadata": {"name": DEFAULT, "namespace": key}}
        await create_if_absent(self._client, SERVICEACCOUNTS, account)
