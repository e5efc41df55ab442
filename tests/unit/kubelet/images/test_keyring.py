"""Credentials fit images by Kubernetes' rules."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from kubelet.images import keyring
from kubelet.images.keyring import KeyringError
from kubelet.images.reference import parse


def config(*places: str) -> list[keyring.Key]:
    auths = {place: {"username": place, "password": "p"} for place in places}
    return keyring.of_config(json.dumps({"auths": auths}).encode())


@pytest.mark.parametrize(
    ("place", "image", "fits"),
    [
        ("registry.io", "registry.io/a/b", True),
        ("https://registry.io/v2/", "registry.io/a", True),
        ("http://registry.io/v1/team", "registry.io/team/x", True),
        ("registry.io:5000", "registry.io:5000/a", True),
        ("registry.io", "registry.io:5000/a", False),
        ("registry.io/team", "registry.io/team/app", True),
        ("registry.io/team", "registry.io/other/app", False),
        ("*.registry.io", "abc.registry.io/a", True),
        ("*.registry.io", "registry.io/a", False),
        ("*.registry.io", "a.b.registry.io/a", False),
        ("prefix.*.io", "prefix.registry.io/a", True),
        ("*-good.registry.io", "x-good.registry.io/a", True),
        ("docker.io", "busybox", True),
        ("https://index.docker.io/v1/", "busybox", True),
        ("https://index.docker.io/v1/", "quay.io/x", False),
    ],
)
def test_a_place_fits_an_image(place: str, image: str, fits: bool) -> None:
    assert bool(keyring.lookup(config(place), parse(image))) is fits


def test_the_more_specific_place_comes_first() -> None:
    found = keyring.lookup(config("r.io", "r.io/team/app", "r.io/team"), parse("r.io/team/app"))
    assert [key.username for key in found] == ["r.io/team/app", "r.io/team", "r.io"]


def secret(kind: str, key: str, document: Any) -> dict[str, Any]:
    data = base64.b64encode(document if isinstance(document, bytes) else json.dumps(document).encode()).decode()
    return {"metadata": {"name": "s", "namespace": "n", "uid": "u"}, "type": kind, "data": {key: data}}


def test_both_kinds_of_secrets_are_read_and_others_hold_nothing() -> None:
    auth = base64.b64encode(b"me:pass:word").decode()
    modern = secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", {"auths": {"r.io": {"auth": auth}}})
    [key] = keyring.of_secret(modern)
    assert (key.username, key.password, key.secret) == ("me", "pass:word", ("u", "n", "s"))
    [key] = keyring.of_secret(secret("kubernetes.io/dockercfg", ".dockercfg", {"r.io": {"auth": auth}}))
    assert key.username == "me"
    assert keyring.of_secret(secret("Opaque", ".dockercfg", {"r.io": {"auth": auth}})) == []


def test_empty_entries_are_passed_over_and_tokens_are_credentials_too() -> None:
    auths = {"a.io": {}, "b.io": {"identitytoken": "t"}}
    [key] = keyring.of_config(json.dumps({"auths": auths, "credsStore": "desktop"}).encode())
    assert (key.pattern, key.identity_token) == ("b.io", "t")


@pytest.mark.parametrize(
    "document", [b"{", b"[]", {"auths": []}, {"auths": {"a": 1}}, {"auths": {"a": {"auth": "%"}}}]
)
def test_what_can_not_be_read_is_an_error(document: Any) -> None:
    with pytest.raises(KeyringError):
        keyring.of_secret(secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", document))


def test_a_credential_is_not_given_away_when_it_is_shown() -> None:
    [key] = config("r.io")
    assert "password" not in repr(key) and key.hash != config("q.io")[0].hash
