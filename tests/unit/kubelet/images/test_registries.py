"""registries.yaml, proxies of the environment, and challenges: how a registry is reached."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubelet.images import proxies, registries
from kubelet.images.auth import Credential, parse_challenges
from kubelet.images.registries import Registries, RegistriesError


def urls(found: Registries, registry: str, repository: str = "a/b") -> list[tuple[str, str]]:
    return [(url, end.repository) for end in found.endpoints(registry, repository) for url in end.urls]


@pytest.mark.parametrize(
    ("registry", "wanted"),
    [
        ("docker.io", ["https://registry-1.docker.io"]),
        ("quay.io", ["https://quay.io"]),
        ("localhost:5000", ["http://localhost:5000", "https://localhost:5000"]),
        ("127.0.0.1:5000", ["http://127.0.0.1:5000", "https://127.0.0.1:5000"]),
        ("[::1]:5000", ["http://[::1]:5000", "https://[::1]:5000"]),
        ("10.0.0.1:5000", ["https://10.0.0.1:5000"]),
    ],
)
def test_without_configuration_only_this_machine_is_asked_in_the_clear(registry: str, wanted: list[str]) -> None:
    assert [url for url, _ in urls(Registries(), registry)] == wanted


def test_mirrors_come_in_their_order_with_their_names_and_the_registry_last() -> None:
    mirror = {"endpoint": ["https://m1.example", "http://m2.example:5000/"], "rewrite": {"^library/(.*)": "hub/$1"}}
    found = registries.parse({"mirrors": {"docker.io": mirror, "*": {"endpoint": ["https://all.example"]}}})
    assert urls(found, "docker.io", "library/x") == [
        ("https://m1.example", "hub/x"),
        ("http://m2.example:5000", "hub/x"),
        ("https://registry-1.docker.io", "library/x"),
    ]
    assert urls(found, "quay.io") == [("https://all.example", "a/b"), ("https://quay.io", "a/b")]


def test_an_insecure_registry_is_one_whose_own_address_is_named_in_the_clear() -> None:
    found = registries.parse({"mirrors": {"r.example:5000": {"endpoint": ["http://r.example:5000"]}}})
    assert urls(found, "r.example:5000") == [("http://r.example:5000", "a/b")]


def test_credentials_and_authorities_belong_to_the_host_that_is_asked() -> None:
    configs = {
        "m.example": {"auth": {"username": "u", "password": "p"}},
        "registry-1.docker.io": {"tls": {"ca_file": "/ca", "insecure_skip_verify": True}},
    }
    found = registries.parse({"mirrors": {"docker.io": {"endpoint": ["https://m.example"]}}, "configs": configs})
    mirror, own = found.endpoints("docker.io", "a")
    assert mirror.is_mirror and mirror.credential == Credential("u", "p") and not own.is_mirror
    assert own.tls.ca_file == "/ca" and own.tls.skip_verify and not mirror.tls.ca_file


@pytest.mark.parametrize(
    "document",
    [[], {"mirrors": []}, {"mirrors": {"x": {"endpoint": ["x"]}}}, {"mirrors": {"x": {"endpoint": "http://x"}}}],
)
def test_a_file_that_makes_no_sense_is_refused(document: Any) -> None:
    with pytest.raises(RegistriesError):
        registries.parse(document)


def test_the_file_is_yaml_and_may_be_absent(tmp_path: Path) -> None:
    assert registries.load(tmp_path) == Registries()
    (tmp_path / registries.FILE).write_text("mirrors:\n  docker.io:\n    endpoint: [https://m.example]\n")
    assert urls(registries.load(tmp_path), "docker.io")[0][0] == "https://m.example"
    (tmp_path / registries.FILE).write_text("mirrors: [")
    with pytest.raises(RegistriesError, match="registries.yaml"):
        registries.load(tmp_path)


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_asked"),
    [
        ("", "r.example", True),
        ("r.example", "r.example", False),
        (".example", "r.example", False),
        ("example", "r.example", False),
        ("ample", "r.example", True),
        ("10.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("*", "r.example", False),
        ("r.example:8443", "r.example", True),
        ("r.example:443", "r.example", False),
        ("", "localhost", False),
        ("", "127.0.0.1", False),
    ],
)
def test_a_proxy_is_asked_unless_the_host_is_excepted(no_proxy: str, host: str, is_asked: bool) -> None:
    environment = {"HTTPS_PROXY": "http://user:p%40ss@proxy.example:3128", "no_proxy": no_proxy}
    found = proxies.for_host("https", host, 443, environment)
    assert (found is not None) is is_asked
    if found is not None:
        assert (found.host, found.port) == ("proxy.example", 3128)
        assert found.authorization == "Basic dXNlcjpwQHNz"


def test_challenges_are_read_as_they_come() -> None:
    header = (
        'Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull,push", Basic realm="x, y"'
    )
    bearer, basic = parse_challenges(header)
    assert bearer.scheme == "bearer" and bearer.parameters["scope"] == "repository:a/b:pull,push"
    assert basic.scheme == "basic" and basic.parameters == {"realm": "x, y"}
    assert parse_challenges("") == [] and parse_challenges('"') == []
