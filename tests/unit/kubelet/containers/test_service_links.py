"""Which variables tell containers of services."""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object
from kubelet.containers.service_links import link_variables


def service(name: str, *ports: dict[str, Any], address: str = "10.0.0.1", namespace: str = "shop") -> Object:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"clusterIP": address, "ports": list(ports)}}


def test_every_port_of_a_service_is_told_and_the_first_by_short_names() -> None:
    found = link_variables(
        [service("redis-main", {"name": "data", "port": 6379}, {"name": "x-y", "port": 53, "protocol": "UDP"})]
    )
    assert found == [
        ("REDIS_MAIN_SERVICE_HOST", "10.0.0.1"),
        ("REDIS_MAIN_SERVICE_PORT", "6379"),
        ("REDIS_MAIN_SERVICE_PORT_DATA", "6379"),
        ("REDIS_MAIN_SERVICE_PORT_X_Y", "53"),
        ("REDIS_MAIN_PORT", "tcp://10.0.0.1:6379"),
        ("REDIS_MAIN_PORT_6379_TCP", "tcp://10.0.0.1:6379"),
        ("REDIS_MAIN_PORT_6379_TCP_PROTO", "tcp"),
        ("REDIS_MAIN_PORT_6379_TCP_PORT", "6379"),
        ("REDIS_MAIN_PORT_6379_TCP_ADDR", "10.0.0.1"),
        ("REDIS_MAIN_PORT_53_UDP", "udp://10.0.0.1:53"),
        ("REDIS_MAIN_PORT_53_UDP_PROTO", "udp"),
        ("REDIS_MAIN_PORT_53_UDP_PORT", "53"),
        ("REDIS_MAIN_PORT_53_UDP_ADDR", "10.0.0.1"),
    ]


def test_an_address_of_ipv6_stands_in_brackets_within_urls() -> None:
    found = dict(link_variables([service("web", {"port": 80}, address="fd00::1")]))
    assert found["WEB_PORT"] == "tcp://[fd00::1]:80" and found["WEB_SERVICE_HOST"] == "fd00::1"


def test_services_without_an_address_and_the_api_servers_are_not_told_here() -> None:
    port = {"port": 80}
    services = [
        service("headless", port, address="None"),
        service("elsewhere", port, address=""),
        service("portless"),
        service("kubernetes", port, namespace="default"),
    ]
    assert link_variables(services) == []
    assert link_variables([service("kubernetes", port)])[0] == ("KUBERNETES_SERVICE_HOST", "10.0.0.1")
