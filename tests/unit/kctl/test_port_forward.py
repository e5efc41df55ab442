"""What the arguments of `kctl port-forward` mean."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from kctl.commands.port_forward import Forward, parse_forward
from kctl.errors import CommandError

POD: Object = {
    "metadata": {"name": "web"},
    "spec": {"containers": [{"name": "c"}, {"name": "d", "ports": [{"name": "http", "containerPort": 8080}]}]},
}


def service(**spec: Any) -> Object:
    ports = [{"name": "web", "port": 80, "targetPort": "http"}, {"name": "admin", "port": 81, "targetPort": 9000}]
    return {"metadata": {"name": "web"}, "spec": {"ports": [*ports, {"port": 82}], **spec}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", Forward(80, 80)),
        ("8000:80", Forward(8000, 80)),
        (":80", Forward(0, 80)),
        ("http", Forward(8080, 8080)),
        ("8000:http", Forward(8000, 8080)),
    ],
)
def test_a_port_of_a_pod(text: str, expected: Forward) -> None:
    assert parse_forward(text, POD, None) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", Forward(80, 8080)),
        ("8000:web", Forward(8000, 8080)),
        (":81", Forward(0, 9000)),
        ("82", Forward(82, 82)),
    ],
)
def test_a_port_of_a_service_leads_where_the_service_does(text: str, expected: Forward) -> None:
    assert parse_forward(text, POD, service()) == expected


def test_a_headless_service_leads_to_its_own_port() -> None:
    assert parse_forward("81", POD, service(clusterIP="None")) == Forward(81, 81)


@pytest.mark.parametrize("text", ["", "x", "0", "70000", "x:80", "70000:80", "1:2:3", "ssh"])
def test_what_is_no_port_is_told(text: str) -> None:
    with pytest.raises(CommandError):
        parse_forward(text, POD, None)


def test_a_port_that_the_service_does_not_have_is_told() -> None:
    with pytest.raises(CommandError, match="service web has no port 99"):
        parse_forward("99", POD, service())
