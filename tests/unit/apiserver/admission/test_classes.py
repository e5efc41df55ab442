"""Classes: of priority, runtime, storage and ingress."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import (
    INGRESSCLASSES,
    INGRESSES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    PRIORITYCLASSES,
    RUNTIMECLASSES,
    STORAGECLASSES,
    Resource,
)
from apiserver.admission import (
    CREATE,
    UPDATE,
    Attributes,
    Plugin,
    default_ingress_class,
    default_storage_class,
    persistent_volume_claim_resize,
    priority,
    runtime_class,
    storage_object_in_use_protection,
)
from apiserver.admission.runtime_class import merge_tolerations
from apiserver.request_info import User
from tests.support.admission import FakeCluster, admit

ADMIN = User("kubernetes-admin", groups=("system:masters",))


def named(name: str = "x", /, **fields: Any) -> Object:
    return {"metadata": {"name": name, **fields.pop("metadata", {})}, **fields}


async def written(
    plugin: Plugin, resource: Resource, obj: Object, *others: tuple[Resource, Object], old: Object | None = None
) -> Object:
    namespace = "default" if resource.namespaced else ""
    operation = UPDATE if old is not None else CREATE
    attributes = Attributes(operation, resource, namespace, obj["metadata"]["name"], ADMIN, obj, old)
    await admit(plugin, attributes, FakeCluster(*others))
    return obj


async def refusal(
    plugin: Plugin, resource: Resource, obj: Object, *others: tuple[Resource, Object], old: Object | None = None
) -> str:
    with pytest.raises(ApiError) as caught:
        await written(plugin, resource, obj, *others, old=old)
    assert caught.value.code == 403
    return caught.value.message


# Priority


def priority_class(name: str, value: int, **fields: Any) -> tuple[Resource, Object]:
    return PRIORITYCLASSES, named(name, value=value, **fields)


async def test_a_pod_without_a_class_is_of_the_default_one():
    default = priority_class("usual", 7, globalDefault=True, preemptionPolicy="Never")
    pod = await written(priority.PLUGIN, PODS, named(spec={}), default, priority_class("high", 9))
    assert pod["spec"] == {"priorityClassName": "usual", "priority": 7, "preemptionPolicy": "Never"}


async def test_without_a_default_a_pod_has_no_class():
    pod = await written(priority.PLUGIN, PODS, named(spec={}), priority_class("high", 9))
    assert pod["spec"] == {"priority": 0, "preemptionPolicy": "PreemptLowerPriority"}


async def test_a_pod_may_say_what_its_class_says():
    spec = {"priorityClassName": "high", "priority": 9, "preemptionPolicy": "Never"}
    high = priority_class("high", 9, preemptionPolicy="Never")
    assert (await written(priority.PLUGIN, PODS, named(spec=dict(spec)), high))["spec"] == spec
    message = await refusal(priority.PLUGIN, PODS, named(spec={**spec, "priority": 8}), high)
    assert "the integer value of priority (8) must not be provided in pod spec" in message


async def test_there_is_one_default_class_of_priority():
    default = priority_class("usual", 7, globalDefault=True)
    message = await refusal(priority.PLUGIN, PRIORITYCLASSES, named("more", value=8, globalDefault=True), default)
    assert message == (
        'priorityclasses.scheduling.k8s.io "more" is forbidden: PriorityClass usual is already marked as default. '
        "Only one default can exist"
    )
    again = named("usual", value=7, globalDefault=True, description="d")
    await written(priority.PLUGIN, PRIORITYCLASSES, again, default, old=default[1])
    await written(priority.PLUGIN, PRIORITYCLASSES, named("more", value=8), default)


# RuntimeClass

SANDBOXED = (
    RUNTIMECLASSES,
    named(
        "sandboxed",
        handler="runsc",
        overhead={"podFixed": {"cpu": "250m", "memory": "120Mi"}},
        scheduling={"nodeSelector": {"sandbox": "yes"}, "tolerations": [{"key": "sandbox", "operator": "Exists"}]},
    ),
)


async def test_a_pod_takes_over_the_overhead_and_the_place_of_its_runtime():
    pod = named(spec={"runtimeClassName": "sandboxed", "nodeSelector": {"disk": "ssd"}})
    made = await written(runtime_class.PLUGIN, PODS, pod, SANDBOXED)
    assert made["spec"]["overhead"] == {"cpu": "250m", "memory": "120Mi"}
    assert made["spec"]["nodeSelector"] == {"disk": "ssd", "sandbox": "yes"}
    assert made["spec"]["tolerations"] == [{"key": "sandbox", "operator": "Exists"}]


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"runtimeClassName": "nope"}, 'pod rejected: RuntimeClass "nope" not found'),
        (
            {"runtimeClassName": "sandboxed", "overhead": {"cpu": "1"}},
            "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
        ),
        (
            {"overhead": {"cpu": "1"}},
            "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead",
        ),
        (
            {"runtimeClassName": "sandboxed", "nodeSelector": {"sandbox": "no"}},
            "conflict: runtimeClass.scheduling.nodeSelector[sandbox] = yes; pod.spec.nodeSelector[sandbox] = no",
        ),
    ],
)
async def test_what_a_pod_says_must_fit_its_runtime(spec, why):
    assert await refusal(runtime_class.PLUGIN, PODS, named(spec=spec), SANDBOXED) == f'pods "x" is forbidden: {why}'


async def test_an_overhead_in_other_words_is_the_same():
    spec = {"runtimeClassName": "sandboxed", "overhead": {"cpu": "0.25", "memory": "122880Ki"}}
    await written(runtime_class.PLUGIN, PODS, named(spec=spec), SANDBOXED)


@pytest.mark.parametrize(
    ("first", "second", "merged"),
    [
        ([], [{"key": "a", "operator": "Exists"}], [{"key": "a", "operator": "Exists"}]),
        # What is included in another one is left out, wherever it stands.
        ([{"key": "a", "value": "1"}], [{"key": "a", "operator": "Exists"}], [{"key": "a", "operator": "Exists"}]),
        ([{"operator": "Exists"}], [{"key": "a", "value": "1", "effect": "NoSchedule"}], [{"operator": "Exists"}]),
        (
            [{"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 5}],
            [{"key": "a", "operator": "Exists", "effect": "NoExecute"}],
            [{"key": "a", "operator": "Exists", "effect": "NoExecute"}],
        ),
        ([{"key": "a", "value": "1"}], [{"key": "a", "value": "2"}], [{"key": "a", "value": v} for v in "12"]),
        ([{"key": "a", "value": "1"}], [{"key": "a", "value": "1"}], [{"key": "a", "value": "1"}]),
    ],
)
def test_tolerations_are_merged(first, second, merged):
    assert merge_tolerations(first, second) == merged


# Storage and ingress


def storage_class(name: str, made: str, *, default: bool = True) -> tuple[Resource, Object]:
    annotations = {"storageclass.kubernetes.io/is-default-class": "true"} if default else {}
    metadata = {"annotations": annotations, "creationTimestamp": made}
    return STORAGECLASSES, named(name, metadata=metadata, allowVolumeExpansion=name == "growing")


async def test_a_claim_is_of_the_newest_default_class():
    classes = [
        storage_class("old", "2024-01-01T00:00:00Z"),
        storage_class("new-b", "2025-01-01T00:00:00Z"),
        storage_class("new-a", "2025-01-01T00:00:00Z"),
        storage_class("other", "2026-01-01T00:00:00Z", default=False),
    ]
    claim = await written(default_storage_class.PLUGIN, PERSISTENTVOLUMECLAIMS, named(spec={}), *classes)
    assert claim["spec"]["storageClassName"] == "new-a"


@pytest.mark.parametrize(
    "claim",
    [
        named(spec={"storageClassName": ""}),
        named(spec={"storageClassName": "mine"}),
        named(spec={}, metadata={"annotations": {"volume.beta.kubernetes.io/storage-class": "mine"}}),
    ],
)
async def test_a_claim_that_says_its_class_keeps_it(claim):
    before = dict(claim["spec"])
    default = storage_class("new", "2025-01-01T00:00:00Z")
    assert (await written(default_storage_class.PLUGIN, PERSISTENTVOLUMECLAIMS, claim, default))["spec"] == before


async def test_an_ingress_is_of_the_default_class():
    metadata = {"annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}}
    default = (INGRESSCLASSES, named("nginx", metadata=metadata))
    ingress = await written(default_ingress_class.PLUGIN, INGRESSES, named(spec={}), default)
    assert ingress["spec"]["ingressClassName"] == "nginx"
    old_way = named(spec={}, metadata={"annotations": {"kubernetes.io/ingress.class": "other"}})
    assert (await written(default_ingress_class.PLUGIN, INGRESSES, old_way, default))["spec"] == {}
    assert (await written(default_ingress_class.PLUGIN, INGRESSES, named(spec={})))["spec"] == {}


@pytest.mark.parametrize(
    ("resource", "finalizer"),
    [
        (PERSISTENTVOLUMES, "kubernetes.io/pv-protection"),
        (PERSISTENTVOLUMECLAIMS, "kubernetes.io/pvc-protection"),
    ],
)
async def test_volumes_and_claims_are_kept_while_they_are_used(resource, finalizer):
    plugin = storage_object_in_use_protection.PLUGIN
    made = await written(plugin, resource, named(metadata={"finalizers": ["a/b"]}))
    assert made["metadata"]["finalizers"] == ["a/b", finalizer]
    assert (await written(plugin, resource, made))["metadata"]["finalizers"] == ["a/b", finalizer]


def claim_of(size: str, name: str = "growing", phase: str = "Bound") -> Object:
    spec = {"storageClassName": name, "resources": {"requests": {"storage": size}}}
    return named(spec=spec, status={"phase": phase})


async def test_a_claim_grows_if_it_is_bound_and_its_class_lets_it():
    plugin, growing = persistent_volume_claim_resize.PLUGIN, storage_class("growing", "")
    old = claim_of("1Gi")
    await written(plugin, PERSISTENTVOLUMECLAIMS, claim_of("2Gi"), growing, old=old)
    await written(plugin, PERSISTENTVOLUMECLAIMS, claim_of("1Gi", "fixed"), old=claim_of("1Gi", "fixed"))
    pending = claim_of("1Gi", phase="Pending")
    message = await refusal(plugin, PERSISTENTVOLUMECLAIMS, claim_of("2Gi"), growing, old=pending)
    assert message.endswith("Only bound persistent volume claims can be expanded")
    for name in ("fixed", ""):
        wanted = (plugin, PERSISTENTVOLUMECLAIMS, claim_of("2Gi", name), storage_class("fixed", ""))
        message = await refusal(*wanted, old=claim_of("1Gi", name))
        assert message.endswith("the storageclass that provisions the pvc must support resize")
