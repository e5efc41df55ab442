"""How a pod that runs comes to have other resources: without a kernel, under a clock that the test moves."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest_asyncio

from apimachinery.meta import find_condition
from tests.support.fake_node import FakeNode, fake_node
from tests.support.pods import UID, container, pod

MIB = 1 << 20
RESTART = [{"resourceName": name, "restartPolicy": "RestartContainer"} for name in ("cpu", "memory")]


@pytest_asyncio.fixture
async def node(tmp_path: Path) -> AsyncIterator[FakeNode]:
    async with fake_node(tmp_path) as made:
        yield made


def of(cpu: str, memory: str, name: str = "web", **fields: Any) -> dict[str, Any]:
    """A container that is guaranteed its resources."""
    amounts = {"cpu": cpu, "memory": memory}
    return container(name, resources={"requests": amounts, "limits": amounts}, **fields)


def sized(*containers: dict[str, Any], name: str = "web", uid: str = UID, **spec: Any) -> dict[str, Any]:
    made = pod(*containers, name=name, uid=uid, **spec)
    made["status"]["qosClass"] = "Guaranteed"
    return made


async def begin(node: FakeNode, *containers: dict[str, Any], **spec: Any) -> None:
    node.api.put(sized(*containers, **spec))
    await node.settle()


async def resize(node: FakeNode, *containers: dict[str, Any], name: str = "web") -> None:
    """Somebody writes `pods/resize`."""
    old = node.api.pods[name]
    metadata = {**old["metadata"], "generation": old["metadata"]["generation"] + 1}
    kinds = {key: [c for c in containers if is_sidecar(c) is (key == "initContainers")] for key in _LISTS}
    node.api.put({**old, "metadata": metadata, "spec": {**old["spec"], **{k: v for k, v in kinds.items() if v}}})
    await node.settle()


_LISTS = ("initContainers", "containers")


def is_sidecar(entry: Mapping[str, Any]) -> bool:
    return entry.get("restartPolicy") == "Always"


def condition(node: FakeNode, kind: str, name: str = "web") -> dict[str, Any]:
    found = find_condition({"status": dict(node.status(name))}, kind) or {}
    return {key: found[key] for key in ("reason", "message", "observedGeneration") if key in found}


def told(node: FakeNode, reason: str) -> list[tuple[str, dict[str, Any]]]:
    """(words, JSON) of the events of a reason."""
    parts = [message.split(": ", 1) for found, message in node.recorder.events if found == reason]
    return [(words, json.loads(details)) for words, details in parts]


def memory(*steps: tuple[str, int]) -> list[tuple[str, dict[str, Any]]]:
    return [(who, {"memory": {"limit": mib * MIB, "swap": mib * MIB}}) for who, mib in steps]


def ids(node: FakeNode) -> list[str]:
    return [state.id for state in node.runtime.pods[UID].containers]


async def test_a_pod_grows_from_the_outside_in_and_shrinks_from_the_inside_out(node: FakeNode) -> None:
    await begin(node, of("500m", "64Mi"))
    await resize(node, of("1", "128Mi"))
    (web,) = ids(node)
    cpu = {"shares": 1024, "quota": 100_000, "period": 100_000}
    assert node.runtime.groups.written == [
        *memory(("", 128), (web, 128)),
        ("", {"cpu": {"quota": 100_000, "period": 100_000}}),
        ("", {"cpu": {"shares": 1024}}),
        (web, {"cpu": cpu}),
    ]
    node.runtime.groups.written.clear()
    await resize(node, of("500m", "64Mi"))
    written = node.runtime.groups.written
    assert [who for who, _ in written] == [web, "", "", web, ""]
    assert node.container()["restartCount"] == 0


async def test_what_containers_give_up_is_taken_before_others_get_it(node: FakeNode) -> None:
    await begin(node, of("500m", "64Mi", "a"), of("500m", "192Mi", "b"))
    await resize(node, of("500m", "192Mi", "a"), of("500m", "64Mi", "b"))
    by_name = {state.name: state.id for state in node.runtime.pods[UID].containers}
    assert node.runtime.groups.written == memory((by_name["b"], 64), (by_name["a"], 192))


async def test_what_a_container_has_and_was_given_is_told_with_an_event_for_beginning_and_end(node: FakeNode) -> None:
    await begin(node, of("500m", "64Mi"))
    assert node.container()["resources"] == of("500m", "64Mi")["resources"]
    await resize(node, of("1", "128Mi"))
    wanted = {"cpu": "1", "memory": "128Mi"}
    assert node.container()["resources"] == {"limits": wanted, "requests": wanted}
    assert node.container()["allocatedResources"] == wanted
    assert condition(node, "PodResizePending") == condition(node, "PodResizeInProgress") == {}
    details = {
        "containers": [{"name": "web", "resources": {"requests": wanted, "limits": wanted}}],
        "generation": 2,
    }
    assert told(node, "ResizeStarted") == [("Pod resize started", details)]
    assert told(node, "ResizeCompleted") == [("Pod resize completed", details)]
    assert node.status()["observedGeneration"] == 2


async def test_more_than_the_node_has_is_never_given(node: FakeNode) -> None:
    await begin(node, of("500m", "64Mi"))
    await resize(node, of("5", "64Mi"))
    why = "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"
    assert condition(node, "PodResizePending") == {"reason": "Infeasible", "message": why, "observedGeneration": 2}
    ((words, details),) = told(node, "ResizeInfeasible")
    assert words == "Pod resize Infeasible" and details["error"] == why and details["generation"] == 2
    assert node.container()["allocatedResources"]["cpu"] == "500m" and node.runtime.groups.written == []
    await resize(node, of("500m", "64Mi"))
    assert condition(node, "PodResizePending") == {}


async def test_what_others_hold_is_waited_for_and_had_when_they_end(node: FakeNode) -> None:
    await begin(node, of("1", "64Mi"))
    node.api.put(sized(of("2", "64Mi"), name="other", uid="other"))
    await node.settle()
    await resize(node, of("3", "64Mi"))
    why = "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"
    assert condition(node, "PodResizePending") == {"reason": "Deferred", "message": why, "observedGeneration": 2}
    assert [words for words, _ in told(node, "ResizeDeferred")] == ["Pod resize Deferred"]
    node.delete("other", grace_seconds=1)
    await node.settle()
    assert condition(node, "PodResizePending") == {}
    assert node.container()["resources"]["limits"]["cpu"] == "3"


async def test_those_that_wait_come_by_priority_and_those_that_give_up_first_of_all(node: FakeNode) -> None:
    for name, priority in (("low", 1), ("high", 10), ("generous", 0)):
        node.api.put(sized(of("1", "64Mi"), name=name, uid=name, priority=priority))
    await node.settle()
    await resize(node, of("2500m", "64Mi"), name="low")
    await resize(node, of("2500m", "64Mi"), name="high")
    assert {condition(node, "PodResizePending", name)["reason"] for name in ("low", "high")} == {"Deferred"}
    await resize(node, of("100m", "64Mi"), name="generous")
    assert condition(node, "PodResizePending", "high") == {}
    assert node.container("high")["resources"]["limits"]["cpu"] == "2500m"
    assert condition(node, "PodResizePending", "low")["reason"] == "Deferred"


async def test_a_container_that_wants_to_be_started_anew_for_it_is(node: FakeNode) -> None:
    await begin(node, of("500m", "64Mi", resizePolicy=RESTART), of("500m", "64Mi", "other"))
    for cpu, restarts in (("1", 1), ("250m", 2)):
        await resize(node, of(cpu, "64Mi", resizePolicy=RESTART), of("500m", "64Mi", "other"))
        await node.settle()
        assert [entry["restartCount"] for entry in node.status()["containerStatuses"]] == [restarts, 0]
        assert node.container()["resources"]["limits"]["cpu"] == cpu
        assert condition(node, "PodResizeInProgress") == {}
    assert ("Killing", "Container web resize requires restart") in node.recorder.events
    assert len(told(node, "ResizeCompleted")) == 2


async def test_a_request_for_memory_restarts_what_wants_it_though_no_cgroup_shows_it(node: FakeNode) -> None:
    def asking(request: str) -> dict[str, Any]:
        return container(
            resources={"requests": {"memory": request}, "limits": {"memory": "128Mi"}}, resizePolicy=RESTART
        )

    await begin(node, asking("64Mi"))
    await resize(node, asking("32Mi"))
    await node.settle()
    assert node.container()["restartCount"] == 1
    assert node.container()["resources"]["requests"]["memory"] == "32Mi"


async def test_a_memory_limit_does_not_go_below_what_is_in_use_and_is_tried_again(node: FakeNode) -> None:
    await begin(node, of("500m", "128Mi"))
    (web,) = ids(node)
    for key in ((UID, ""), (UID, web)):
        node.runtime.groups.use(key, 100 * MIB)
    await resize(node, of("1", "64Mi"))
    below = f"memory limit ({64 * MIB}) below current usage ({100 * MIB})"
    why = f'cannot decrease memory limits: [attempting to set pod {below}, attempting to set container "web" {below}]'
    assert condition(node, "PodResizeInProgress") == {"reason": "Error", "message": why, "observedGeneration": 2}
    assert node.runtime.groups.written == []
    assert node.container()["resources"]["limits"] == {"cpu": "500m", "memory": "128Mi"}
    assert node.container()["allocatedResources"] == {"cpu": "1", "memory": "64Mi"}
    await node.pass_(30)
    assert len(told(node, "ResizeError")) == 1
    for key in ((UID, ""), (UID, web)):
        node.runtime.groups.use(key, 10 * MIB)
    await node.pass_(11)
    assert condition(node, "PodResizeInProgress") == {}
    assert node.container()["resources"]["limits"] == {"cpu": "1", "memory": "64Mi"}


async def test_what_the_kernel_refuses_is_told(node: FakeNode) -> None:
    await begin(node, of("500m", "128Mi"))
    node.runtime.groups.failure = "write '1' to cpu.max: Invalid argument"
    await resize(node, of("1", "128Mi"))
    assert condition(node, "PodResizeInProgress")["message"] == "write '1' to cpu.max: Invalid argument"
    node.runtime.groups.failure = ""
    await node.pass_(11)
    assert condition(node, "PodResizeInProgress") == {}


async def test_sidecars_are_resized_like_containers(node: FakeNode) -> None:
    sidecar = of("100m", "32Mi", "proxy", restartPolicy="Always")
    await begin(node, of("500m", "64Mi"), initContainers=[sidecar])
    await resize(node, of("500m", "64Mi"), of("200m", "64Mi", "proxy", restartPolicy="Always"))
    (status,) = node.status()["initContainerStatuses"]
    assert status["resources"]["limits"] == status["allocatedResources"] == {"cpu": "200m", "memory": "64Mi"}


async def test_a_new_node_agent_goes_by_what_was_granted_and_not_by_what_is_wanted(node: FakeNode) -> None:
    await begin(node, of("500m", "64Mi"))
    await resize(node, of("1", "64Mi"))
    await resize(node, of("5", "64Mi"))
    node.runtime.end("web", 1)
    node.restart()
    await node.settle()
    assert node.container()["restartCount"] == 1
    assert node.container()["resources"]["limits"]["cpu"] == "1"
    assert condition(node, "PodResizePending")["reason"] == "Infeasible"


async def test_a_resize_that_the_node_agent_did_not_live_to_see_is_found(node: FakeNode) -> None:
    await begin(node, of("500m", "64Mi"))
    changed = node.api.changed
    node.api.changed = lambda old, new: None
    await resize(node, of("1", "64Mi"))
    node.api.changed = changed
    node.restart()
    await node.settle()
    assert node.container()["resources"]["limits"]["cpu"] == "1"
    assert len(told(node, "ResizeCompleted")) == 1


async def test_a_resize_that_was_granted_and_not_carried_out_is_taken_up_by_a_new_node_agent(node: FakeNode) -> None:
    await begin(node, of("500m", "128Mi"))
    node.runtime.groups.failure = "not now"
    await resize(node, of("1", "128Mi"))
    node.runtime.groups.failure = ""
    node.restart()
    await node.settle()
    assert node.container()["resources"]["limits"]["cpu"] == "1"
    assert condition(node, "PodResizeInProgress") == {}


async def test_nothing_of_a_pod_that_is_gone_is_kept(node: FakeNode, tmp_path: Path) -> None:
    await begin(node, of("500m", "64Mi"))
    await resize(node, of("1", "64Mi"))
    assert [path.stem for path in (tmp_path / "allocations").iterdir()] == [UID]
    node.delete(grace_seconds=1)
    await node.settle()
    assert list((tmp_path / "allocations").iterdir()) == []


async def test_amounts_that_are_written_differently_are_no_resize(node: FakeNode) -> None:
    await begin(node, of("500m", "64Mi"))
    await resize(node, of("0.5", "65536Ki"))
    assert node.runtime.groups.written == [] and told(node, "ResizeStarted") == []


async def test_what_keeps_failing_is_started_at_once_when_it_is_given_more(node: FakeNode) -> None:
    await begin(node, of("500m", "64Mi"))
    for _ in range(2):
        node.runtime.end("web", 137, oom_killed=True)
        await node.settle()
    assert node.waiting() == "CrashLoopBackOff"
    await resize(node, of("500m", "128Mi"))
    assert "running" in node.container()["state"]
    assert node.container()["resources"]["limits"]["memory"] == "128Mi"
    assert node.runtime.limits(UID).memory == 128 * MIB


async def test_volumes_that_show_what_a_container_has_hear_of_it(node: FakeNode) -> None:
    await begin(node, of("500m", "64Mi"))
    heard: list[str] = []
    node.volumes.pod_changed = lambda pod: heard.append(  # type: ignore[method-assign]
        pod["spec"]["containers"][0]["resources"]["limits"]["memory"]
    )
    await resize(node, of("500m", "9Gi"))
    assert heard == []
    await resize(node, of("500m", "128Mi"))
    assert heard == ["128Mi"]


async def test_a_new_node_agent_waits_for_its_node_before_it_judges_what_is_wanted(node: FakeNode) -> None:
    await begin(node, of("500m", "64Mi"))
    known, node.node = node.node, None
    await resize(node, of("1", "64Mi"))
    node.restart()
    await node.settle()
    assert condition(node, "PodResizePending") == {} and told(node, "ResizeDeferred") == []
    node.node = known
    node.workers.node_changed()
    await node.settle()
    assert node.container()["resources"]["limits"]["cpu"] == "1"
