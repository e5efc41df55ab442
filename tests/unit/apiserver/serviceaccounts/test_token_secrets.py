"""Secrets that ask for a token get one that ends with them; nobody else does."""

from __future__ import annotations

import base64
from typing import Any

import orjson
import pytest

from apimachinery.meta import Object
from apimachinery.resources import Resource
from apiserver.certificates import generate_key
from apiserver.serviceaccounts.secrets import ACCOUNT_NAME, ACCOUNT_UID, TYPE, TokenSecrets
from apiserver.serviceaccounts.signing import SigningKey, unverified
from apiserver.storage.entry import Entry

KEY = SigningKey(generate_key()[0], "sa.key")
ACCOUNT = {"metadata": {"name": "robot", "namespace": "ci", "uid": "u-1"}}


def secret(name: str = "held", kind: str = TYPE, account: str = "robot", **more: Any) -> Object:
    annotations = {ACCOUNT_NAME: account, **more.pop("annotations", {})}
    metadata = {"name": name, "namespace": "ci", "annotations": annotations, **more.pop("metadata", {})}
    return {"metadata": metadata, "type": kind, **more}


def entry(obj: Object) -> Entry:
    return Entry("ci", obj["metadata"]["name"], 1, orjson.dumps(obj))


class World:
    def __init__(self, *secrets: Object) -> None:
        self.secrets = list(secrets)
        self.written: list[Object] = []
        self.removed: list[str] = []
        own: Any = self
        self.loop = TokenSecrets(own, lambda _: map(entry, self.secrets), KEY, b"authority")

    def get(self, resource: Resource, namespace: str, name: str) -> Entry | None:
        return entry(ACCOUNT) if (namespace, name) == ("ci", "robot") else None

    async def update(self, resource: Resource, old: Entry, obj: Object) -> Entry:
        self.written.append(obj)
        return old

    async def delete(self, resource: Resource, old: Entry) -> None:
        self.removed.append(old.name)


def plain(data: dict[str, str]) -> dict[str, str]:
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


async def test_a_secret_that_asks_is_filled() -> None:
    world = World()
    await world.loop.secret_changed(entry(secret(data={"mine": "eA=="})), False)
    (written,) = world.written
    data = plain(written["data"])
    assert (data["mine"], data["ca.crt"], data["namespace"]) == ("x", "authority", "ci")
    parts = unverified(data["token"])
    assert parts is not None and parts[1]["kubernetes.io/serviceaccount/secret.name"] == "held"
    assert "exp" not in parts[1]
    assert written["metadata"]["annotations"][ACCOUNT_UID] == "u-1"
    await world.loop.secret_changed(entry(written), False)
    assert len(world.written) == 1


@pytest.mark.parametrize(
    "found", [secret(kind="Opaque"), secret(metadata={"deletionTimestamp": "2027-01-15T08:00:00Z"})]
)
async def test_no_other_secret_is_touched(found: Object) -> None:
    world = World()
    await world.loop.secret_changed(entry(found), False)
    assert world.written == [] and world.removed == []


@pytest.mark.parametrize("found", [secret(account="none"), secret(annotations={ACCOUNT_UID: "of another"})])
async def test_a_secret_of_no_account_goes(found: Object) -> None:
    world = World()
    await world.loop.secret_changed(entry(found), False)
    assert world.removed == ["held"]


async def test_secrets_go_with_their_account() -> None:
    mine = secret("mine", annotations={ACCOUNT_UID: "u-1"})
    kept = secret("kept", annotations={ACCOUNT_UID: "u-1"}, metadata={"finalizers": ["x/y"]})
    world = World(mine, kept, secret("other", account="other"), secret("plain", kind="Opaque"))
    await world.loop.account_changed(entry(ACCOUNT), False)
    assert world.removed == []
    await world.loop.account_changed(entry(ACCOUNT), True)
    assert world.removed == ["mine"]
