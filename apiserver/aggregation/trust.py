"""By what extension servers know this server and its users: a ConfigMap that they read when they start.

    kube-system/extension-apiserver-authentication

It names the authority of clients, that of front proxies, and the headers in which those name users. What others have
added (another API server of the cluster with an authority of its own) stays, as long as it is valid; what is missing
is written again at once.

Source: kubernetes/pkg/controlplane/controller/clusterauthenticationtrust.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson

from apimachinery.meta import Object
from apimachinery.resources import CONFIGMAPS
from apiserver.front_proxy import FrontProxy, certificates
from apiserver.rest.own_writes import OwnWrites
from apiserver.storage.entry import Entry
from apiserver.storage.watch import Selection

NAMESPACE, NAME = "kube-system", "extension-apiserver-authentication"
SELECTION = Selection(NAMESPACE, NAME)
_BUNDLES = ("client-ca-file", "requestheader-client-ca-file")
# Certificates are still named for so long after their end, as clocks differ.
_SLACK = timedelta(minutes=5)


def required(authority: Path, proxies: FrontProxy) -> dict[str, str]:
    """What this server needs to have said. Raises OSError."""
    lists = {
        "requestheader-allowed-names": proxies.names,
        "requestheader-extra-headers-prefix": proxies.extra_prefixes,
        "requestheader-group-headers": proxies.group_headers,
        "requestheader-uid-headers": proxies.uid_headers,
        "requestheader-username-headers": proxies.user_headers,
    }
    return {
        "client-ca-file": authority.read_text(),
        "requestheader-client-ca-file": proxies.authority.read_text(),
        **{key: orjson.dumps(value).decode() for key, value in lists.items()},
    }


def combined(existing: Mapping[str, str], wanted: Mapping[str, str], now: float) -> dict[str, str]:
    """What others have said and what we say, each once; what can't be read is left out."""
    found = {}
    for key, ours in wanted.items():
        theirs = existing.get(key) or ""
        if key in _BUNDLES:
            found[key] = "".join(_each_once((*_valid(theirs, ours, now), *certificates(ours))))
        else:
            said = orjson.loads(ours)
            found[key] = orjson.dumps(_each_once((*_read_list(theirs), *said))).decode()
    return found


def _each_once(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _read_list(text: str) -> list[str]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return []
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _valid(theirs: str, ours: str, now: float) -> list[str]:
    """The certificates of others that have not expired."""
    known = certificates(ours)
    others = [one for one in certificates(theirs) if one not in known]
    if not others:
        return [one for one in certificates(theirs) if one in known]
    from cryptography import x509  # hardly any cluster has others

    since = datetime.fromtimestamp(now, UTC) - _SLACK
    valid = []
    for one in certificates(theirs):
        try:
            expires = x509.load_pem_x509_certificate(one.encode()).not_valid_after_utc
        except ValueError:
            continue
        if expires > since:
            valid.append(one)
    return valid


def plan(current: Object | None, wanted: Mapping[str, str], now: float) -> Object | None:
    """The ConfigMap that is to be written; None if the current one will do."""
    existing = (current or {}).get("data") or {}
    data = combined(existing, wanted, now)
    if current is None:
        return {"metadata": {"namespace": NAMESPACE, "name": NAME}, "data": data}
    return {**current, "data": data} if data != existing else None


class Trust:
    """Keeps the ConfigMap."""

    def __init__(self, own: OwnWrites, wanted: Mapping[str, str], now: Callable[[], float]) -> None:
        self._own = own
        self._wanted = wanted
        self._now = now

    async def changed(self, _: Entry, gone: bool) -> None:
        """Write what is missing. Raises ApiError, or Conflict."""
        entry = self._own.get(CONFIGMAPS, NAMESPACE, NAME)
        made = plan(entry.copy() if entry is not None else None, self._wanted, self._now())
        if made is None:
            return
        if entry is None:
            await self._own.create(CONFIGMAPS, made)
        else:
            await self._own.update(CONFIGMAPS, entry, made)
