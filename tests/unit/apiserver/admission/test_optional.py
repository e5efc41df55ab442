"""What plugins do that an operator has to ask for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import CONFIGMAPS, NAMESPACES, PODS, SERVICES, Resource
from apiserver.admission import CREATE, UPDATE, Attributes, Plugin
from apiserver.admission.optional import MODULES, load
from apiserver.admission.served import Served
from apiserver.catalog import Catalog
from apiserver.request_info import User
from tests.support.access import Objects, authorizer_of, granted, rule
from tests.support.admission import FakeCluster, admit

JANE = User("jane")


def loaded(name: str, *roles: Object) -> Plugin:
    return load(name, authorizer_of(Objects(*roles)), Served(Catalog()))


async def admitted(
    plugin: Plugin,
    obj: Object,
    *,
    resource: Resource = PODS,
    old: Object | None = None,
    annotations: dict[str, str] | None = None,
) -> Any:
    """What becomes of a write to a namespace with these annotations."""
    attributes = Attributes(CREATE if old is None else UPDATE, resource, "a", "x", JANE, obj, old)
    namespace = {"metadata": {"name": "a", "annotations": annotations or {}}}
    return (await admit(plugin, attributes, FakeCluster((NAMESPACES, namespace)))).obj


async def refusal(plugin: Plugin, obj: Object, **more: Any) -> str:
    with pytest.raises(ApiError) as caught:
        await admitted(plugin, obj, **more)
    return caught.value.message


def pod(image: str = "i", *, metadata: Object | None = None, **spec: Any) -> Object:
    containers = [{"name": "c", "image": image, "imagePullPolicy": "IfNotPresent"}]
    return {"metadata": {"name": "x", **(metadata or {})}, "spec": {"containers": containers, **spec}}


@pytest.mark.parametrize("name", MODULES)
def test_each_is_called_as_kubernetes_calls_it(name: str) -> None:
    assert loaded(name).name == name


async def test_images_are_always_pulled() -> None:
    plugin = loaded("AlwaysPullImages")
    made = await admitted(plugin, pod(volumes=[{"name": "v", "image": {"reference": "i"}}, {"name": "w"}]))
    assert made["spec"]["containers"][0]["imagePullPolicy"] == "Always"
    assert made["spec"]["volumes"][0]["image"]["pullPolicy"] == "Always"
    kept = await admitted(plugin, pod(), old=pod())
    assert kept["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    changed = await admitted(plugin, pod("j"), old=pod())
    assert changed["spec"]["containers"][0]["imagePullPolicy"] == "Always"
    attributes = Attributes(CREATE, PODS, "a", "x", JANE, pod())
    assert plugin.validate is not None
    with pytest.raises(ApiError) as caught:
        await plugin.validate(attributes, FakeCluster())
    assert caught.value.message == (
        'pods "x" is forbidden: spec.containers[0].imagePullPolicy: Unsupported value: "IfNotPresent": '
        'supported values: "Always"'
    )


async def test_services_take_no_addresses_that_they_have_not_had() -> None:
    plugin = loaded("DenyServiceExternalIPs")

    def service(*addresses: str) -> Object:
        return {"metadata": {"name": "x"}, "spec": {"externalIPs": list(addresses)}}

    told = 'services "x" is forbidden: Use of external IPs is denied by admission control'
    assert await refusal(plugin, service("1.2.3.4"), resource=SERVICES) == told
    assert await refusal(plugin, service("1.2.3.4", "5"), resource=SERVICES, old=service("1.2.3.4")) == told
    await admitted(plugin, service("1.2.3.4"), resource=SERVICES, old=service("1.2.3.4", "5"))
    await admitted(plugin, service(), resource=SERVICES)


async def test_who_asks_for_devices_tolerates_nodes_that_are_kept_for_them() -> None:
    plugin = loaded("ExtendedResourceToleration")
    asking = {"name": "c", "resources": {"requests": {"example.com/gpu": "1", "cpu": "1", "a.b/fpga": "1"}}}
    made = await admitted(plugin, pod(containers=[asking], initContainers=[asking]))
    assert made["spec"]["tolerations"] == [
        {"key": key, "operator": "Exists", "effect": "NoSchedule"} for key in ("a.b/fpga", "example.com/gpu")
    ]
    assert "tolerations" not in (await admitted(plugin, pod()))["spec"]


async def test_pods_keep_others_off_their_node_alone() -> None:
    plugin = loaded("LimitPodHardAntiAffinityTopology")

    def apart(key: str) -> Object:
        rules = {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": key}]}
        return pod(affinity={"podAntiAffinity": rules})

    await admitted(plugin, apart("kubernetes.io/hostname"))
    assert await refusal(plugin, apart("zone")) == (
        'pods "x" is forbidden: affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key '
        "kubernetes.io/hostname is allowed"
    )


async def test_a_namespace_says_on_which_nodes_its_pods_run() -> None:
    plugin = loaded("PodNodeSelector")
    said = {"scheduler.alpha.kubernetes.io/node-selector": "disk=ssd, zone=a"}
    made = await admitted(plugin, pod(nodeSelector={"zone": "a", "own": "b"}), annotations=said)
    assert made["spec"]["nodeSelector"] == {"disk": "ssd", "zone": "a", "own": "b"}
    assert await refusal(plugin, pod(nodeSelector={"zone": "b"}), annotations=said) == (
        'pods "x" is forbidden: pod node label selector conflicts with its namespace node label selector'
    )
    assert "nodeSelector" not in (await admitted(plugin, pod()))["spec"]
    wrong = {"scheduler.alpha.kubernetes.io/node-selector": "disk"}
    assert "invalid selector" in await refusal(plugin, pod(), annotations=wrong)


async def test_a_namespace_says_what_its_pods_tolerate() -> None:
    plugin = loaded("PodTolerationRestriction")
    spot = {"key": "spot", "operator": "Exists"}
    said = {"scheduler.alpha.kubernetes.io/defaultTolerations": json.dumps([spot])}
    assert (await admitted(plugin, pod(), annotations=said))["spec"]["tolerations"] == [spot]
    memory = {"containers": [{"name": "c", "resources": {"requests": {"memory": "1Mi"}}}]}
    pressed = {"key": "node.kubernetes.io/memory-pressure", "operator": "Exists", "effect": "NoSchedule"}
    assert (await admitted(plugin, pod(**memory)))["spec"]["tolerations"] == [pressed]
    allowed = {"scheduler.alpha.kubernetes.io/tolerationsWhitelist": json.dumps([spot])}
    await admitted(plugin, pod(tolerations=[{"key": "spot", "effect": "NoSchedule"}]), annotations=allowed)
    assert await refusal(plugin, pod(tolerations=[{"operator": "Exists"}]), annotations=allowed) == (
        "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist"
    )
    broken = {"scheduler.alpha.kubernetes.io/defaultTolerations": "["}
    assert "is no JSON" in await refusal(plugin, pod(), annotations=broken)


OWNER = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "u"}
BLOCKING = {**OWNER, "blockOwnerDeletion": True}


def owned(*owners: Object) -> Object:
    return {"metadata": {"name": "x", "ownerReferences": list(owners)}}


async def test_only_who_may_delete_an_object_gives_it_another_owner() -> None:
    plugin = loaded("OwnerReferencesPermissionEnforcement")
    await admitted(plugin, owned(OWNER), resource=CONFIGMAPS)
    await admitted(plugin, owned(OWNER), resource=CONFIGMAPS, old=owned(OWNER))
    told = await refusal(plugin, owned(OWNER), resource=CONFIGMAPS, old=owned())
    assert told.startswith('configmaps "x" is forbidden: cannot set an ownerRef on a resource you can\'t delete: ')
    may = granted(rule("delete", "configmaps"), to="jane")
    await admitted(
        loaded("OwnerReferencesPermissionEnforcement", *may), owned(OWNER), resource=CONFIGMAPS, old=owned()
    )


async def test_only_who_may_change_its_finalizers_makes_an_owner_wait() -> None:
    plugin = loaded("OwnerReferencesPermissionEnforcement")
    told = await refusal(plugin, owned(BLOCKING), resource=CONFIGMAPS)
    assert told.startswith(
        'configmaps "x" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a resource you '
        "can't set finalizers on: "
    )
    unknown = {**BLOCKING, "kind": "Nothing"}
    assert "because cannot find RESTMapping for APIVersion apps/v1 Kind Nothing" in await refusal(
        plugin, owned(unknown), resource=CONFIGMAPS
    )
    for allowed in (rule("update", "replicasets/finalizers", "apps", names="r"), rule("update", "*/finalizers", "*")):
        may = loaded("OwnerReferencesPermissionEnforcement", *granted(allowed, to="jane"))
        await admitted(may, owned(BLOCKING), resource=CONFIGMAPS)
