"""ResourceQuotas: what is charged, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import (
    CONFIGMAPS,
    EVENTS,
    NAMESPACES,
    PERSISTENTVOLUMECLAIMS,
    PODS,
    RESOURCEQUOTAS,
    SERVICES,
    Resource,
)
from apiserver.admission.covering_quota import Limited
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Chain, validate
from apiserver.admission.resource_quota import plugins
from apiserver.request_info import User
from apiserver.storage.entry import Entry
from tests.support.admission import FakeCluster

JANE = User("jane", "", (), ())
NOW = 1_750_000_000.0


def quota(name: str, hard: dict[str, str], used: dict[str, str] | None = None, **spec: Any) -> Object:
    """A quota that the controller has seen; nothing is used unless it is said."""
    status = {"hard": hard, "used": dict.fromkeys(hard, "0") if used is None else used}
    metadata = {"name": name, "namespace": "default", "resourceVersion": "5"}
    return {"metadata": metadata, "spec": {"hard": hard, **spec}, "status": status}


def pod(*containers: Object, **spec: Any) -> Object:
    listed = list(containers) or [container()]
    return {"metadata": {"name": "a"}, "spec": {"containers": listed, **spec}, "status": {"qosClass": "Burstable"}}


def container(name: str = "c", *, requests: Any = None, limits: Any = None) -> Object:
    return {"name": name, "resources": {"requests": requests or {}, "limits": limits or {}}}


def asked(obj: Object, resource: Resource = PODS, old: Object | None = None, subresource: str = "") -> Attributes:
    operation = CREATE if old is None else UPDATE
    return Attributes(operation, resource, "default", "a", JANE, obj, old, subresource)


class Quotas:
    """A namespace with quotas, to which writes are charged one after the other."""

    def __init__(self, *quotas: Object, limited: Sequence[Limited] = ()) -> None:
        self._cluster = FakeCluster(*((RESOURCEQUOTAS, one) for one in quotas))
        self._chain = Chain(plugins(lambda: NOW, limited))
        self.written: list[str] = []

    async def charge(self, attributes: Attributes) -> None:
        await validate(self._chain, attributes, self._cluster)
        if attributes.also is None:
            return
        for side in attributes.also(self._look):
            self.written.append(side.name)
            self._cluster.put(RESOURCEQUOTAS, orjson.loads(side.encode(6)))

    def _look(self, resource: str, namespace: str, name: str) -> Entry | None:
        assert resource == "core/resourcequotas"
        found = self._cluster.get(RESOURCEQUOTAS, namespace, name)
        return None if found is None else Entry(namespace, name, 5, orjson.dumps(found))

    def used(self, name: str = "q") -> Any:
        found = self._cluster.get(RESOURCEQUOTAS, "default", name)
        assert found is not None
        return found["status"]["used"]

    async def refusal(self, attributes: Attributes) -> str:
        before = list(self.written)
        with pytest.raises(ApiError) as caught:
            await self.charge(attributes)
        assert (caught.value.code, caught.value.reason) == (403, "Forbidden")
        assert self.written == before
        prefix = f'{attributes.resource.group_resource} "a" is forbidden: '
        assert caught.value.message.startswith(prefix)
        return caught.value.message.removeprefix(prefix)


async def test_what_is_created_is_charged_until_there_is_no_more():
    quotas = Quotas(quota("q", {"pods": "3", "requests.cpu": "1", "limits.memory": "4Gi", "secrets": "1"}))
    some = pod(container(requests={"cpu": "400m"}, limits={"memory": "1Gi"}))
    await quotas.charge(asked(some))
    await quotas.charge(asked(some))
    assert quotas.used() == {"pods": "2", "requests.cpu": "800m", "limits.memory": "2Gi", "secrets": "0"}
    assert await quotas.refusal(asked(some)) == (
        "exceeded quota: q, requested: requests.cpu=400m, used: requests.cpu=800m, limited: requests.cpu=1"
    )
    large = pod(container(requests={"cpu": "1500m"}, limits={"memory": "8Gi"}))
    assert await quotas.refusal(asked(large)) == (
        "exceeded quota: q, requested: limits.memory=8Gi,requests.cpu=1500m, "
        "used: limits.memory=2Gi,requests.cpu=800m, limited: limits.memory=4Gi,requests.cpu=1"
    )


async def test_all_quotas_must_allow_it():
    quotas = Quotas(quota("a", {"pods": "5"}), quota("b", {"pods": "1"}), quota("c", {"services": "1"}))
    await quotas.charge(asked(pod()))
    assert quotas.written == ["a", "b"]
    assert await quotas.refusal(asked(pod())) == "exceeded quota: b, requested: pods=1, used: pods=1, limited: pods=1"


async def test_a_quota_that_the_controller_has_not_seen():
    fresh = {"metadata": {"name": "q", "namespace": "default"}, "spec": {"hard": {"pods": "0"}}, "status": {}}
    await Quotas(fresh).charge(asked(pod()))
    half = quota("q", {"pods": "5", "cpu": "1"}, {"pods": "0"})
    told = await Quotas(half).refusal(asked(pod(container(requests={"cpu": "1"}))))
    assert told == "status unknown for quota: q, resources: cpu,pods"


@pytest.mark.parametrize(
    ("hard", "containers", "told"),
    [
        (["cpu"], [container("a"), container("b", requests={"cpu": "1"}), container("c")], "cpu for: a,c"),
        (["requests.cpu", "limits.memory"], [container("a")], "limits.memory for: a; requests.cpu for: a"),
        (["limits.cpu"], [container("a", requests={"cpu": "1"})], "limits.cpu for: a"),
    ],
)
async def test_where_cpu_and_memory_are_limited_containers_must_say_how_much_they_want(hard, containers, told):
    quotas = Quotas(quota("q", dict.fromkeys(hard, "10")))
    assert await quotas.refusal(asked(pod(*containers))) == f"failed quota: q: must specify {told}"


async def test_other_resources_need_not_be_said():
    quotas = Quotas(quota("q", {"requests.ephemeral-storage": "1Gi", "requests.example.com/gpu": "1"}))
    await quotas.charge(asked(pod()))
    assert quotas.written == []


async def test_a_resize_charges_what_is_more():
    small, large = (pod(container(requests={"cpu": amount})) for amount in ("1", "3"))
    quotas = Quotas(quota("q", {"cpu": "4", "pods": "1"}, {"cpu": "2", "pods": "1"}))
    await quotas.charge(asked(small, old=large, subresource="resize"))
    assert quotas.written == []
    await quotas.charge(asked(large, old=small, subresource="resize"))
    assert quotas.used() == {"cpu": "4", "pods": "1"}
    told = await quotas.refusal(asked(large, old=small, subresource="resize"))
    assert told == "exceeded quota: q, requested: cpu=2, used: cpu=4, limited: cpu=4"
    # Nothing else that is changed of a pod changes what it uses.
    await quotas.charge(asked(large, old=small))
    await quotas.charge(asked(large, old=small, subresource="status"))
    assert quotas.written == ["q"]


async def test_who_comes_into_a_scope_is_charged_whole():
    high = {"matchExpressions": [{"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["fast"]}]}
    quotas = Quotas(quota("q", {"persistentvolumeclaims": "1"}, scopeSelector=high))
    spec = {"resources": {"requests": {"storage": "1Gi"}}}
    slow = {"metadata": {"name": "a"}, "spec": spec}
    fast = {"metadata": {"name": "a"}, "spec": {**spec, "volumeAttributesClassName": "fast"}}
    await quotas.charge(asked(fast, PERSISTENTVOLUMECLAIMS, slow))
    assert quotas.used() == {"persistentvolumeclaims": "1"}
    await quotas.charge(asked(fast, PERSISTENTVOLUMECLAIMS, fast))
    assert quotas.written == ["q"]


async def test_what_has_come_about_is_charged_without_a_question():
    def claim(allocated: str) -> Object:
        status = {"allocatedResources": {"storage": allocated}}
        return {"metadata": {"name": "a"}, "spec": {"resources": {"requests": {"storage": "1Gi"}}}, "status": status}

    quotas = Quotas(quota("q", {"requests.storage": "1Gi"}, {"requests.storage": "1Gi"}))
    await quotas.charge(asked(claim("3Gi"), PERSISTENTVOLUMECLAIMS, claim("1Gi"), "status"))
    assert quotas.used() == {"requests.storage": "3Gi"}


async def test_a_service_that_becomes_another_kind_is_charged():
    def service(kind: str) -> Object:
        return {"metadata": {"name": "a"}, "spec": {"type": kind, "ports": [{"port": 80}]}}

    quotas = Quotas(quota("q", {"services.nodeports": "1", "services.loadbalancers": "0"}))
    await quotas.charge(asked(service("NodePort"), SERVICES, service("ClusterIP")))
    assert quotas.used() == {"services.nodeports": "1", "services.loadbalancers": "0"}
    told = await quotas.refusal(asked(service("LoadBalancer"), SERVICES, service("NodePort")))
    assert told.startswith("exceeded quota: q, requested: services.loadbalancers=1")


async def test_any_object_can_be_counted():
    widgets = Resource("example.com", "v1", "Widget", "widgets", "widget")
    quotas = Quotas(quota("q", {"count/widgets.example.com": "1", "count/configmaps": "1", "count/events": "0"}))
    await quotas.charge(asked({"metadata": {"name": "a"}}, widgets))
    await quotas.charge(asked({"metadata": {"name": "a"}}, CONFIGMAPS))
    assert "requested: count/widgets.example.com=1" in await quotas.refusal(asked({"metadata": {}}, widgets))
    # What is changed is there already, and events are told as long as there is something to tell.
    await quotas.charge(asked({"metadata": {}}, CONFIGMAPS, {"metadata": {}}))
    await quotas.charge(asked({"metadata": {}}, EVENTS))
    assert len(quotas.written) == 2


async def test_nobody_else_is_concerned():
    quotas = Quotas(quota("q", {"count/namespaces": "0"}))
    await quotas.charge(Attributes(CREATE, NAMESPACES, "", "a", JANE, {"metadata": {"name": "a"}}))
    binding = asked({"metadata": {"name": "a"}}, subresource="binding")
    await quotas.charge(binding)
    assert quotas.written == [] and binding.also is None


# What nobody may use without a quota

HIGH = {"scopeName": "PriorityClass", "operator": "In", "values": ["high", "higher"]}


async def test_what_is_limited_needs_a_quota_that_covers_it():
    limited = [Limited(PODS.key, contains=("memory",))]
    some = container(requests={"memory": "1Gi", "cpu": "1"})
    told = await Quotas(limited=limited).refusal(asked(pod(some)))
    assert told == "insufficient quota to consume: memory,requests.memory"
    told = await Quotas(quota("q", {"requests.memory": "8Gi"}), limited=limited).refusal(asked(pod(some)))
    assert told == "insufficient quota to consume: memory"
    await Quotas(quota("q", {"requests.memory": "8Gi", "memory": "8Gi"}), limited=limited).charge(asked(pod(some)))
    await Quotas(limited=limited).charge(asked(pod(container(requests={"cpu": "1"}))))
    await Quotas(limited=limited).charge(asked({"metadata": {"name": "a"}}, CONFIGMAPS))


async def test_a_class_may_be_kept_for_namespaces_with_a_quota_for_it():
    limited = [Limited(PODS.key, scopes=(HIGH,))]
    high = asked(pod(priorityClassName="high"))
    told = "insufficient quota to match these scopes: [{PriorityClass In [high higher]}]"
    other = quota("q", {"pods": "1"}, scopeSelector={"matchExpressions": [{**HIGH, "values": ["low"]}]})
    for quotas in (Quotas(limited=limited), Quotas(other, limited=limited)):
        with pytest.raises(ApiError) as caught:
            await quotas.charge(high)
        assert (caught.value.code, caught.value.message) == (500, told)
    await Quotas(limited=limited).charge(asked(pod(priorityClassName="low")))
    covering = quota("q", {"pods": "1"}, scopeSelector={"matchExpressions": [HIGH]})
    await Quotas(covering, limited=limited).charge(high)
