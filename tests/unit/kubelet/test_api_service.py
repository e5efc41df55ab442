"""Where containers are told that the API server is."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from kubelet.api_service import address_variables


def published(*addresses: str, ready: Any = True, **port: Any) -> Object:
    endpoints = [{"addresses": [address], "conditions": {"ready": ready}} for address in addresses]
    return {"endpoints": endpoints, "ports": [{"name": "https", "port": 6443, "protocol": "TCP", **port}]}


def test_the_variables_lead_to_the_first_address() -> None:
    assert address_variables(published("10.0.0.1", "10.0.0.2")) == [
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", "6443"),
        ("KUBERNETES_SERVICE_PORT_HTTPS", "6443"),
        ("KUBERNETES_PORT", "tcp://10.0.0.1:6443"),
        ("KUBERNETES_PORT_6443_TCP", "tcp://10.0.0.1:6443"),
        ("KUBERNETES_PORT_6443_TCP_PROTO", "tcp"),
        ("KUBERNETES_PORT_6443_TCP_PORT", "6443"),
        ("KUBERNETES_PORT_6443_TCP_ADDR", "10.0.0.1"),
    ]


def test_an_address_of_ipv6_stands_in_brackets_within_a_url_alone() -> None:
    variables = dict(address_variables(published("fd00::1")))
    assert variables["KUBERNETES_SERVICE_HOST"] == "fd00::1"
    assert variables["KUBERNETES_PORT"] == "tcp://[fd00::1]:6443"


@pytest.mark.parametrize(
    "found", [{}, published(), published("10.0.0.1", ready=False), published("10.0.0.1", port=0)]
)
def test_what_leads_nowhere_is_not_told(found: Object) -> None:
    assert address_variables(found) == []
