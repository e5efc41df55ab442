"""What is written of a running pod on its own: ephemeral containers, and what its containers may use."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.resources import PODS
from apiserver.registry import strategy
from tests.unit.apiserver.registry.factories import container_pod, created, pod

DEBUGGER = {"name": "debugger", "image": "busybox:1", "stdin": True, "tty": True}
MIRROR = {"kubernetes.io/config.mirror": "x"}


def stored(obj: Object, **status: Any) -> Object:
    made = created(PODS, obj)
    made["metadata"] |= {"resourceVersion": "5", "generation": 1}
    made["status"] |= status
    return made


def written(part: str, sent: Object, old: Object) -> tuple[Object, list[str]]:
    """(what becomes of a pod, what is wrong with it)."""
    rules, new = strategy(PODS), copy.deepcopy(sent)
    new["metadata"]["resourceVersion"] = "5"
    rules.default(new)
    rules.parts[part].prepare(new, old)
    return new, [error.message() for error in rules.parts[part].validate(new, old)]


def using(limits: dict[str, str] | None = None, **requests: str) -> Object:
    return container_pod(resources={"requests": requests, **({"limits": limits} if limits else {})})


def test_an_ephemeral_container_joins_and_nothing_else_changes() -> None:
    old = stored(pod())
    sent = copy.deepcopy(old)
    sent["spec"] |= {"ephemeralContainers": [DEBUGGER], "nodeName": "elsewhere"}
    sent["metadata"]["labels"] = {"other": "label"}
    sent["status"] = {"phase": "Failed"}
    new, wrong = written("ephemeralcontainers", sent, old)
    assert wrong == []
    assert [container["name"] for container in new["spec"].pop("ephemeralContainers")] == ["debugger"]
    assert new["metadata"].pop("generation") == 2
    del old["metadata"]["generation"]
    assert new == old


def test_an_ephemeral_container_stays_as_it_is() -> None:
    old = stored(pod())
    old["spec"]["ephemeralContainers"] = [DEBUGGER]
    changed = copy.deepcopy(old)
    changed["spec"]["ephemeralContainers"] = [{**DEBUGGER, "image": "busybox:2"}]
    _, wrong = written("ephemeralcontainers", changed, old)
    assert (
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debugger" may not be changed' in wrong[0]
    )
    gone, wrong = written("ephemeralcontainers", stored(pod()), old)
    assert "ephemeralContainers" not in gone["spec"]
    assert wrong == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "debugger" may not be removed\n'
    ]


def test_an_ephemeral_container_is_checked_like_any_other() -> None:
    sent = pod(ephemeralContainers=[{**DEBUGGER, "resources": {"limits": {"cpu": "1"}}}])
    _, wrong = written("ephemeralcontainers", sent, stored(pod()))
    assert wrong == [
        "spec.ephemeralContainers[0].resources: Forbidden: cannot be set for an Ephemeral Container",
    ]
    static = stored(pod())
    static["metadata"]["annotations"] = MIRROR
    _, wrong = written("ephemeralcontainers", pod(ephemeralContainers=[DEBUGGER]), static)
    assert "static pods do not support ephemeral containers" in wrong[0]


def test_a_resize_changes_what_containers_may_use_alone() -> None:
    old = stored(using(cpu="1", memory="1Gi"))
    sent = using({"cpu": "3"}, cpu="2", memory="512Mi")
    sent["spec"]["containers"][0]["image"] = "other:1"
    new, wrong = written("resize", sent, old)
    assert wrong == []
    container = new["spec"]["containers"][0]
    assert container["resources"] == {"requests": {"cpu": "2", "memory": "512Mi"}, "limits": {"cpu": "3"}}
    assert (container["image"], new["metadata"]["generation"]) == ("nginx:1.27", 2)
    same, wrong = written("resize", old, old)
    assert (wrong, same["metadata"]["generation"]) == ([], 1)


@pytest.mark.parametrize(
    ("sent", "old", "told"),
    [
        (
            using(memory="1Gi"),
            using(cpu="1", memory="1Gi"),
            "requests: Forbidden: resource requests cannot be removed",
        ),
        (using({"cpu": "1"}, cpu="1"), using({"cpu": "1", "memory": "1Gi"}, cpu="1"), "limits cannot be removed"),
        (using({"cpu": "1", "memory": "1Gi"}, cpu="1", memory="1Gi"), using(cpu="1"), "Pod QOS Class may not change"),
        (pod(), using(cpu="1"), "Pod QOS Class may not change as a result of resizing"),
        (
            container_pod(resources={"requests": {"cpu": "1", "ephemeral-storage": "1Gi"}}),
            using(cpu="1"),
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            container_pod(name="other", resources={"requests": {"cpu": "2"}}),
            using(cpu="1"),
            "containers can't be added, removed, reordered or renamed",
        ),
        (
            pod(initContainers=[{"name": "first", "image": "i:1", "resources": {"requests": {"cpu": "2"}}}]),
            pod(initContainers=[{"name": "first", "image": "i:1", "resources": {"requests": {"cpu": "1"}}}]),
            "resources for non-sidecar init containers are immutable",
        ),
        (
            using(cpu="2"),
            pod(resources={"requests": {"cpu": "1"}}),
            "pods with pod-level resources cannot be resized",
        ),
    ],
)
def test_a_resize_has_its_limits(sent: Object, old: Object, told: str) -> None:
    _, wrong = written("resize", sent, stored(old))
    assert any(told in message for message in wrong), wrong


def test_a_node_that_tells_no_resources_can_not_resize() -> None:
    running = {"name": "web", "state": {"running": {}}}
    sent = using(cpu="2")
    _, wrong = written("resize", sent, stored(using(cpu="1"), containerStatuses=[running]))
    assert wrong == ["spec: Forbidden: Pod running on node without support for resize"]
    told = {**running, "resources": {"requests": {"cpu": "1"}}}
    assert written("resize", sent, stored(using(cpu="1"), containerStatuses=[told]))[1] == []
