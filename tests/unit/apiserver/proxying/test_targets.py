"""Where the `proxy` subresources lead, and where they must not."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apiserver.proxying.targets import Named, Place, of_node_port, of_pod, of_service, split
from apiserver.service_resolver import endpoints
from tests.support.access import Objects


def pod(name: str = "web", ip: str = "10.0.0.5", *ports: int) -> Object:
    listed = [{"containerPort": port} for port in ports]
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "a"},
        "spec": {"containers": [{"name": "sidecar"}, {"name": "main", "ports": listed}]},
        "status": {"podIP": ip, "podIPs": [{"ip": ip}]},
    }


def service(*ports: tuple[str, int]) -> Object:
    listed = [{"name": name, "port": port} for name, port in ports]
    return {"kind": "Service", "metadata": {"name": "web", "namespace": "a"}, "spec": {"ports": listed}}


def endpoint(ip: str, of: str = "web", *, ready: bool = True) -> Object:
    return {"addresses": [ip], "conditions": {"ready": ready}, "targetRef": {"kind": "Pod", "name": of}}


def endpoint_slice(ports: dict[str, int], *some: Object, name: str = "web-1") -> Object:
    listed = [{"name": name, "port": port} for name, port in ports.items()]
    labels = {"kubernetes.io/service-name": "web"}
    metadata = {"name": name, "namespace": "a", "labels": labels}
    return {"kind": "EndpointSlice", "metadata": metadata, "ports": listed, "endpoints": list(some)}


def refusal(call: Any, *arguments: Any) -> tuple[int, str]:
    with pytest.raises(ApiError) as refused:
        call(*arguments)
    return refused.value.code, refused.value.message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("web", Named("http", "web", "")),
        ("web:80", Named("http", "web", "80")),
        ("web:metrics", Named("http", "web", "metrics")),
        ("https:web:8443", Named("https", "web", "8443")),
        ("https:web:", Named("https", "web", "")),
        (":web:80", Named("http", "web", "80")),
    ],
)
def test_a_name_may_have_a_scheme_and_a_port(text: str, expected: Named) -> None:
    assert split("pod", text) == expected


@pytest.mark.parametrize("text", ["", ":80", "ftp:web:80", "a:b:c:d"])
def test_anything_else_is_no_name(text: str) -> None:
    assert refusal(split, "pod", text) == (400, f'invalid pod request "{text}"')


def test_a_pod_is_asked_at_the_port_that_is_named_or_the_first_that_it_has() -> None:
    cluster = Objects(pod("web", "10.0.0.5", 8080, 9090))
    assert of_pod(cluster, "a", "web") == Place("http", "10.0.0.5", 8080)
    assert of_pod(cluster, "a", "https:web:443") == Place("https", "10.0.0.5", 443)
    assert of_pod(Objects(pod()), "a", "web") == Place("http", "10.0.0.5", None)


@pytest.mark.parametrize(
    "ip",
    [
        *("", "127.0.0.1", "169.254.169.254", "::1", "0.0.0.0", "224.0.0.1", "fe80::1", "localhost"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"),
    ],
)
def test_nobody_is_led_to_this_machine_or_its_cloud(ip: str) -> None:
    assert refusal(of_pod, Objects(pod("web", ip, 80)), "a", "web") == (400, "address not allowed")
    assert refusal(of_node_port, Named("http", "n1", "2379"), ip) == (400, "address not allowed")


def test_a_pod_that_is_not_there_is_not_found() -> None:
    assert refusal(of_pod, Objects(), "a", "web:80") == (404, 'pods "web" not found')
    for port in ("http", "0", "65536", "9" * 5000, "٣"):
        assert refusal(of_pod, Objects(pod()), "a", f"web:{port}") == (400, f'invalid port "{port}"')


def test_a_service_leads_to_one_of_its_pods() -> None:
    cluster = Objects(
        service(("http", 80)), pod(), endpoint_slice({"http": 8080, "metrics": 9090}, endpoint("10.0.0.5"))
    )
    assert of_service(cluster, "a", "web:80") == Place("http", "10.0.0.5", 8080)
    assert of_service(cluster, "a", "web:metrics") == Place("http", "10.0.0.5", 9090)
    assert of_service(cluster, "a", "https:web:http") == Place("https", "10.0.0.5", 8080)


def test_the_port_without_a_name_is_meant_if_none_is_named() -> None:
    cluster = Objects(service(("", 80)), pod(), endpoint_slice({"": 8080}, endpoint("10.0.0.5")))
    assert of_service(cluster, "a", "web") == Place("http", "10.0.0.5", 8080)
    assert of_service(cluster, "a", "web:80") == Place("http", "10.0.0.5", 8080)


def test_services_of_before_slices_are_served_too() -> None:
    address = {"ip": "10.0.0.5", "targetRef": {"kind": "Pod", "name": "web"}}
    old = {
        "kind": "Endpoints",
        "metadata": {"name": "web", "namespace": "a"},
        "subsets": [{"addresses": [address], "ports": [{"port": 8080}]}],
    }
    assert of_service(Objects(service(("", 80)), pod(), old), "a", "web") == Place("http", "10.0.0.5", 8080)


def test_endpoints_that_are_not_ready_are_not_asked() -> None:
    some = endpoint_slice({"": 8080}, endpoint("10.0.0.5", ready=False))
    assert not list(endpoints(Objects(some), "a", "web", ""))


@pytest.mark.parametrize(
    "stranger",
    [
        pytest.param(endpoint("10.0.0.9"), id="not that pod's address"),
        pytest.param(endpoint("10.0.0.5", of="other"), id="no such pod"),
        pytest.param({"addresses": ["10.0.0.5"]}, id="no pod"),
    ],
)
def test_endpoints_that_are_no_pods_are_not_asked(stranger: Object) -> None:
    cluster = Objects(service(("", 80)), pod(), endpoint_slice({"": 80}, stranger))
    assert refusal(of_service, cluster, "a", "web") == (503, 'no endpoints available for service "web"')


def test_what_a_service_does_not_have_is_said() -> None:
    cluster = Objects(service(("http", 80)), pod())
    assert refusal(of_service, cluster, "a", "web:81") == (503, 'no service port 81 found for service "web"')
    assert refusal(of_service, cluster, "a", "web:80") == (503, 'no endpoints available for service "web:80"')
    assert refusal(of_service, Objects(), "a", "web:80") == (404, 'services "web" not found')


def test_another_port_of_a_node() -> None:
    assert of_node_port(Named("https", "n1", "9100"), "192.0.2.1") == Place("https", "192.0.2.1", 9100)
