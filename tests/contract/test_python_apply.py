"""Server-side apply with Python's clients: kubernetes, kubernetes-asyncio and lightkube."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from apimachinery.resources import NAMESPACES
from tests.support.apiserver import ApiServerProcess, running

NAMESPACE = "python-apply"
APPLY = "application/apply-patch+yaml"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("python-apply")) as process:
        asyncio.run(_prepare(process))
        yield process


async def _prepare(process: ApiServerProcess) -> None:
    await process.wait_ready()
    async with await process.client() as client:
        await client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})


def config(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


def test_the_dynamic_client_applies_and_is_told_of_conflicts(server: ApiServerProcess) -> None:
    kubernetes = pytest.importorskip("kubernetes", reason="the package kubernetes is not installed")
    from kubernetes.dynamic import DynamicClient
    from kubernetes.dynamic.exceptions import ConflictError

    api = kubernetes.config.new_client_from_config(str(server.kubeconfig))
    maps = DynamicClient(api).resources.get(api_version="v1", kind="ConfigMap")
    made = maps.server_side_apply(body=config("dynamic", a="1"), field_manager="one")
    assert made.metadata.managedFields[0].to_dict()["fieldsV1"] == {"f:data": {"f:a": {}}}
    with pytest.raises(ConflictError, match='conflict with \\\\"one\\\\": .data.a'):
        maps.server_side_apply(body=config("dynamic", a="2"), field_manager="two")
    body = config("dynamic", a="2")
    assert maps.server_side_apply(body=body, field_manager="two", force_conflicts=True).data.a == "2"


def test_the_typed_client_shows_managers_and_sends_them_back(server: ApiServerProcess) -> None:
    kubernetes = pytest.importorskip("kubernetes", reason="the package kubernetes is not installed")
    core = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(str(server.kubeconfig)))
    core.create_namespaced_config_map(NAMESPACE, config("typed", a="1"), field_manager="maker")
    found = core.read_namespaced_config_map("typed", NAMESPACE)
    (entry,) = found.metadata.managed_fields
    assert (entry.manager, entry.operation, entry.fields_v1) == ("maker", "Update", {"f:data": {".": {}, "f:a": {}}})
    found.data["b"] = "2"
    replaced = core.replace_namespaced_config_map("typed", NAMESPACE, found, field_manager="other")
    assert [entry.manager for entry in replaced.metadata.managed_fields] == ["maker", "other"]


async def test_kubernetes_asyncio_applies(server: ApiServerProcess) -> None:
    package = pytest.importorskip("kubernetes_asyncio", reason="the package kubernetes_asyncio is not installed")
    await package.config.load_kube_config(str(server.kubeconfig))
    async with package.client.ApiClient() as api:
        core = package.client.CoreV1Api(api)
        options = {"field_manager": "aio", "force": True, "_content_type": APPLY}
        made = await core.patch_namespaced_config_map("aio", NAMESPACE, config("aio", a="1"), **options)
        assert made.data == {"a": "1"}
        changed = await core.patch_namespaced_config_map("aio", NAMESPACE, config("aio", b="1"), **options)
        assert changed.data == {"b": "1"}


def test_lightkube_applies_typed_objects(server: ApiServerProcess) -> None:
    lightkube = pytest.importorskip("lightkube", reason="the package lightkube is not installed")
    from lightkube.core.exceptions import ApiError
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import ConfigMap

    settings = lightkube.KubeConfig.from_file(str(server.kubeconfig)).get()
    client = lightkube.Client(settings, namespace=NAMESPACE, field_manager="light")

    def typed(**data: str) -> Any:
        meta = ObjectMeta(name="light", namespace=NAMESPACE)
        return ConfigMap(metadata=meta, data=data, kind="ConfigMap", apiVersion="v1")

    assert client.apply(typed(a="1", b="2")).data == {"a": "1", "b": "2"}
    assert client.apply(typed(a="1")).data == {"a": "1"}
    with pytest.raises(ApiError) as error:
        client.apply(typed(a="9"), field_manager="other")
    assert error.value.status.reason == "Conflict"
    assert client.apply(typed(a="9"), field_manager="other", force=True).data == {"a": "9"}
