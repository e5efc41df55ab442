"""What LimitRanges give containers that don't ask for it, and what they bound."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import LIMITRANGES, PERSISTENTVOLUMECLAIMS, PODS
from apiserver.admission import UPDATE, limit_ranger
from tests.support.admission import FakeCluster
from tests.unit.apiserver.admission.writes import admitted, named, refused, write


def limits(*items: dict[str, Any]) -> FakeCluster:
    return FakeCluster((LIMITRANGES, named("l", spec={"limits": list(items)})))


def container(**resources: Any) -> Object:
    return named(spec={"containers": [{"name": "c", "resources": resources}]})


async def test_containers_get_what_they_do_not_ask_for():
    item = {"type": "Container", "default": {"cpu": "1", "memory": "1Gi"}, "defaultRequest": {"cpu": "100m"}}
    pod = await admitted(limit_ranger.PLUGIN, write(PODS, container(limits={"memory": "2Gi"})), limits(item))
    assert pod is not None
    assert pod["spec"]["containers"][0]["resources"] == {
        "limits": {"memory": "2Gi", "cpu": "1"},
        "requests": {"cpu": "100m"},
    }
    assert pod["metadata"]["annotations"] == {
        "kubernetes.io/limit-ranger": "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
    }


async def test_init_containers_get_it_too():
    item = {"type": "Container", "default": {"ephemeral-storage": "1Gi"}, "defaultRequest": {"memory": "1Mi"}}
    two = named(spec={"initContainers": [{"name": "i"}], "containers": [{"name": "c"}]})
    pod = await admitted(limit_ranger.PLUGIN, write(PODS, two), limits(item))
    assert pod is not None
    given = {"limits": {"ephemeral-storage": "1Gi"}, "requests": {"memory": "1Mi"}}
    assert [one["resources"] for one in (*pod["spec"]["initContainers"], *pod["spec"]["containers"])] == [given] * 2
    assert pod["metadata"]["annotations"]["kubernetes.io/limit-ranger"] == (
        "LimitRanger plugin set: memory request for container c; ephemeral-storage limit for container c; "
        "memory request for init container i; ephemeral-storage limit for init container i"
    )


@pytest.mark.parametrize(
    ("item", "resources", "why"),
    [
        (
            {"type": "Container", "max": {"cpu": "1"}},
            {"limits": {"cpu": "2"}},
            "maximum cpu usage per Container is 1, but limit is 2",
        ),
        (
            {"type": "Container", "max": {"cpu": "1"}},
            {},
            "maximum cpu usage per Container is 1.  No limit is specified",
        ),
        (
            {"type": "Container", "min": {"memory": "1Gi"}},
            {"requests": {"memory": "1Mi"}},
            "minimum memory usage per Container is 1Gi, but request is 1Mi",
        ),
        (
            {"type": "Pod", "min": {"cpu": "1"}},
            {},
            "minimum cpu usage per Pod is 1.  No request is specified",
        ),
        (
            {"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}},
            {"limits": {"cpu": "3"}, "requests": {"cpu": "1"}},
            "cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000",
        ),
        (
            {"type": "Container", "max": {"cpu": "1"}, "min": {"memory": "1Gi"}},
            {},
            "[minimum memory usage per Container is 1Gi.  No request is specified, "
            "maximum cpu usage per Container is 1.  No limit is specified]",
        ),
    ],
)
async def test_what_is_out_of_bounds_is_refused(item, resources, why):
    error = await refused(limit_ranger.PLUGIN, write(PODS, container(**resources)), limits(item))
    assert error.message == f'pods "x" is forbidden: {why}'


async def test_claims_have_bounds_too():
    item = {"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}
    claim = named(spec={"resources": {"requests": {"storage": "2Gi"}}})
    error = await refused(limit_ranger.PLUGIN, write(PERSISTENTVOLUMECLAIMS, claim), limits(item))
    assert error.message == (
        'persistentvolumeclaims "x" is forbidden: '
        "maximum storage usage per PersistentVolumeClaim is 1Gi, but request is 2Gi"
    )


def asking(name: str, cpu: str, **more: Any) -> Object:
    return {"name": name, "resources": {"requests": {"cpu": cpu}, "limits": {"cpu": cpu}}, **more}


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        ({"containers": [asking("a", "1"), asking("b", "2")]}, "3"),
        ({"initContainers": [asking("i", "4")], "containers": [asking("a", "1"), asking("b", "2")]}, "4"),
        ({"initContainers": [asking("s", "2", restartPolicy="Always")], "containers": [asking("a", "1")]}, "3"),
        ({"containers": [asking("a", "9")], "resources": {"requests": {"cpu": "3"}, "limits": {"cpu": "3"}}}, "3"),
    ],
)
async def test_of_a_pod_all_containers_together_are_bounded(spec, cpu):
    pod = named(spec=spec)
    bound = {"type": "Pod", "max": {"cpu": cpu}, "min": {"cpu": cpu}}
    await admitted(limit_ranger.PLUGIN, write(PODS, pod), limits(bound))
    error = await refused(limit_ranger.PLUGIN, write(PODS, pod), limits({"type": "Pod", "max": {"cpu": "2500m"}}))
    assert error.message == f'pods "x" is forbidden: maximum cpu usage per Pod is 2500m, but limit is {cpu}'


async def test_pods_that_are_there_are_bounded_when_they_are_resized():
    item, before = {"type": "Container", "max": {"cpu": "1"}}, container(limits={"cpu": "1"})
    larger = container(limits={"cpu": "2"})
    await admitted(limit_ranger.PLUGIN, write(PODS, larger, operation=UPDATE, old=before), limits(item))
    resized = write(PODS, larger, operation=UPDATE, old=before, subresource="resize")
    error = await refused(limit_ranger.PLUGIN, resized, limits(item))
    assert error.message.endswith("maximum cpu usage per Container is 1, but limit is 2")
    # What is on its end is not held up.
    going = container(limits={"cpu": "1"})
    going["metadata"]["deletionTimestamp"] = "2025-06-15T15:06:00Z"
    await admitted(
        limit_ranger.PLUGIN, write(PODS, larger, operation=UPDATE, old=going, subresource="resize"), limits(item)
    )


async def test_claims_that_are_there_are_bounded_when_they_ask_for_more():
    item = {"type": "PersistentVolumeClaim", "min": {"storage": "1Gi"}, "max": {"storage": "2Gi"}}
    small, large = (named(spec={"resources": {"requests": {"storage": size}}}) for size in ("1Gi", "3Gi"))
    grown = write(PERSISTENTVOLUMECLAIMS, large, operation=UPDATE, old=small)
    error = await refused(limit_ranger.PLUGIN, grown, limits(item))
    assert "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi" in error.message
    unsaid = write(PERSISTENTVOLUMECLAIMS, named(spec={}))
    assert "No request is specified" in (await refused(limit_ranger.PLUGIN, unsaid, limits(item))).message
