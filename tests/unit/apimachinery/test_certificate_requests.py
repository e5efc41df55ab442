"""What a certificate request asks for, and which of them Kubernetes' signers take."""

from __future__ import annotations

import pytest

from apimachinery.certificate_requests import Asked, Signer, problem, read
from tests.support.certificate_requests import CLIENT_USAGES, SERVER_USAGES, pem, request

NODE = Asked("system:node:n1", ("system:nodes",))
SERVER = NODE._replace(addresses=("192.0.2.1",))


def test_a_request_is_read() -> None:
    names = ("a.example", "192.0.2.1", "joe@example.com", "spiffe://x/y")
    assert read(request(pem("joe", "developers", "testers", names=names))) == Asked(
        "joe", ("developers", "testers"), ("a.example",), ("192.0.2.1",), ("joe@example.com",), ("spiffe://x/y",)
    )
    assert read(request(pem("joe"))) == Asked("joe")


def test_nobody_is_called_two_things_at_once() -> None:
    with pytest.raises(ValueError, match="several common names"):
        read(request(pem("system:kube-controller-manager", "system:nodes", also="system:node:n1")))


@pytest.mark.parametrize("body", [b"", b"nothing", b"-----BEGIN CERTIFICATE REQUEST-----\nx\n"])
def test_what_is_no_request_is_told(body: bytes) -> None:
    with pytest.raises(ValueError, match="unable to parse"):
        read(request(body))


@pytest.mark.parametrize(
    ("signer", "asked", "usages"),
    [
        (Signer.CLIENT, Asked("joe", ("developers",)), ["client auth"]),
        (Signer.CLIENT, Asked("joe"), [*CLIENT_USAGES, "key encipherment"]),
        (Signer.KUBELET_CLIENT, NODE, CLIENT_USAGES),
        (Signer.KUBELET_CLIENT, NODE, [*CLIENT_USAGES, "key encipherment"]),
        (Signer.KUBELET_SERVING, SERVER, SERVER_USAGES),
        (Signer.KUBELET_SERVING, NODE._replace(dns_names=("n1",)), SERVER_USAGES),
    ],
)
def test_what_a_signer_is_for_it_signs(signer: str, asked: Asked, usages: list[str]) -> None:
    assert problem(signer, asked, usages) == ""


@pytest.mark.parametrize(
    ("signer", "asked", "usages", "why"),
    [
        (Signer.CLIENT, Asked("joe"), ["digital signature"], "usages did not match"),
        (Signer.CLIENT, Asked("joe"), SERVER_USAGES, "usages did not match"),
        (Signer.KUBELET_CLIENT, Asked("joe", ("system:nodes",)), CLIENT_USAGES, "does not begin with system:node:"),
        (Signer.KUBELET_CLIENT, NODE._replace(organizations=("a",)), CLIENT_USAGES, "is not system:nodes"),
        (Signer.KUBELET_CLIENT, NODE._replace(organizations=("system:nodes", "a")), CLIENT_USAGES, "system:nodes"),
        (
            Signer.KUBELET_CLIENT,
            NODE._replace(dns_names=("n1",)),
            CLIENT_USAGES,
            "DNS subjectAltNames are not allowed",
        ),
        (Signer.KUBELET_CLIENT, SERVER, CLIENT_USAGES, "IP subjectAltNames are not allowed"),
        (Signer.KUBELET_CLIENT, NODE, ["client auth"], "usages did not match"),
        (Signer.KUBELET_SERVING, NODE, SERVER_USAGES, "DNS or IP subjectAltName is required"),
        (Signer.KUBELET_SERVING, SERVER._replace(emails=("a@b",)), SERVER_USAGES, "Email subjectAltNames"),
        (Signer.KUBELET_SERVING, SERVER._replace(uris=("a://b",)), SERVER_USAGES, "URI subjectAltNames"),
        (Signer.KUBELET_SERVING, SERVER, CLIENT_USAGES, "usages did not match"),
        ("example.com/other", NODE, CLIENT_USAGES, "unknown signer"),
    ],
)
def test_what_a_signer_is_not_for_it_refuses(signer: str, asked: Asked, usages: list[str], why: str) -> None:
    assert why in problem(signer, asked, usages)
