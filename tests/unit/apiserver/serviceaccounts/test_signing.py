"""Tokens are signed by one key and checked by any of several, whatever they say of themselves."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from apiserver.pki import PkiError
from apiserver.serviceaccounts.signing import SigningKey, VerifyingKey, is_signed, unverified

CLAIMS = {"iss": "us", "sub": "somebody"}


def pem(key: Any) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    found: bytes = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    return found


def public_pem(key: Any) -> bytes:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    found: bytes = key.public_key().public_bytes(serialization.Encoding.PEM, form)
    return found


P256, P384, P521 = (ec.generate_private_key(curve) for curve in (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()))
RSA = rsa.generate_private_key(65537, 2048)


def signed(token: str, *keys: VerifyingKey) -> bool:
    parts = unverified(token)
    assert parts is not None
    return is_signed(token, parts[0], keys)


@pytest.mark.parametrize(("key", "algorithm"), [(P256, "ES256"), (P384, "ES384"), (P521, "ES512"), (RSA, "RS256")])
def test_what_a_key_signs_its_public_half_confirms(key: Any, algorithm: str) -> None:
    token = SigningKey(pem(key), "key").sign(CLAIMS)
    parts = unverified(token)
    assert parts is not None and parts[0]["alg"] == algorithm and parts[1] == CLAIMS
    assert signed(token, VerifyingKey(public_pem(key), "key"))
    assert not signed(token, VerifyingKey(public_pem(ec.generate_private_key(ec.SECP256R1())), "other"))


def test_of_several_keys_the_one_that_has_signed_is_found() -> None:
    token = SigningKey(pem(P256), "key").sign(CLAIMS)
    assert signed(token, VerifyingKey(public_pem(RSA), "a"), VerifyingKey(public_pem(P256), "b"))


@pytest.mark.parametrize("signature", ["", "é", "AA\x00", "=", "A" * 60_000, "*"])
def test_what_is_no_signature_at_all_is_nobodys(signature: str) -> None:
    head, claims, _ = SigningKey(pem(P256), "key").sign(CLAIMS).split(".")
    assert not signed(f"{head}.{claims}.{signature}", VerifyingKey(public_pem(P256), "key"))


def test_a_token_that_was_changed_is_signed_by_nobody() -> None:
    token = SigningKey(pem(P256), "key").sign(CLAIMS)
    header, _, signature = token.split(".")
    claims = base64.urlsafe_b64encode(json.dumps({**CLAIMS, "sub": "root"}).encode()).decode().rstrip("=")
    assert not signed(f"{header}.{claims}.{signature}", VerifyingKey(public_pem(P256), "key"))


@pytest.mark.parametrize("algorithm", ["none", "HS256", "RS256", "ES384"])
def test_the_key_says_how_it_signs_and_not_the_token(algorithm: str) -> None:
    """Else a token could be signed with what everybody knows: the public key, taken for a shared secret."""
    _, claims, signature = SigningKey(pem(P256), "key").sign(CLAIMS).split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode()).decode().rstrip("=")
    for forged in (f"{header}.{claims}.{signature}", f"{header}.{claims}."):
        assert not signed(forged, VerifyingKey(public_pem(P256), "key"))


@pytest.mark.parametrize("text", ["", "a.b", "a.b.c", "....", "bnVsbA.bnVsbA.x", "e30.W10.x", "é.é.é"])
def test_what_is_no_token_is_told_apart(text: str) -> None:
    assert unverified(text) is None


def test_a_key_is_shown_to_others_as_a_web_key() -> None:
    shown = VerifyingKey(public_pem(P256), "key").jwk()
    numbers = P256.public_key().public_numbers()
    x = int.from_bytes(base64.urlsafe_b64decode(shown["x"] + "=="), "big")
    assert (shown["kty"], shown["crv"], shown["alg"], x) == ("EC", "P-256", "ES256", numbers.x)
    assert VerifyingKey(public_pem(RSA), "key").jwk()["e"] == "AQAB"


def test_a_key_has_the_same_name_by_either_half() -> None:
    assert SigningKey(pem(P256), "a").public.id == VerifyingKey(public_pem(P256), "b").id


@pytest.mark.parametrize("found", [b"nothing", pem(ed25519.Ed25519PrivateKey.generate())])
def test_a_file_that_holds_no_such_key_is_named(found: bytes) -> None:
    with pytest.raises(PkiError, match="sa.key"):
        SigningKey(found, "sa.key").sign(CLAIMS)
