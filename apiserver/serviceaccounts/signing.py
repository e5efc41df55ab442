"""Signs tokens and checks signatures: JSON Web Tokens of elliptic-curve or RSA keys, in their compact form.

    BASE64URL({"alg": "ES256", "kid": …}) . BASE64URL(claims) . BASE64URL(signature)

`cryptography` is imported when a key is first used: it costs 7 MB and 30 ms that a server without pods does without.
Sources: RFC 7515, RFC 7517, RFC 7518 (3.3, 3.4)
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from apiserver.pki import PkiError

_PEM_KEY = re.compile(rb"-----BEGIN ([A-Z ]+)-----\s.+-----END \1-----", re.DOTALL)
# (algorithm, curve as JWK names it, bytes of a coordinate, hash) by the curve's name in `cryptography`.
_CURVES = {
    "secp256r1": ("ES256", "P-256", 32, "SHA256"),
    "secp384r1": ("ES384", "P-384", 48, "SHA384"),
    "secp521r1": ("ES512", "P-521", 66, "SHA512"),
}


class VerifyingKey:
    """A public key, out of a PEM file that holds it, a certificate of it, or its private key."""

    def __init__(self, pem: bytes, origin: str) -> None:
        """Raises PkiError for what is no key at first sight: the library that reads keys is not loaded for this."""
        if _PEM_KEY.search(pem) is None:
            raise PkiError(f"{origin} holds no key: nothing in it is in PEM form")
        self._pem = pem
        self._origin = origin

    @cached_property
    def _public(self) -> Any:
        from cryptography.hazmat.primitives import serialization

        try:
            if b"PRIVATE KEY" in self._pem:
                return serialization.load_pem_private_key(self._pem, password=None).public_key()
            return serialization.load_pem_public_key(self._pem)
        except (ValueError, TypeError) as error:
            raise PkiError(f"{self._origin} holds no key that tokens can be checked with: {error}") from error

    @cached_property
    def algorithm(self) -> str:
        """ES256, ES384, ES512 or RS256. Raises PkiError for a key of another kind."""
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        if isinstance(self._public, rsa.RSAPublicKey):
            return "RS256"
        if isinstance(self._public, ec.EllipticCurvePublicKey) and self._public.curve.name in _CURVES:
            return _CURVES[self._public.curve.name][0]
        raise PkiError(f"{self._origin} is neither an RSA key nor one of the curves P-256, P-384 and P-521")

    @cached_property
    def id(self) -> str:
        """What tokens call it: a digest of the public key, so that it is the same wherever it is used."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        der = self._public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return _encoded(hashlib.sha256(der).digest())

    def verify(self, signed: bytes, signature: bytes) -> bool:
        """Whether a signature is this key's."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        try:
            if self.algorithm == "RS256":
                self._public.verify(signature, signed, padding.PKCS1v15(), _hash("SHA256"))
                return True
            _, _, size, digest = _CURVES[self._public.curve.name]
            if len(signature) != 2 * size:
                return False
            numbers = (int.from_bytes(part, "big") for part in (signature[:size], signature[size:]))
            self._public.verify(encode_dss_signature(*numbers), signed, ec.ECDSA(_hash(digest)))
        except InvalidSignature:
            return False
        return True

    def jwk(self) -> dict[str, str]:
        """The key as a JSON Web Key."""
        numbers = self._public.public_numbers()
        common = {"use": "sig", "kid": self.id, "alg": self.algorithm}
        if self.algorithm == "RS256":
            modulus = _encoded_number(numbers.n, (numbers.n.bit_length() + 7) // 8)
            exponent = _encoded_number(numbers.e, (numbers.e.bit_length() + 7) // 8)
            return {**common, "kty": "RSA", "n": modulus, "e": exponent}
        _, curve, size, _ = _CURVES[self._public.curve.name]
        point = {"x": _encoded_number(numbers.x, size), "y": _encoded_number(numbers.y, size)}
        return {**common, "kty": "EC", "crv": curve, **point}


class SigningKey:
    """The private key that tokens are signed with."""

    def __init__(self, pem: bytes, origin: str) -> None:
        self._pem = pem
        self._origin = origin
        self.public = VerifyingKey(pem, origin)

    @cached_property
    def _private(self) -> Any:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            return load_pem_private_key(self._pem, password=None)
        except (ValueError, TypeError) as error:
            raise PkiError(f"{self._origin} holds no key that tokens can be signed with: {error}") from error

    def sign(self, claims: Mapping[str, Any]) -> str:
        """The token that says this. Raises PkiError for a key that can't sign."""
        header = {"alg": self.public.algorithm, "kid": self.public.id}
        signed = f"{_encoded(orjson.dumps(header))}.{_encoded(orjson.dumps(claims))}"
        return f"{signed}.{_encoded(self._signature(signed.encode()))}"

    def _signature(self, signed: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric import ec, padding
        from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

        if self.public.algorithm == "RS256":
            signature: bytes = self._private.sign(signed, padding.PKCS1v15(), _hash("SHA256"))
            return signature
        _, _, size, digest = _CURVES[self._private.curve.name]
        r, s = decode_dss_signature(self._private.sign(signed, ec.ECDSA(_hash(digest))))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def read_keys(paths: Sequence[Path]) -> list[VerifyingKey]:
    """The keys of files. Raises OSError."""
    return [VerifyingKey(path.read_bytes(), str(path)) for path in paths]


def unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """The header and the claims that somebody has put together; None if the text is no such token."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        header, claims = (orjson.loads(_decoded(part)) for part in parts[:2])
    except ValueError:
        return None
    return (header, claims) if isinstance(header, dict) and isinstance(claims, dict) else None


def is_signed(token: str, header: Mapping[str, Any], keys: Sequence[VerifyingKey]) -> bool:
    """Whether one of the keys has signed a token; it alone says by which algorithm."""
    signed, _, signature = token.rpartition(".")
    try:
        raw = _decoded(signature)
    except ValueError:
        return False
    named = [key for key in keys if key.id == header.get("kid")]
    return any(key.algorithm == header.get("alg") and key.verify(signed.encode(), raw) for key in named or keys)


def _hash(name: str) -> Any:
    from cryptography.hazmat.primitives import hashes

    return getattr(hashes, name)()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _encoded_number(number: int, size: int) -> str:
    return _encoded(number.to_bytes(size, "big"))


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
