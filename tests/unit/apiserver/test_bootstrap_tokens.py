"""Tokens by which machines join: found by their id, and only while their Secret says so."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.time import rfc3339
from apiserver.bootstrap_tokens import TYPE, BootstrapTokens
from apiserver.request_info import AUTHENTICATED, User
from tests.support.access import Objects

NOW = 1_800_000_000.0
TOKEN = "abcdef.0123456789abcdef"


def secret(kind: str = TYPE, **changes: str | None) -> Object:
    said = {
        "token-id": "abcdef",
        "token-secret": "0123456789abcdef",
        "usage-bootstrap-authentication": "true",
        **{key.replace("_", "-"): value for key, value in changes.items()},
    }
    data = {key: base64.b64encode(value.encode()).decode() for key, value in said.items() if value is not None}
    metadata = {"name": "bootstrap-token-abcdef", "namespace": "kube-system"}
    return {"kind": "Secret", "metadata": metadata, "type": kind, "data": data}


def holder(token: str, *secrets: Object) -> Any:
    return BootstrapTokens(Objects(*secrets), now=lambda: NOW).find(token)


def test_a_machine_that_joins_is_known_by_the_tokens_id() -> None:
    assert holder(TOKEN, secret()) == User("system:bootstrap:abcdef", groups=("system:bootstrappers", AUTHENTICATED))
    groups = "system:bootstrappers:workers,system:bootstrappers:zone-a"
    assert holder(TOKEN, secret(auth_extra_groups=groups)).groups == (
        "system:bootstrappers",
        *groups.split(","),
        AUTHENTICATED,
    )
    assert holder(TOKEN, secret(expiration=rfc3339(NOW + 1))) is not None


@pytest.mark.parametrize(
    "found",
    [
        secret("Opaque"),
        secret(token_secret="fedcba9876543210"),
        secret(token_id="other1"),
        secret(usage_bootstrap_authentication=None),
        secret(usage_bootstrap_authentication="yes"),
        secret(expiration=rfc3339(NOW)),
        secret(expiration="soon"),
        secret(auth_extra_groups="system:masters"),
        {**secret(), "metadata": {**secret()["metadata"], "deletionTimestamp": rfc3339(NOW)}},
    ],
)
def test_a_token_that_its_secret_does_not_bear_out_is_nobodys(found: Object) -> None:
    assert holder(TOKEN, found) is None


@pytest.mark.parametrize("token", ["", "abcdef", "abcdef.short", "ABCDEF.0123456789abcdef", f"{TOKEN}x", f"x{TOKEN}"])
def test_other_tokens_are_not_looked_for(token: str) -> None:
    assert holder(token, secret()) is None
