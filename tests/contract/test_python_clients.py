"""Python's other clients against a real API server, as their users write it: kubernetes-asyncio, kr8s, lightkube."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.apiserver import ApiServerProcess, running

NAMESPACE = "python-clients"
WAIT_SECONDS_MAX = 60


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProcess]:
    with running(tmp_path_factory.mktemp("python-clients")) as process:
        asyncio.run(_prepare(process))
        yield process


async def _prepare(process: ApiServerProcess) -> None:
    from apimachinery.resources import NAMESPACES, SERVICEACCOUNTS

    await process.wait_ready()
    async with await process.client() as client:
        await client.create(NAMESPACES, {"metadata": {"name": NAMESPACE}})
        await client.create(SERVICEACCOUNTS, {"metadata": {"name": "default"}}, NAMESPACE)


def deployment(name: str) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {
        **{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name, "namespace": NAMESPACE}},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def config(name: str, **data: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}


# kubernetes-asyncio


@pytest.fixture
async def aio(server: ApiServerProcess) -> AsyncIterator[Any]:
    package = pytest.importorskip("kubernetes_asyncio", reason="the package kubernetes_asyncio is not installed")
    await package.config.load_kube_config(str(server.kubeconfig))
    async with package.client.ApiClient() as api:
        yield package, api


async def test_kubernetes_asyncio_reads_and_writes(aio: Any) -> None:
    package, api = aio
    apps = package.client.AppsV1Api(api)
    made = await apps.create_namespaced_deployment(NAMESPACE, deployment("aio"))
    assert (made.spec.replicas, made.metadata.generation) == (1, 1)
    patched = await apps.patch_namespaced_deployment("aio", NAMESPACE, {"spec": {"replicas": 2}})
    patched.spec.replicas = 3
    assert (await apps.replace_namespaced_deployment("aio", NAMESPACE, patched)).spec.replicas == 3
    scale = await apps.read_namespaced_deployment_scale("aio", NAMESPACE)
    assert scale.spec.replicas == 3
    gone = await apps.delete_namespaced_deployment("aio", NAMESPACE)
    assert gone.status == "Success"


async def test_kubernetes_asyncio_watches(aio: Any) -> None:
    package, api = aio
    core = package.client.CoreV1Api(api)
    since = (await core.list_namespaced_config_map(NAMESPACE)).metadata.resource_version
    seen: list[tuple[str, str]] = []
    async with package.watch.Watch() as watch, asyncio.timeout(WAIT_SECONDS_MAX):
        await core.create_namespaced_config_map(NAMESPACE, config("aio", x="1"))
        await core.patch_namespaced_config_map("aio", NAMESPACE, {"data": {"x": "2"}})
        await core.delete_namespaced_config_map("aio", NAMESPACE)
        listing = core.list_namespaced_config_map
        async for event in watch.stream(listing, NAMESPACE, resource_version=since, timeout_seconds=20):
            seen.append((event["type"], event["object"].data["x"]))
            if event["type"] == "DELETED":
                break
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


# kr8s


@pytest.fixture
async def kr8s_api(server: ApiServerProcess) -> Any:
    package = pytest.importorskip("kr8s", reason="the package kr8s is not installed")
    return await package.asyncio.api(kubeconfig=str(server.kubeconfig), namespace=NAMESPACE)


async def test_kr8s_objects_are_followed_through_their_lives(kr8s_api: Any) -> None:
    from kr8s.asyncio.objects import ConfigMap, Deployment

    web = await Deployment(deployment("kr8s"), api=kr8s_api)
    await web.create()
    assert await web.exists() and web.replicas == 1
    await web.scale(3)
    await web.label(tier="front")
    await web.annotate(note="x")
    await web.refresh()
    assert (web.spec.replicas, web.labels["tier"], web.annotations["note"]) == (3, "front", "x")
    await web.patch([{"op": "replace", "path": "/spec/replicas", "value": 2}], type="json")
    assert web.replicas == 2
    await web.delete()
    assert not await web.exists()
    made = await ConfigMap(config("kr8s", x="1"), api=kr8s_api)
    await made.create()
    assert [cm.name async for cm in kr8s_api.get("configmaps", namespace=NAMESPACE)] == ["kr8s"]
    assert [cm.name async for cm in kr8s_api.get("cm", "kr8s", namespace=NAMESPACE)] == ["kr8s"]
    await made.delete()


async def test_kr8s_watches_and_waits(kr8s_api: Any) -> None:
    from kr8s.asyncio.objects import ConfigMap

    made = await ConfigMap(config("kr8s-watched"), api=kr8s_api)
    await made.create()
    seen = []
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        selector = "metadata.name=kr8s-watched"
        async for kind, _ in kr8s_api.watch("configmaps", namespace=NAMESPACE, field_selector=selector):
            seen.append(kind)
            if kind == "ADDED":
                await made.label(n="1")
            elif kind == "MODIFIED":
                await made.delete()
            else:
                break
    assert seen == ["ADDED", "MODIFIED", "DELETED"]
    pod = {"containers": [{"name": "c", "image": "i:1"}]}
    from kr8s.asyncio.objects import Pod

    solo = await Pod({"metadata": {"name": "kr8s", "namespace": NAMESPACE}, "spec": pod}, api=kr8s_api)
    await solo.create()
    await solo.wait("jsonpath='{.status.phase}'=Pending", timeout=WAIT_SECONDS_MAX)
    assert not await solo.ready()
    await solo.delete()
    await solo.wait("delete", timeout=WAIT_SECONDS_MAX)


async def test_kr8s_asks_what_there_is(kr8s_api: Any) -> None:
    version = await kr8s_api.version()
    assert (version["major"], version["minor"]) == ("1", "35")
    kinds = {(one["name"], one["version"]) for one in await kr8s_api.api_resources()}
    assert {("pods", "v1"), ("deployments", "apps/v1")} <= kinds
    assert (await kr8s_api.whoami()) == "kubernetes-admin"


# lightkube


@pytest.fixture
def light(server: ApiServerProcess) -> Any:
    package = pytest.importorskip("lightkube", reason="the package lightkube is not installed")
    config = package.KubeConfig.from_file(server.kubeconfig)
    return package.Client(config=config, namespace=NAMESPACE, field_manager="tests")


def test_lightkube_reads_and_writes(light: Any) -> None:
    from lightkube.core.exceptions import ApiError
    from lightkube.models.autoscaling_v1 import ScaleSpec
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.apps_v1 import Deployment
    from lightkube.resources.core_v1 import ConfigMap
    from lightkube.types import PatchType

    light.create(ConfigMap(metadata=ObjectMeta(name="light", labels={"a": "b"}), data={"x": "1"}))
    light.patch(ConfigMap, "light", {"data": {"y": "2"}}, patch_type=PatchType.MERGE)
    found = light.get(ConfigMap, "light")
    assert found.data == {"x": "1", "y": "2"}
    found.data = {"z": "3"}
    assert light.replace(found).data == {"z": "3"}
    assert [cm.metadata.name for cm in light.list(ConfigMap, labels={"a": "b"}, chunk_size=1)] == ["light"]
    light.create(Deployment.from_dict(deployment("light")))
    light.replace(
        Deployment.Scale(metadata=ObjectMeta(name="light", namespace=NAMESPACE), spec=ScaleSpec(replicas=4))
    )
    assert light.get(Deployment, "light").spec.replicas == 4
    light.delete(Deployment, "light", cascade=None)
    light.delete(ConfigMap, "light")
    with pytest.raises(ApiError) as caught:
        light.get(ConfigMap, "light")
    assert (caught.value.status.code, caught.value.status.reason) == (404, "NotFound")


def test_lightkube_watches(light: Any) -> None:
    from lightkube.resources.core_v1 import ConfigMap

    light.create(ConfigMap.from_dict(config("light-watched", x="1")))
    light.patch(ConfigMap, "light-watched", {"data": {"x": "2"}})
    light.delete(ConfigMap, "light-watched")
    listed = light.list(ConfigMap)
    assert list(listed) == []
    version = listed.resourceVersion
    light.create(ConfigMap.from_dict(config("light-watched", x="3")))
    for kind, found in light.watch(ConfigMap, resource_version=version, server_timeout=5):
        assert (kind, found.data) == ("ADDED", {"x": "3"})
        break
    light.delete(ConfigMap, "light-watched")
