"""What a certificate request asks for, and whether it is one that node agents send.

`cryptography` is imported when the first request is read: few come.
Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#kubernetes-signers
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import NamedTuple

from apimachinery.meta import Object, find_condition, get_path


class Signer:
    """The signers whose certificates the API server accepts."""

    CLIENT = "kubernetes.io/kube-apiserver-client"
    KUBELET_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
    KUBELET_SERVING = "kubernetes.io/kubelet-serving"
    ALL = (CLIENT, KUBELET_CLIENT, KUBELET_SERVING)


NODE_GROUP, NODE_PREFIX = "system:nodes", "system:node:"
_SIGNATURE, _ENCIPHERMENT = "digital signature", "key encipherment"


class Asked(NamedTuple):
    """Whom a certificate is to be for: the subject, and the names and addresses of a server."""

    common_name: str
    organizations: tuple[str, ...] = ()
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    uris: tuple[str, ...] = ()


def read(request: Object) -> Asked:
    """What a CertificateSigningRequest asks for. Raises ValueError."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    try:
        parsed = x509.load_pem_x509_csr(base64.b64decode(get_path(request, "spec", "request", default="")))
    except (ValueError, binascii.Error) as error:
        raise ValueError(f"unable to parse the certificate request: {error}") from error
    names = [str(attribute.value) for attribute in parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    if len(names) > 1:
        raise ValueError("the subject has several common names, of which only one could be looked at")
    groups = parsed.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    try:
        found = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        found = x509.SubjectAlternativeName([])
    return Asked(
        names[0] if names else "",
        tuple(str(attribute.value) for attribute in groups),
        tuple(found.get_values_for_type(x509.DNSName)),
        tuple(map(str, found.get_values_for_type(x509.IPAddress))),
        tuple(found.get_values_for_type(x509.RFC822Name)),
        tuple(found.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def certificate_end(request: Object) -> float | None:
    """When the certificate that was issued ends, in seconds since 1970; None without one, or if it can't be read."""
    issued = get_path(request, "status", "certificate", default="")
    if not issued:
        return None
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificate(base64.b64decode(issued)).not_valid_after_utc.timestamp()
    except (ValueError, binascii.Error):
        return None


def problem(signer: str, asked: Asked, usages: Sequence[str]) -> str:
    """Why a signer of Kubernetes' own would not sign this; "" if it would."""
    match signer:
        case Signer.CLIENT:
            return _wrong_usages(usages, "client auth", needs_signature=False)
        case Signer.KUBELET_CLIENT:
            return _no_node(asked) or _names(asked) or _wrong_usages(usages, "client auth")
        case Signer.KUBELET_SERVING:
            return _no_node(asked) or _no_names(asked) or _wrong_usages(usages, "server auth")
    return f"unknown signer {signer}"


def decided(request: Object) -> bool:
    """Whether somebody has approved or denied a request."""
    return any(find_condition(request, kind) is not None for kind in ("Approved", "Denied"))


def _no_node(asked: Asked) -> str:
    if asked.organizations != (NODE_GROUP,):
        return "subject organization is not system:nodes"
    if not asked.common_name.startswith(NODE_PREFIX):
        return "subject common name does not begin with system:node:"
    return ""


def _names(asked: Asked) -> str:
    """Who is no server has no names."""
    if asked.dns_names:
        return "DNS subjectAltNames are not allowed"
    if asked.addresses:
        return "IP subjectAltNames are not allowed"
    return _others(asked)


def _no_names(asked: Asked) -> str:
    if not asked.dns_names and not asked.addresses:
        return "DNS or IP subjectAltName is required"
    return _others(asked)


def _others(asked: Asked) -> str:
    if asked.emails:
        return "Email subjectAltNames are not allowed"
    return "URI subjectAltNames are not allowed" if asked.uris else ""


def _wrong_usages(usages: Sequence[str], needed: str, *, needs_signature: bool = True) -> str:
    required = {needed, _SIGNATURE} if needs_signature else {needed}
    found = set(usages)
    if required <= found <= {needed, _SIGNATURE, _ENCIPHERMENT}:
        return ""
    return f"usages did not match {sorted({needed, _SIGNATURE, _ENCIPHERMENT})}"
