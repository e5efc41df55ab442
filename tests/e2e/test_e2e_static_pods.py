"""Static pods on a real node: they run because of a file, with the API server or without it, and are shown there."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.meta import Object, get_path
from apimachinery.resources import PODS
from tests.support.clients import kubectl_current
from tests.support.node import NODE, Node, node, pid_of

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]

NAME = f"static-{NODE}"


class Files:
    """The folder of manifests of a node."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, script: str, **spec: Any) -> None:
        """Describe a static pod, in one step."""
        command = ["sh", "-c", f"trap 'exit 0' TERM; {script}; sleep 1000 & wait"]
        container = {"name": "web", "image": "localhost/host", "command": command}
        body = {"terminationGracePeriodSeconds": 2, "hostNetwork": True, "containers": [container], **spec}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": body}
        temporary = self.folder / f".{name}"
        temporary.write_text(json.dumps(pod))
        temporary.rename(self.folder / f"{name}.json")

    def remove(self, name: str) -> None:
        """Describe it no more."""
        (self.folder / f"{name}.json").unlink()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("manifests"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory, files: Files) -> AsyncIterator[Node]:
    files.write("static", "echo one")
    async with node(tmp_path_factory.mktemp("node"), "--pod-manifest-path", str(files.folder)) as made:
        yield made


def static_uid(mirror: Object) -> str:
    """The UID of the pod that a mirror shows."""
    return str(mirror["metadata"]["annotations"]["kubernetes.io/config.hash"])


def shown(mirror: Object) -> Object:
    """The static pod itself, as far as the node's folders name it."""
    return {"metadata": {**mirror["metadata"], "uid": static_uid(mirror)}}


def nothing_left(here: Node, *mirrors: Object) -> bool:
    """Whether none of the node's folders belongs to the pods that these have shown."""
    folders = [here.agent.root / name for name in ("pods", "volumes", "files", "logs")]
    names = [name for folder in folders if folder.exists() for name in os.listdir(folder)]
    return not any(static_uid(mirror) in name for mirror in mirrors for name in names)


async def another(here: Node, mirror: Object) -> Object:
    """Wait until another mirror is in the place of one."""
    name, old = mirror["metadata"]["name"], mirror["metadata"]["uid"]
    await here.wait_for(name, lambda pod: pod["metadata"]["uid"] != old)
    return await here.running(name)


async def test_a_file_makes_a_pod_that_the_api_shows_with_its_status(here: Node) -> None:
    mirror = await here.running(NAME)
    metadata = mirror["metadata"]
    assert metadata["annotations"]["kubernetes.io/config.source"] == "file"
    assert metadata["annotations"]["kubernetes.io/config.mirror"] == static_uid(mirror) != metadata["uid"]
    assert metadata["annotations"]["kubernetes.io/config.seen"] and metadata["labels"] == {"app": "static"}
    owner = (await here.get_node(NODE))["metadata"]
    assert [(ref["kind"], ref["uid"]) for ref in metadata["ownerReferences"]] == [("Node", owner["uid"])]
    assert mirror["status"]["containerStatuses"][0]["restartCount"] == 0
    await here.eventually(lambda: "one\n" in here.output(shown(mirror)))


async def test_whoever_deletes_the_mirror_gets_a_new_one_and_the_pod_runs_on(here: Node) -> None:
    mirror = await here.running(NAME)
    pid = pid_of(here, shown(mirror))
    await here.delete(NAME)
    mirror = await another(here, mirror)
    await here.delete(NAME, grace_period_seconds=0)
    mirror = await another(here, mirror)
    assert pid_of(here, shown(mirror)) == pid


async def test_logs_exec_and_drain_work_as_with_any_pod(here: Node, tmp_path: Path) -> None:
    await here.running(NAME)
    config = str(here.server.data_dir / "admin.kubeconfig")

    def run(*arguments: str) -> str:
        command = [str(kubectl_current()), "--kubeconfig", config, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "one" in run("logs", NAME)
    assert run("exec", NAME, "--", "echo", "inside").strip() == "inside"
    assert "Created" in run("describe", "pod", NAME)
    assert "drained" in run("drain", NODE, "--force", "--timeout=20s")
    run("uncordon", NODE)
    assert pid_of(here, shown(await here.running(NAME)))


async def test_a_file_that_changes_is_another_pod_and_one_with_a_mistake_is_none(here: Node, files: Files) -> None:
    old = await here.running(NAME)
    (files.folder / "static.json").write_text('{"apiVersion": "v1"')
    files.write("other", "echo other")
    await here.running(f"other-{NODE}")
    assert pid_of(here, shown(await here.running(NAME))) == pid_of(here, shown(old))
    assert "static pod manifest can't be used" in here.agent.log()
    files.write("static", "echo two")
    new = await here.wait_for(NAME, lambda pod: static_uid(pod) != static_uid(old))
    new = await here.running(NAME)
    await here.eventually(lambda: "two\n" in here.output(shown(new)))
    await here.eventually(lambda: nothing_left(here, old))


async def test_a_new_agent_goes_on_with_its_static_pods_while_there_is_no_api_server(
    here: Node, files: Files
) -> None:
    mirror = await here.running(NAME)
    pid = pid_of(here, shown(mirror))
    here.server.kill()
    here.agent.stop()
    files.write("alone", "echo alone", hostNetwork=False)
    here.agent.start()
    logs = here.agent.root / "logs"
    await here.eventually(lambda: any("alone" in path.read_text() for path in logs.glob("*alone*/web/0.log")))
    assert pid_of(here, shown(mirror)) == pid
    here.server.start()
    await here.server.wait_ready()
    alone = await here.running(f"alone-{NODE}")
    assert get_path(alone, "status", "containerStatuses")[0]["restartCount"] == 0
    again = await here.running(NAME)
    assert again["metadata"]["uid"] == mirror["metadata"]["uid"] and pid_of(here, shown(again)) == pid


async def test_what_no_file_describes_ends_and_is_shown_no_more(here: Node, files: Files) -> None:
    mirrors = [await here.running(f"{name}-{NODE}") for name in ("static", "other", "alone")]
    files.remove("static")
    here.agent.stop()
    files.remove("other")
    here.agent.start()
    files.remove("alone")
    for mirror in mirrors:
        await here.wait_gone(mirror["metadata"]["name"])
    await here.eventually(lambda: nothing_left(here, *mirrors))


async def test_a_name_that_somebody_elses_pod_has_is_left_to_it(here: Node, files: Files) -> None:
    taken = await here.create(f"taken-{NODE}", {"name": "web", "image": "localhost/host", "command": ["sleep", "99"]})
    files.write("taken", "echo mine")
    logs = here.agent.root / "logs"
    await here.eventually(lambda: any("mine" in path.read_text() for path in logs.glob("*taken*/web/0.log")))
    assert (await here.client.get(PODS, f"taken-{NODE}", "default"))["metadata"]["uid"] == taken["metadata"]["uid"]
    await here.delete(f"taken-{NODE}", grace_period_seconds=0)
    await here.wait_for(f"taken-{NODE}", lambda pod: pod["metadata"]["uid"] != taken["metadata"]["uid"])
