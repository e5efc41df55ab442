"""Which static pods run and are shown, whatever becomes of files, mirrors and the pods themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from apiclient.informer import ADDED, DELETED, MODIFIED
from apimachinery.meta import Object, namespaced_key
from kubelet.static_pods.static_pods import StaticPods, mirror_of
from kubelet.static_pods.statuses import NodeStatusWriter
from tests.support.clock import ManualClock

KEY = "default/web-n"
NODE: Object = {"metadata": {"name": "n", "uid": "n1"}}


class FakeInformer:
    """The pods that the API has."""

    def __init__(self) -> None:
        self.pods: dict[str, Object] = {}

    def get(self, key: str) -> Object | None:
        return self.pods.get(key)

    def list(self) -> list[Object]:
        return list(self.pods.values())


class FakeClient:
    """Does what it is asked to do to the pods of an informer."""

    def __init__(self, informer: FakeInformer) -> None:
        self.pods = informer.pods
        self.done: list[str] = []

    async def create(self, _resource: Any, obj: Object, _namespace: str) -> Object:
        self.done.append("create")
        uid = f"mirror-{self.done.count('create')}"
        self.pods[namespaced_key(obj)] = {**obj, "metadata": {**obj["metadata"], "uid": uid}, "status": {}}
        return obj

    async def delete(self, _resource: Any, name: str, namespace: str, **_options: Any) -> None:
        self.done.append("delete")
        del self.pods[f"{namespace}/{name}"]


class FakeStatuses:
    def __init__(self) -> None:
        self.told: list[str] = []

    def shown_by(self, pod: Object, mirror: Object) -> None:
        self.told.append("shown")

    def forget_mirror(self, mirror: Object) -> None:
        self.told.append("forgotten")


class Here:
    """The static pods of a node with one file, and what its workers hear of them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "web.json"
        self.api = FakeInformer()
        self.client = FakeClient(self.api)
        self.heard: list[tuple[str, str]] = []
        self.statuses = FakeStatuses()
        client: Any = self.client
        informer: Any = self.api
        self.static = StaticPods(folder, "n", client=client, clock=ManualClock(), pods=informer, node=self._node)

    async def _node(self) -> Object:
        return NODE

    def write(self, image: str) -> None:
        spec = {"containers": [{"name": "c", "image": image}]}
        self.file.write_text(
            json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": spec})
        )

    def begin(self) -> Object:
        """Read the files for the first time; the pod that runs."""
        self.static.begin(self._worker, self.statuses)
        pod = self.static.get(KEY)
        assert pod is not None
        return pod

    def look(self) -> None:
        """Read the files again."""
        assert self.static._folder is not None
        self.static._files_changed(self.static._folder.scan())

    def _worker(self, kind: str, old: Object | None, new: Object | None) -> None:
        pod = new or old
        assert pod is not None
        self.heard.append((kind, pod["spec"].get("containers", [{}])[0].get("image", "")))


@pytest.fixture
def here(tmp_path: Path) -> Here:
    made = Here(tmp_path)
    made.write("web:1")
    return made


def test_a_changed_pod_begins_only_when_the_old_one_has_gone(here: Here) -> None:
    old = here.begin()
    here.write("web:2")
    here.look()
    assert here.heard == [(ADDED, "web:1"), (DELETED, "web:1")] and here.static.get(KEY) == old
    here.static.worker_gone(old)
    assert here.heard[2:] == [(ADDED, "web:2")]


def test_a_file_that_is_back_before_its_pod_has_ended_makes_it_run_again(here: Here) -> None:
    pod = here.begin()
    here.file.unlink()
    here.look()
    here.write("web:1")
    here.look()
    assert [kind for kind, _ in here.heard] == [ADDED, DELETED]
    here.static.worker_gone(pod)
    assert [kind for kind, _ in here.heard] == [ADDED, DELETED, ADDED]


async def test_the_mirror_follows_its_pod_step_by_step(here: Here) -> None:
    old = here.begin()
    await here.static._reconcile(KEY)
    await here.static._reconcile(KEY)
    assert here.client.done == ["create"]
    here.write("web:2")
    here.look()
    await here.static._reconcile(KEY)
    assert here.client.done == ["create"]  # the old pod still runs
    here.static.worker_gone(old)
    await here.static._reconcile(KEY)
    await here.static._reconcile(KEY)
    assert here.client.done == ["create", "delete", "create"]
    here.file.unlink()
    here.look()
    here.static.worker_gone(here.static.get(KEY) or {})
    await here.static._reconcile(KEY)
    assert here.client.done[3:] == ["delete"] and here.api.pods == {}


def test_workers_hear_of_a_mirror_only_what_it_shows_and_of_other_pods_everything(here: Here) -> None:
    pod = here.begin()
    mirror = {**mirror_of(pod, NODE), "status": {"phase": "Running"}}
    mirror["metadata"]["uid"] = "m1"
    here.static.pod_changed(ADDED, None, mirror)
    here.static.pod_changed(MODIFIED, mirror, {**mirror, "status": {"phase": "Failed"}})
    here.static.pod_changed(DELETED, mirror, None)
    other = {"metadata": {"name": "other", "namespace": "default", "uid": "o"}, "spec": {}}
    here.static.pod_changed(ADDED, None, other)
    assert here.heard == [(ADDED, "web:1"), (MODIFIED, "web:1"), (ADDED, "")]
    assert here.statuses.told == ["shown", "shown", "forgotten"]


async def test_the_pods_of_a_node_are_told_with_their_own_identity_and_the_status_of_their_mirrors(
    here: Here,
) -> None:
    pod = here.begin()
    await here.static._reconcile(KEY)
    here.api.pods[KEY]["status"] = {"phase": "Running"}
    here.api.pods["default/other"] = {"metadata": {"name": "other", "namespace": "default", "uid": "o"}}
    other, found = here.static.list()
    assert other["metadata"]["uid"] == "o"
    assert (found["metadata"]["uid"], found["status"]) == (pod["metadata"]["uid"], {"phase": "Running"})
    shown = here.static.mirror(pod["metadata"]["uid"])
    assert shown is not None and shown["metadata"]["uid"] == "mirror-1"


async def test_a_status_waits_for_a_mirror_and_nobody_waits_for_the_status(here: Here) -> None:
    pod, mirrors = here.begin(), dict[str, Object]()
    writer = NodeStatusWriter(None, mirrors.get, None, ManualClock(), mirror=mirrors.get)
    uid = pod["metadata"]["uid"]
    writer.set(pod, {"phase": "Running"})
    await writer.settled(uid)
    assert writer.last(uid) == {"phase": "Running"}
    shown = {**mirror_of(pod, NODE), "status": {"phase": "Running"}}
    shown["metadata"]["uid"] = "m1"
    mirrors[uid] = mirrors["m1"] = shown
    writer.shown_by(pod, shown)
    assert writer.last("m1") == {"phase": "Running"}
    writer.forget_mirror(shown)
    assert writer.last("m1") is None and writer.last(uid) == {"phase": "Running"}
    writer.forget(uid)
    assert writer.last(uid) is None
