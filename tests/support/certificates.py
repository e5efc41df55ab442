"""Certificates for tests: an authority, and what it or a stranger signs."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_ONE_DAY = datetime.timedelta(days=1)


class Authority:
    """A certificate authority of its own."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test-ca")])
        self.certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _ONE_DAY)
            .not_valid_after(now + _ONE_DAY)
        )

    def issue(
        self, folder: Path, name: str, common_name: str, *groups: str, address: str = "", names: tuple[str, ...] = ()
    ) -> None:
        """Write `name.crt`, `name.key` and `ca.crt` into a folder: for a server if its address or names are given."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject.append(x509.NameAttribute(NameOID.COMMON_NAME, common_name))
        builder = self._builder(x509.Name(subject), key)
        use = ExtendedKeyUsageOID.CLIENT_AUTH
        if address or names:
            use = ExtendedKeyUsageOID.SERVER_AUTH
            known: list[x509.GeneralName] = [x509.DNSName(one) for one in names]
            known += [x509.IPAddress(ipaddress.ip_address(address))] if address else []
            builder = builder.add_extension(x509.SubjectAlternativeName(known), critical=False)
        certificate = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False).sign(
            self._key, hashes.SHA256()
        )
        folder.mkdir(parents=True, exist_ok=True)
        encoding = serialization.Encoding.PEM
        (folder / f"{name}.crt").write_bytes(certificate.public_bytes(encoding))
        (folder / f"{name}.key").write_bytes(
            key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        (folder / "ca.crt").write_bytes(self.certificate.public_bytes(encoding))


def client_context(folder: Path, trusted: Path, name: str = "") -> ssl.SSLContext:
    """What a client uses that trusts `trusted/ca.crt` and shows the certificate of this name, if any."""
    context = ssl.create_default_context(cafile=str(trusted / "ca.crt"))
    if name:
        context.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
    return context


def certificate_request(common_name: str) -> bytes:
    """A request for a certificate, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    signed = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)
