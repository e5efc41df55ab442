"""The cluster's authorities, and what it issues: ECDSA P-256 keys, X.509 certificates.

Imported only where something has to be made: `cryptography` costs 15 MB and a tenth of a second.
Source: https://kubernetes.io/docs/setup/best-practices/certificates/
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from apiserver.files import write_private
from apiserver.pki import AUTHORITY_NAMES, CLUSTER, PkiError

AUTHORITY_DAYS, CERTIFICATE_DAYS = 3650, 365
# Certificates are valid on machines whose clocks are a little behind ours.
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate and its key as PEM, and when it expires (seconds since 1970)."""

    certificate_pem: bytes
    key_pem: bytes
    expires: float


class Authority:
    """The cluster's authority, whose certificate is what all parts trust, or another one beside it."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def open(cls, folder: Path, name: str = CLUSTER) -> Authority:
        """The authority in a folder, by the name of its files. Raises PkiError."""
        key_path, certificate_path = folder / f"{name}.key", folder / f"{name}.crt"
        try:
            certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
            key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
        except FileNotFoundError as error:
            raise PkiError(f"{error.filename} is missing, and without it no certificate can be issued") from error
        except (ValueError, TypeError) as error:
            raise PkiError(f"{folder}: {name}.crt or {name}.key is damaged ({error})") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
            raise PkiError(f"{key_path} is not the elliptic-curve key of {certificate_path}")
        return cls(certificate, key)

    @classmethod
    def create(cls, folder: Path, now: datetime, name: str = CLUSTER) -> Authority:
        """Make an authority: the key first, so that a crash leaves no certificate that nothing can sign for."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, AUTHORITY_NAMES[name])])
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=True), critical=True)
            .add_extension(identifier, critical=False)
            .sign(key, hashes.SHA256())
        )
        write_private(folder / f"{name}.key", _key_pem(key))
        write_private(folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))
        return cls(certificate, key)

    @property
    def certificate_pem(self) -> bytes:
        """What everybody trusts."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self, common_name: str, organizations: tuple[str, ...], names: tuple[str, ...], now: datetime
    ) -> Issued:
        """A certificate for a server of these names and addresses, or without any for a client.

        A client's common name is who it is, and its organizations are its groups. Raises PkiError.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        usage = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = self.builder(x509.Name(subject), key.public_key(), now, timedelta(days=CERTIFICATE_DAYS))
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(_general(names)), critical=False)
        certificate = self.sign(builder)
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        return Issued(pem, _key_pem(key), certificate.not_valid_after_utc.timestamp())

    def builder(
        self, subject: x509.Name, key: CertificatePublicKeyTypes, now: datetime, lives: timedelta
    ) -> x509.CertificateBuilder:
        """What all certificates of this authority have in common. Raises PkiError if none can hold any more."""
        expires = min(now + lives, self._certificate.not_valid_after_utc)
        if expires <= now:
            raise PkiError(f"the cluster's authority has expired ({expires:%Y-%m-%d})")
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SKEW)
            .not_valid_after(expires)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )

    def sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        """The certificate, signed."""
        return builder.sign(self._key, hashes.SHA256())


def sign_request(authority: Authority, pem: bytes, usages: Sequence[str], seconds: float, now: datetime) -> bytes:
    """A certificate, as PEM, for the key, the subject and the names of a request. Raises PkiError, ValueError."""
    asked = x509.load_pem_x509_csr(pem)
    if not asked.is_signature_valid:
        raise ValueError("the signature of the request is not valid")
    builder = authority.builder(asked.subject, asked.public_key(), now, timedelta(seconds=seconds))
    if any(usage in _USAGES_OF_KEYS for usage in usages):
        # One that allows nothing is no restriction that anybody meant: it would make the certificate useless.
        builder = builder.add_extension(_usages_of_key(usages), critical=True)
    purposes = [_PURPOSES[usage] for usage in usages if usage in _PURPOSES]
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    try:
        names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        pass
    else:
        builder = builder.add_extension(names.value, critical=names.critical)
    return authority.sign(builder).public_bytes(serialization.Encoding.PEM)


def generate_key() -> tuple[bytes, bytes]:
    """A new key as PEM: its private and its public half."""
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return _key_pem(key), key.public_key().public_bytes(serialization.Encoding.PEM, form)


def utc(unix_seconds: float) -> datetime:
    """The moment in the form that certificates need."""
    return datetime.fromtimestamp(int(unix_seconds), UTC)


def _general(names: tuple[str, ...]) -> list[x509.GeneralName]:
    found: list[x509.GeneralName] = []
    for name in names:
        try:
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            found.append(x509.DNSName(name))
    return found


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    used = ("digital_signature", "key_encipherment", *(("key_cert_sign", "crl_sign") if signs_certificates else ()))
    return x509.KeyUsage(**{name: name in used for name in _USAGES_OF_KEYS.values()})


def _usages_of_key(usages: Sequence[str]) -> x509.KeyUsage:
    used = {_USAGES_OF_KEYS.get(usage) for usage in usages}
    return x509.KeyUsage(**{name: name in used for name in _USAGES_OF_KEYS.values()})


# The usages that a request names, in the words of X.509: those of the key, and those of the certificate.
_USAGES_OF_KEYS = {
    "digital signature": "digital_signature",
    "content commitment": "content_commitment",
    "key encipherment": "key_encipherment",
    "data encipherment": "data_encipherment",
    "key agreement": "key_agreement",
    "cert sign": "key_cert_sign",
    "crl sign": "crl_sign",
    "encipher only": "encipher_only",
    "decipher only": "decipher_only",
}
_PURPOSES = {"client auth": ExtendedKeyUsageOID.CLIENT_AUTH, "server auth": ExtendedKeyUsageOID.SERVER_AUTH}
