"""What has been approved is signed by the cluster's authority, and what no certificate may come of is marked."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from apimachinery.certificate_requests import Signer
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apiserver.certificate_signer import CertificateSigner, wants_signature
from apiserver.certificates import Authority, utc
from apiserver.storage.entry import Entry
from tests.support.certificate_requests import KEY, SERVER_USAGES, node_request, pem, request

NOW = 1_800_000_000.0
DAY = 86400.0


class Written:
    """Notes what is written."""

    def __init__(self) -> None:
        self.status: Any = None

    async def update(self, resource: Any, old: Entry, obj: Object, *, status: bool = False) -> Entry:
        assert status
        self.status = obj["status"]
        return old


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Authority.create(tmp_path, utc(NOW))
    return tmp_path


async def signed(folder: Path, found: Object, *, gone: bool = False) -> Any:
    """The status of a request after the signer has seen it; None if it did nothing."""
    written: Any = Written()
    signer = CertificateSigner(written, folder, seconds_max=365 * DAY, now=lambda: NOW)
    await signer.handle(Entry("", "csr", 1, orjson.dumps(found)), gone)
    return written.status


def certificate(status: Any) -> x509.Certificate:
    return x509.load_pem_x509_certificate(base64.b64decode(status["certificate"]))


async def test_a_certificate_is_for_who_asked(folder: Path) -> None:
    found = certificate(await signed(folder, request(pem("joe", "developers"), "Approved")))
    names = {attribute.oid: attribute.value for attribute in found.subject}
    assert (names[NameOID.COMMON_NAME], names[NameOID.ORGANIZATION_NAME]) == ("joe", "developers")
    assert found.public_key() == KEY.public_key()
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    found.verify_directly_issued_by(authority)
    purposes = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    used = found.extensions.get_extension_for_class(x509.KeyUsage).value
    assert used.digital_signature and not used.key_encipherment and not used.key_cert_sign


async def test_a_key_that_no_usage_is_named_for_may_be_used_for_all(folder: Path) -> None:
    found = certificate(await signed(folder, request(pem("joe"), "Approved", usages=["client auth"])))
    with pytest.raises(x509.ExtensionNotFound):
        found.extensions.get_extension_for_class(x509.KeyUsage)


async def test_a_server_keeps_its_names(folder: Path) -> None:
    body = pem("system:node:n1", "system:nodes", names=("n1.example", "192.0.2.1"))
    asked = request(body, "Approved", signer=Signer.KUBELET_SERVING, usages=SERVER_USAGES)
    names = certificate(await signed(folder, asked)).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.value.get_values_for_type(x509.DNSName) == ["n1.example"]


@pytest.mark.parametrize(
    ("asked", "given"), [(None, 365 * DAY), (3600, 3600), (10, 600), (10**9, 365 * DAY)], ids=str
)
async def test_a_certificate_holds_for_as_long_as_was_asked_for(folder: Path, asked: Any, given: float) -> None:
    spec = {} if asked is None else {"expirationSeconds": asked}
    found = certificate(await signed(folder, request(pem("joe"), "Approved", **spec)))
    assert found.not_valid_after_utc.timestamp() == NOW + given


async def test_what_no_certificate_may_come_of_is_marked(folder: Path) -> None:
    status = await signed(folder, request(pem("joe"), "Approved", usages=SERVER_USAGES))
    failed = status["conditions"][-1]
    assert (failed["type"], failed["status"], failed["reason"]) == ("Failed", "True", "SignerValidationFailure")
    assert "usages did not match" in failed["message"] and "certificate" not in status


@pytest.mark.parametrize(
    "found",
    [
        request(pem("joe")),
        request(pem("joe"), "Approved", "Denied"),
        request(pem("joe"), "Approved", "Failed"),
        request(pem("joe"), "Approved", signer="example.com/own"),
        {**request(pem("joe"), "Approved"), "status": {"conditions": [{"type": "Approved"}], "certificate": "eA=="}},
    ],
    ids=["undecided", "denied", "failed", "another signer's", "signed"],
)
async def test_all_else_is_left_alone(folder: Path, found: Object) -> None:
    assert not wants_signature(found)
    assert await signed(folder, found) is None


async def test_what_is_gone_is_not_signed(folder: Path) -> None:
    assert await signed(folder, request(pem("joe"), "Approved"), gone=True) is None


async def test_an_authority_that_cannot_be_read_is_our_own_fault(tmp_path: Path) -> None:
    with pytest.raises(ApiError) as caught:
        await signed(tmp_path, node_request(**{}) | {"status": {"conditions": [{"type": "Approved"}]}})
    assert caught.value.code == 500 and "ca.crt is missing" in caught.value.message
