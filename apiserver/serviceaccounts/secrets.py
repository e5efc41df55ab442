"""Fills Secrets that ask for a token of a service account: `kubernetes.io/service-account-token`.

Such a token has no end but that of its Secret, which goes with its account. Nobody gets one who does not ask for it.
It runs in the API server, for the key that signs never leaves the server's folder.
Source: https://kubernetes.io/docs/concepts/configuration/secret/#serviceaccount-token-secrets
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from apimachinery import meta
from apimachinery.meta import Object
from apimachinery.resources import SECRETS, SERVICEACCOUNTS, Resource
from apiserver.logs import kv
from apiserver.serviceaccounts import claims
from apiserver.serviceaccounts.signing import SigningKey
from apiserver.storage.entry import Entry
from apiserver.storage.store import Conflict

TYPE = "kubernetes.io/service-account-token"
ACCOUNT_NAME, ACCOUNT_UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"

log = logging.getLogger(__name__)


class Writes(Protocol):
    """What is read and written: `apiserver.rest.own_writes`."""

    def get(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        """The newest version of an object."""

    async def update(self, resource: Resource, old: Entry, obj: Object) -> Entry:
        """Replace a version. Raises ApiError, or Conflict."""

    async def delete(self, resource: Resource, old: Entry) -> None:
        """Remove an object. Raises Conflict."""


SecretsOf = Callable[[str], Iterable[Entry]]


class TokenSecrets:
    """Keeps such Secrets complete, and removes those whose account is gone."""

    def __init__(self, own: Writes, secrets_of: SecretsOf, key: SigningKey, authority_pem: bytes) -> None:
        """`secrets_of` gives the Secrets of a namespace; the authority is what the server's certificate is of."""
        self._own = own
        self._secrets_of = secrets_of
        self._key = key
        self._authority = authority_pem

    async def secret_changed(self, entry: Entry, gone: bool) -> None:
        """Complete a Secret. Raises ApiError, or Conflict."""
        secret = entry.obj
        if gone or secret.get("type") != TYPE or secret["metadata"].get("deletionTimestamp"):
            return
        account = self._own.get(SERVICEACCOUNTS, entry.namespace, meta.annotations(secret).get(ACCOUNT_NAME, ""))
        if account is None or not is_of(secret, account.obj):
            await self._remove(entry)
            return
        wanted = complete(secret, account.obj, self._authority)
        if not (wanted.get("data") or {}).get("token"):
            said = claims.legacy(account.obj, entry.name)
            # In a thread: the first signature imports a library.
            token = await asyncio.to_thread(self._key.sign, said)
            wanted = {**wanted, "data": {**wanted["data"], "token": _encoded(token.encode())}}
        if wanted != secret:
            await self._own.update(SECRETS, entry, wanted)

    async def account_changed(self, entry: Entry, gone: bool) -> None:
        """Remove the Secrets of an account that is gone. Raises ApiError."""
        if not gone:
            return
        for secret in self._secrets_of(entry.namespace):
            mine = secret.obj.get("type") == TYPE and meta.annotations(secret.obj).get(ACCOUNT_NAME) == entry.name
            if mine and meta.annotations(secret.obj).get(ACCOUNT_UID) == meta.uid(entry.obj):
                try:
                    await self._remove(secret)
                except Conflict:
                    continue  # it has changed, and so is looked at anyway

    async def _remove(self, secret: Entry) -> None:
        if secret.obj["metadata"].get("finalizers"):
            return  # its token does not hold any more; when it goes is up to who wrote those
        await self._own.delete(SECRETS, secret)
        log.info(kv("token removed with its account", namespace=secret.namespace, secret=secret.name))


def is_of(secret: Object, account: Object) -> bool:
    """Whether a Secret is for this very account, or for any of its name so far."""
    return meta.annotations(secret).get(ACCOUNT_UID) in (None, "", meta.uid(account))


def complete(secret: Object, account: Object, authority_pem: bytes) -> Object:
    """A Secret with all but the token: whom to trust, the namespace, and which account it is for."""
    metadata, data = secret["metadata"], secret.get("data") or {}
    annotations = {**(metadata.get("annotations") or {}), ACCOUNT_UID: meta.uid(account)}
    filled = {"ca.crt": _encoded(authority_pem), "namespace": _encoded(metadata["namespace"].encode())}
    return {**secret, "metadata": {**metadata, "annotations": annotations}, "data": {**data, **filled}}


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()
