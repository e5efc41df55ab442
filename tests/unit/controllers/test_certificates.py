"""Which certificate requests are approved by a right alone, and when requests go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from apimachinery.certificate_requests import Signer
from apimachinery.meta import Object
from apimachinery.time import parse_rfc3339
from controllers.certificate_approval import wanted_rights
from controllers.certificate_cleaner import DECIDED_SECONDS, PENDING_SECONDS, removed_at
from tests.support.certificate_requests import SERVER_USAGES, certificate, node_request, pem, request


def rights(found: Object) -> list[str]:
    return [subresource for subresource, _ in wanted_rights(found)]


def test_a_machine_that_joins_needs_one_right_and_a_node_that_renews_either() -> None:
    assert rights(node_request(username="system:bootstrap:abcdef")) == ["nodeclient"]
    assert rights(node_request(username="system:node:n1")) == ["selfnodeclient", "nodeclient"]
    assert rights(node_request(username="system:node:n2")) == ["nodeclient"]


@pytest.mark.parametrize(
    "found",
    [
        request(pem("joe", "developers")),
        node_request(usages=SERVER_USAGES),
        request(pem("system:node:n1", "system:masters"), signer=Signer.KUBELET_CLIENT),
        request(pem("system:node:n1", "system:nodes", names=("n1",)), signer=Signer.KUBELET_CLIENT),
        request(
            pem("system:node:n1", "system:nodes", names=("n1",)), signer=Signer.KUBELET_SERVING, usages=SERVER_USAGES
        ),
    ],
)
def test_all_other_requests_wait_for_somebody(found: Object) -> None:
    assert rights(found) == []


def decided(*kinds: str, certificate: str = "") -> Object:
    found: Any = request(pem("joe"), *kinds)
    for condition in found["status"].get("conditions") or ():
        condition["lastUpdateTime"] = "2027-01-15T09:00:00Z"
    if certificate:
        found["status"]["certificate"] = certificate
    return found


CREATED, DECIDED = parse_rfc3339("2027-01-15T08:00:00Z"), parse_rfc3339("2027-01-15T09:00:00Z")


@pytest.mark.parametrize(
    ("found", "when"),
    [
        (decided(), CREATED + PENDING_SECONDS),
        (decided("Denied"), DECIDED + DECIDED_SECONDS),
        (decided("Approved", certificate="x"), DECIDED + DECIDED_SECONDS),
        (decided("Approved", "Failed"), DECIDED + DECIDED_SECONDS),
        (decided("Approved"), CREATED + PENDING_SECONDS),
    ],
)
def test_a_request_goes_some_time_after_it_was_decided(found: Object, when: float) -> None:
    assert removed_at(found) == when


def test_a_request_goes_with_its_certificate_if_that_ends_sooner() -> None:
    short = certificate(datetime.fromtimestamp(DECIDED + 600, UTC))
    assert removed_at(decided("Approved", certificate=short)) == DECIDED + 600
    long = certificate(datetime.fromtimestamp(DECIDED + 86400, UTC))
    assert removed_at(decided("Approved", certificate=long)) == DECIDED + DECIDED_SECONDS
