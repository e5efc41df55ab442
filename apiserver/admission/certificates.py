"""CertificateApproval, CertificateSigning, CertificateSubjectRestriction: who may say what a certificate says.

Whoever approves or signs requests must be allowed to do so for the signer that the request names. The signer of
clients' certificates makes no masters.

Source: https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/#authorization
"""

from __future__ import annotations

import base64

from apimachinery.meta import Object, get_path
from apimachinery.resources import CERTIFICATESIGNINGREQUESTS
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused
from apiserver.authorization import MASTERS, Authorizer
from apiserver.decision import quoted
from apiserver.request_info import RequestInfo, User

CLIENT_SIGNER = "kubernetes.io/kube-apiserver-client"


def plugins(authorizer: Authorizer) -> tuple[Plugin, ...]:
    """The three plugins; two ask what the writer may do."""

    async def check_approval(attributes: Attributes, cluster: Cluster) -> None:
        if attributes.subresource == "approval":
            _check_signer(attributes, authorizer, "approve")

    async def check_signing(attributes: Attributes, cluster: Cluster) -> None:
        if attributes.subresource == "status" and _signs(attributes):
            _check_signer(attributes, authorizer, "sign")

    resources = (CERTIFICATESIGNINGREQUESTS.key,)
    return (
        Plugin("CertificateApproval", (UPDATE,), None, check_approval, resources, ("approval",)),
        Plugin("CertificateSigning", (UPDATE,), None, check_signing, resources, ("status",)),
        Plugin("CertificateSubjectRestriction", (CREATE,), None, _check_subject, resources),
    )


def _signs(attributes: Attributes) -> bool:
    """Whether an update of the status says anything of the certificate or its conditions."""
    return any(
        get_path(attributes.obj, "status", field) != get_path(attributes.old, "status", field)
        for field in ("certificate", "conditions")
    )


def _check_signer(attributes: Attributes, authorizer: Authorizer, verb: str) -> None:
    # The old version counts: the one that is sent may name another signer.
    signer: str = get_path(attributes.old, "spec", "signerName", default="")
    if not may_act_for(authorizer, attributes.user, verb, signer):
        raise refused(attributes, f"user not permitted to {verb} requests with signerName {quoted(signer)}")


def may_act_for(authorizer: Authorizer, user: User, verb: str, signer: str) -> bool:
    """Whether a user may do this for a signer, or for all of its domain."""
    domain = signer.partition("/")[0]
    for name in (signer, f"{domain}/*"):
        asked = RequestInfo(verb, "", "certificates.k8s.io", "*", "signers", name=name)
        if authorizer.decide(user, asked).allowed:
            return True
    return False


async def _check_subject(attributes: Attributes, cluster: Cluster) -> None:
    request: Object | None = attributes.obj
    if get_path(request, "spec", "signerName") != CLIENT_SIGNER:
        return
    if MASTERS in _organizations(base64.b64decode(get_path(request, "spec", "request", default=""))):
        raise refused(attributes, f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


def _organizations(pem: bytes) -> list[str | bytes]:
    # The request has been checked to be one.
    from cryptography import x509

    subject = x509.load_pem_x509_csr(pem).subject
    return [attribute.value for attribute in subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]
