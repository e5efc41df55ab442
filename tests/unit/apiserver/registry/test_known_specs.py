"""Equal specs of pods are looked at once, and nothing that is wrong gets through for that."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from apimachinery.resources import PODS
from apiserver.registry import known_specs, pods
from apiserver.registry.pod_spec import validate_pod_spec
from tests.unit.apiserver.registry.factories import container_pod, created, pod


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the pods whose specs are looked at."""
    names: list[str] = []

    def check(spec: Any, pod_name: str, *rest: Any, **options: Any) -> None:
        names.append(pod_name)
        validate_pod_spec(spec, pod_name, *rest, **options)

    monkeypatch.setattr(pods, "validate_pod_spec", check)
    monkeypatch.setattr(known_specs, "_known", {})
    return names


def problems(name: str, made: Any) -> list[str]:
    made = copy.deepcopy(made)
    made["metadata"]["name"] = name
    return [error.message() for error in pods.validate(created(PODS, made))]


def with_token(drawn: str, mounted: str = "") -> Any:
    mount = {"name": f"kube-api-access-{mounted or drawn}", "mountPath": "/token"}
    made = container_pod(volumeMounts=[mount])
    made["spec"]["volumes"] = [{"name": f"kube-api-access-{drawn}", "emptyDir": {}}]
    return made


def test_of_pods_with_one_spec_one_is_looked_at(checked: list[str]) -> None:
    assert not problems("a", pod()) and not problems("b", pod())
    assert not problems("c", with_token("abcde")) and not problems("d", with_token("x7k2p"))
    assert checked == ["a", "c"]


def test_a_spec_that_is_wrong_is_wrong_each_time(checked: list[str]) -> None:
    wrong = pod(hostname="Not_a_label")
    assert problems("a", wrong) and problems("b", wrong)
    assert checked == ["a", "b"]


def test_a_mount_of_no_volume_is_found_though_only_its_name_differs(checked: list[str]) -> None:
    assert not problems("a", with_token("abcde"))
    assert problems("b", with_token("abcde", mounted="x7k2p"))
    assert problems("c", with_token("x7k2p", mounted="abcde"))


def test_where_the_rules_go_by_the_pods_name_every_pod_is_looked_at(checked: list[str]) -> None:
    claim = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    made = pod(volumes=[{"name": "v", "ephemeral": {"volumeClaimTemplate": claim}}])
    assert not problems("a", made)
    assert problems("a" * 253, made)


def test_only_so_many_specs_are_remembered(checked: list[str]) -> None:
    for number in range(known_specs.SPECS_MAX + 1):
        assert not problems(str(number), pod(hostname=f"h{number}"))
    assert not problems("newest", pod(hostname=f"h{known_specs.SPECS_MAX}"))
    assert not problems("oldest", pod(hostname="h0"))
    assert checked[-1] == "oldest" and "newest" not in checked
    assert not problems("long", pod(hostAliases=[{"ip": "10.0.0.1", "hostnames": ["name"] * 5000}]))
    assert not problems("again", pod(hostAliases=[{"ip": "10.0.0.1", "hostnames": ["name"] * 5000}]))
    assert checked[-2:] == ["long", "again"]
