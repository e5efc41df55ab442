"""Requests for certificates, as node agents and people send them."""

from __future__ import annotations

import base64
import datetime
import ipaddress
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from apimachinery.certificate_requests import Signer
from apimachinery.meta import Object

CLIENT_USAGES, SERVER_USAGES = ["digital signature", "client auth"], ["digital signature", "server auth"]
KEY = ec.generate_private_key(ec.SECP256R1())


def pem(common_name: str, *organizations: str, names: tuple[str, ...] = (), also: str = "") -> bytes:
    """A request of a subject; names with a slash are URIs, with an @ mails; `also` is another common name."""
    subject = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in organizations]
    subject += [x509.NameAttribute(NameOID.COMMON_NAME, name) for name in (common_name, also) if name]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(subject))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_general, names))), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _general(name: str) -> x509.GeneralName:
    if "/" in name:
        return x509.UniformResourceIdentifier(name)
    if "@" in name:
        return x509.RFC822Name(name)
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def request(
    body: bytes, *conditions: str, signer: str = Signer.CLIENT, usages: list[str] | None = None, **spec: Any
) -> Object:
    """A CertificateSigningRequest on which these conditions hold."""
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "csr", "creationTimestamp": "2027-01-15T08:00:00Z"},
        "spec": {
            "request": base64.b64encode(body).decode(),
            "signerName": signer,
            "usages": usages or CLIENT_USAGES,
            **spec,
        },
        "status": {"conditions": [{"type": kind, "status": "True"} for kind in conditions]} if conditions else {},
    }


def certificate(end: datetime.datetime) -> str:
    """What a signer has issued, as a status has it."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "joe")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(KEY.public_key())
    builder = builder.serial_number(1).not_valid_before(end - datetime.timedelta(days=2)).not_valid_after(end)
    return base64.b64encode(builder.sign(KEY, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)).decode()


def node_request(node: str = "n1", **more: Any) -> Object:
    """What a node agent asks for to be known by."""
    return request(pem(f"system:node:{node}", "system:nodes"), signer=Signer.KUBELET_CLIENT, **more)
