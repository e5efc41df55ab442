"""Environments of containers: where values come from, what overrides what, what is said when they are missing."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import pytest

from apimachinery.meta import Object
from kubelet.containers.environment import EnvironmentFailure, container_environment, expand

POD: Object = {
    "metadata": {
        "name": "web",
        "namespace": "default",
        "uid": "u-1",
        "labels": {"app": "web", "example.com/tier": "front"},
        "annotations": {"note": 'say "hi"\n'},
    },
    "spec": {
        "nodeName": "node-1",
        "serviceAccountName": "runner",
        "containers": [
            {"name": "main", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi"}}},
            {"name": "side", "resources": {"requests": {"cpu": "250m", "memory": "10M"}}},
        ],
    },
}
NODE: Object = {"status": {"allocatable": {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "100Gi"}}}


class Stored:
    """ConfigMaps and Secrets of the namespace `default`; counts what is asked for."""

    def __init__(self, config_maps: dict[str, Any] | None = None, secrets: dict[str, bytes] | None = None) -> None:
        self.config_maps = config_maps or {}
        self.secrets = secrets or {}
        self.asked: list[str] = []

    async def config_map(self, namespace: str, name: str) -> Object | None:
        self.asked.append(f"configmap/{name}")
        data = self.config_maps.get(name)
        return None if data is None else {"data": data}

    async def secret(self, namespace: str, name: str) -> Object | None:
        self.asked.append(f"secret/{name}")
        data = self.secrets.get(name)
        if data is None:
            return None
        return {"data": {key: base64.b64encode(value).decode() for key, value in data.items()}}


async def environment(
    container: Object, objects: Stored | None = None, services: Sequence[tuple[str, str]] = ()
) -> list[tuple[str, str]]:
    return await container_environment(
        POD,
        {"name": "main", **container},
        objects=objects or Stored(),
        pod_ip="10.1.0.2",
        host_ip="192.0.2.1",
        node=NODE,
        services=services,
    )


def env(name: str, **value_from: Any) -> Object:
    return {"name": name, "valueFrom": value_from}


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("$(A)$(B)", "1two"),
        ("x-$(A)-y", "x-1-y"),
        ("$(MISSING)", "$(MISSING)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$$$$(A)", "$$(A)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$(A$(B)", "$(A$(B)"),
        ("$$", "$"),
        ("$()", "$()"),
        ("", ""),
    ],
)
def test_references_are_expanded_once_and_unknown_ones_stay(text: str, expanded: str) -> None:
    assert expand([text], [("A", "1"), ("B", "two")]) == [expanded]


async def test_variables_see_those_declared_before_them() -> None:
    container = {
        "env": [
            {"name": "HOST", "value": "db"},
            {"name": "URL", "value": "pg://$(HOST):$(PORT)/"},
            {"name": "PORT", "value": "5432"},
            {"name": "LATER", "value": "$(URL)"},
            {"name": "EMPTY"},
        ]
    }
    assert await environment(container) == [
        ("HOST", "db"),
        ("URL", "pg://db:$(PORT)/"),
        ("PORT", "5432"),
        ("LATER", "pg://db:$(PORT)/"),
        ("EMPTY", ""),
    ]


async def test_env_overrides_env_from_and_later_sources_override_earlier_ones() -> None:
    objects = Stored({"one": {"A": "1", "B": "1", "C": "1"}, "two": {"B": "2", "C": "2"}})
    container = {
        "envFrom": [{"configMapRef": {"name": "one"}}, {"configMapRef": {"name": "two"}}],
        "env": [{"name": "C", "value": "$(C)3"}],
    }
    assert dict(await environment(container, objects)) == {"A": "1", "B": "2", "C": "23"}


async def test_env_from_takes_a_prefix() -> None:
    objects = Stored({"settings": {"port": "80"}}, {"keys": {"token": b"s3cret"}})
    container = {
        "envFrom": [
            {"prefix": "APP_", "configMapRef": {"name": "settings"}},
            {"prefix": "KEY_", "secretRef": {"name": "keys"}},
        ]
    }
    assert await environment(container, objects) == [("APP_port", "80"), ("KEY_token", "s3cret")]


async def test_bytes_of_a_secret_that_are_no_text_reach_the_process_as_they_are() -> None:
    objects = Stored(secrets={"keys": {"raw": b"\xff\x01"}})
    container = {"env": [env("RAW", secretKeyRef={"name": "keys", "key": "raw"})]}
    [(_, value)] = await environment(container, objects)
    assert value.encode(errors="surrogateescape") == b"\xff\x01"


async def test_each_object_is_asked_for_once() -> None:
    objects = Stored({"c": {"x": "1", "y": "2"}})
    reference = {"configMapRef": {"name": "c"}}
    keys = [env(key.upper(), configMapKeyRef={"name": "c", "key": key}) for key in ("x", "y")]
    await environment({"envFrom": [reference], "env": keys}, objects)
    assert objects.asked == ["configmap/c"]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['example.com/tier']", "front"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['note']", 'say "hi"\n'),
        ("metadata.labels", 'app="web"\nexample.com/tier="front"'),
        ("metadata.annotations", r'note="say \"hi\"\n"'),
        ("spec.nodeName", "node-1"),
        ("spec.serviceAccountName", "runner"),
        ("status.podIP", "10.1.0.2"),
        ("status.podIPs", "10.1.0.2"),
        ("status.hostIP", "192.0.2.1"),
        ("status.hostIPs", "192.0.2.1"),
    ],
)
async def test_fields_of_the_pod(path: str, value: str) -> None:
    assert await environment({"env": [env("X", fieldRef={"fieldPath": path})]}) == [("X", value)]


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ({"resource": "limits.cpu"}, "2"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "1500"),
        ({"resource": "limits.memory"}, "67108864"),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "64"),
        ({"resource": "limits.memory", "divisor": "1G"}, "1"),
        ({"resource": "limits.memory", "divisor": "0"}, "67108864"),
        ({"resource": "limits.ephemeral-storage", "divisor": "1Gi"}, "100"),
        ({"resource": "requests.cpu"}, "0"),
        ({"resource": "requests.cpu", "containerName": "side", "divisor": "1m"}, "250"),
        ({"resource": "requests.memory", "containerName": "side"}, "10000000"),
        ({"resource": "limits.memory", "containerName": "side", "divisor": "1Gi"}, "8"),
        ({"resource": "limits.hugepages-2Mi"}, "0"),
    ],
)
async def test_resources_of_a_container_in_units_of_the_divisor(reference: Object, value: str) -> None:
    container = {**POD["spec"]["containers"][0], "env": [env("X", resourceFieldRef=reference)]}
    assert await environment(container) == [("X", value)]


async def test_what_is_optional_and_missing_is_left_out() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "none", "optional": True}}],
        "env": [
            env("A", configMapKeyRef={"name": "none", "key": "k", "optional": True}),
            env("B", configMapKeyRef={"name": "c", "key": "none", "optional": True}),
            env("C", secretKeyRef={"name": "none", "key": "k", "optional": True}),
            {"name": "D", "value": "$(A)"},
        ],
    }
    assert await environment(container, Stored({"c": {}})) == [("D", "$(A)")]


@pytest.mark.parametrize(
    ("container", "message"),
    [
        ({"envFrom": [{"configMapRef": {"name": "x"}}]}, 'configmap "x" not found'),
        ({"envFrom": [{"secretRef": {"name": "x"}}]}, 'secret "x" not found'),
        ({"env": [env("A", secretKeyRef={"name": "x", "key": "k"})]}, 'secret "x" not found'),
        (
            {"env": [env("A", configMapKeyRef={"name": "c", "key": "k"})]},
            "couldn't find key k in ConfigMap default/c",
        ),
        ({"env": [env("A", secretKeyRef={"name": "s", "key": "k"})]}, "couldn't find key k in Secret default/s"),
        ({"env": [env("A", fieldRef={"fieldPath": "spec.x"})]}, "field label not supported: spec.x"),
        (
            {"env": [env("A", fieldRef={"fieldPath": "spec.x['y']"})]},
            "field label does not support subscript: spec.x['y']",
        ),
        (
            {"env": [env("A", resourceFieldRef={"resource": "limits.gpu"})]},
            "unsupported container resource : limits.gpu",
        ),
        (
            {"env": [env("A", resourceFieldRef={"resource": "limits.cpu", "containerName": "zz"})]},
            "container zz not found",
        ),
        ({"env": [{"name": "A", "value": "a\0b"}]}, 'environment variable "A" contains a null byte'),
    ],
)
async def test_what_is_missing_or_unknown_is_said_in_kubernetes_words(container: Object, message: str) -> None:
    with pytest.raises(EnvironmentFailure) as failure:
        await environment(container, Stored({"c": {}}, {"s": {}}))
    assert failure.value.reason == "CreateContainerConfigError"
    assert failure.value.message == message


async def test_services_can_be_referred_to_and_overridden() -> None:
    services = [("KUBERNETES_SERVICE_HOST", "10.0.0.1"), ("KUBERNETES_SERVICE_PORT", "6443")]
    declared = [
        {"name": "URL", "value": "https://$(KUBERNETES_SERVICE_HOST):$(KUBERNETES_SERVICE_PORT)"},
        {"name": "KUBERNETES_SERVICE_PORT", "value": "443"},
        {"name": "PORT", "value": "$(KUBERNETES_SERVICE_PORT)"},
    ]
    assert await environment({"env": declared}, services=services) == [
        ("URL", "https://10.0.0.1:6443"),
        ("KUBERNETES_SERVICE_PORT", "443"),
        ("PORT", "443"),
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
    ]
