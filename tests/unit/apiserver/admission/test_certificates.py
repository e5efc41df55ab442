"""Who may approve and sign requests for certificates, and what these may not ask for."""

from __future__ import annotations

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import CERTIFICATESIGNINGREQUESTS
from apiserver.admission.certificates import CLIENT_SIGNER, plugins
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Chain, validate
from apiserver.request_info import User
from tests.support.access import Objects, authorizer_of, granted, rule
from tests.support.admission import FakeCluster
from tests.support.certificate_requests import pem, request

JANE = User("jane")


async def judge(new: Object, old: Object | None, subresource: str, *objects: Object) -> None:
    operation = CREATE if old is None else UPDATE
    attributes = Attributes(operation, CERTIFICATESIGNINGREQUESTS, "", "csr", JANE, new, old, subresource)
    await validate(Chain(plugins(authorizer_of(Objects(*objects)))), attributes, FakeCluster())


def allowed(verb: str, signer: str) -> list[Object]:
    return granted(rule(verb, "signers", "certificates.k8s.io", names=signer), to="jane")


def asked(*conditions: str, signer: str = "example.com/web") -> Object:
    return request(pem("joe"), *conditions, signer=signer)


@pytest.mark.parametrize("signer", ["example.com/web", "example.com/*"])
async def test_who_approves_must_be_allowed_to_for_the_signer(signer):
    await judge(asked("Approved"), asked(), "approval", *allowed("approve", signer))


async def test_nobody_else_approves():
    for roles in ([], allowed("sign", "example.com/*"), allowed("approve", "other.com/*")):
        with pytest.raises(ApiError) as caught:
            await judge(asked("Approved"), asked(), "approval", *roles)
        assert caught.value.message == (
            'certificatesigningrequests.certificates.k8s.io "csr" is forbidden: user not permitted to approve '
            'requests with signerName "example.com/web"'
        )


async def test_the_signer_that_is_stored_counts():
    with pytest.raises(ApiError):
        await judge(asked(signer="mine.com/x"), asked(), "approval", *allowed("approve", "mine.com/*"))


async def test_who_signs_must_be_allowed_to():
    signed = {**asked("Approved"), "status": {"certificate": "eA=="}}
    await judge(signed, asked("Approved"), "status", *allowed("sign", "example.com/*"))
    with pytest.raises(ApiError) as caught:
        await judge(signed, asked("Approved"), "status")
    assert "user not permitted to sign requests" in caught.value.message
    # Nothing is signed here.
    await judge(asked("Approved"), asked("Approved"), "status")


async def test_no_masters_are_made_of_clients():
    masters = request(pem("joe", "system:masters"), signer=CLIENT_SIGNER)
    with pytest.raises(ApiError) as caught:
        await judge(masters, None, "")
    assert caught.value.message.endswith(
        "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
    )
    await judge(request(pem("joe", "developers"), signer=CLIENT_SIGNER), None, "")
    await judge(request(pem("joe", "system:masters"), signer="example.com/web"), None, "")
