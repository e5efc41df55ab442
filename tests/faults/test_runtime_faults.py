"""SIGKILL at any moment to the kubelet, the zygote or a supervisor: what runs on, what dies, what is found again."""

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kubelet import cleanup
from kubelet.runtime import ExecIO, RuntimeFailure, disk
from tests.support.containers import SECONDS_MAX, Node, started_node, until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces and cgroups"),
]
IDLE = "echo ready; exec sleep 1000"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started_node(tmp_path) as started:
        yield started


@pytest.fixture
async def stopped(tmp_path: Path) -> AsyncIterator[Node]:
    """A node whose kubelet is another process, which the test starts and kills."""
    node = Node(tmp_path)
    try:
        yield node
    finally:
        await node.runtime.close()
        node.clean_up()
        assert node.left_behind() == []


class StandIn:
    """A kubelet in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(
        cls, node: Node, pods: int, script: str, *endless: str, wrapper: tuple[str, ...] = ()
    ) -> "StandIn":
        command = [*wrapper, sys.executable, "-m", "tests.support.kubelet_stand_in"]
        command += [str(node.folder), node.cgroup_root, str(pods), script, *endless]
        return cls(await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE))

    async def record(self) -> dict[str, Any]:
        """The next container that it has started."""
        assert self.process.stdout is not None
        async with asyncio.timeout(SECONDS_MAX):
            found: dict[str, Any] = json.loads(await self.process.stdout.readline())
            return found

    async def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        await self.process.wait()


def lives(pid: int) -> bool:
    """True while a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def zygote_of(node: Node) -> int:
    """The process id of a node's zygote."""
    assert node.runtime._forker is not None and node.runtime._forker._process is not None
    return node.runtime._forker._process.pid


async def test_containers_run_on_when_the_kubelet_is_killed_and_a_new_one_finds_them(stopped: Node) -> None:
    kubelet = await StandIn.start(stopped, 3, IDLE)
    before = [await kubelet.record() for _ in range(3)]
    await kubelet.kill()
    await stopped.start()
    for record in before:
        state = stopped.find(record["id"])
        assert (state.status, state.pid) == ("running", record["pid"])
        assert stopped.pod_of(record["id"]).supervisor_pid == record["supervisor"]
        assert lives(record["pid"])
    assert (await stopped.exec(before[0]["id"], "echo still here"))[1] == "still here\n"


async def test_exit_codes_of_what_ended_without_a_kubelet_are_not_lost(stopped: Node) -> None:
    kubelet = await StandIn.start(stopped, 2, "while [ ! -e /tmp/go ]; do sleep 0.01; done; echo last words; exit 42")
    records = [await kubelet.record() for _ in range(2)]
    await kubelet.kill()
    Path(f"/proc/{records[0]['pid']}/root/tmp/go").touch()
    await until(lambda: not lives(records[0]["pid"]), "the first container to end")
    await stopped.start()
    ended = await stopped.ended(records[0]["id"])
    assert (ended.exit_code, ended.error) == (42, "")
    assert stopped.log(ended.id) == "last words\n"
    Path(f"/proc/{records[1]['pid']}/root/tmp/go").touch()
    assert (await stopped.ended(records[1]["id"])).exit_code == 42


async def test_the_zygote_goes_with_the_kubelet_and_the_supervisors_stay(stopped: Node) -> None:
    kubelet = await StandIn.start(stopped, 1, IDLE)
    record = await kubelet.record()
    await kubelet.kill()
    os.close(await asyncio.to_thread(disk.lock, stopped.root))
    assert lives(record["supervisor"]) and lives(record["pid"])


async def test_a_killed_zygote_is_replaced_and_disturbs_no_pod(node: Node) -> None:
    started = await node.run(IDLE)
    os.kill(zygote_of(node), signal.SIGKILL)
    await until(lambda: not lives(zygote_of(node)), "the zygote's death")
    assert await node.output("echo another") == "another\n"
    assert lives(started.pid)
    assert (await node.exec(started.id, "echo here"))[1] == "here\n"


async def test_a_killed_spare_supervisor_fails_no_pod(node: Node) -> None:
    def spares() -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*/comm"):
            with contextlib.suppress(OSError):
                if path.read_text() == "kubelet-spare\n" and node.cgroup_root in (path.parent / "cgroup").read_text():
                    found.append(int(path.parent.name))
        return [pid for pid in found if lives(pid)]

    await until(spares, "a spare supervisor")
    os.kill(spares()[0], signal.SIGKILL)
    assert await node.output("echo fine") == "fine\n"
    await until(spares, "another spare supervisor")
    started = await node.run("exec sleep 1000")
    assert (await node.exec(started.id, "echo fine"))[1] == "fine\n"


@pytest.mark.parametrize("fields", [{}, {"share_process_namespace": True}, {"host_pid": True}])
async def test_a_pod_dies_with_its_supervisor_and_that_is_told(node: Node, fields: dict[str, bool]) -> None:
    pod = await node.pod(**fields)
    first = await node.run("sleep 1000 & echo ready; exec sleep 1000", pod=pod)
    ended = await node.run("exit 3", pod=pod)
    await node.ended(ended.id)
    await node.printed(first.id, "ready")
    node.changes.clear()
    os.kill(pod.supervisor_pid, signal.SIGKILL)
    lost = await node.ended(first.id)
    assert (lost.exit_code, lost.signal) == (137, 9)
    assert "supervisor died" in lost.error
    assert (node.find(ended.id).exit_code, node.find(ended.id).error) == (3, "")
    assert node.changes == [pod.pod_uid]
    assert not pod.alive and pod.netns_path == ""
    await until(lambda: not lives(first.pid), "the container's death")
    await until(lambda: not node.processes()[1:], "the death of all of the pod's processes")
    with pytest.raises(RuntimeFailure, match="SandboxNotFound"):
        await node.run("true", pod=pod)
    await node.runtime.remove_container(pod.pod_uid, first.id)
    await node.runtime.remove_sandbox(pod.pod_uid)
    assert node.left_behind() == []


async def test_the_processes_of_a_dead_supervisor_are_gone_when_its_death_is_told(node: Node) -> None:
    pod = await node.pod()
    started = await node.run(IDLE, pod=pod)
    os.kill(pod.supervisor_pid, signal.SIGKILL)
    await node.ended(started.id)
    assert not lives(started.pid)


async def test_a_container_can_not_outlive_its_supervisor_by_asking_to(node: Node) -> None:
    pod = await node.pod()
    forget_parent = "perl -e '@a = (157, 1, 0); syscall(@a[0..2]); $SIG{TERM} = q(IGNORE); fork(); sleep 1000'"
    started = await node.run(f"setsid {forget_parent} & echo ready; exec {forget_parent}", pod=pod)
    await node.printed(started.id, "ready")
    os.kill(pod.supervisor_pid, signal.SIGKILL)
    await node.ended(started.id)
    assert not [process for process in node.processes() if process.endswith("perl")]


async def test_a_supervisor_that_died_without_a_kubelet_is_found_dead_and_can_be_removed(stopped: Node) -> None:
    kubelet = await StandIn.start(stopped, 2, IDLE)
    dead, alive = await kubelet.record(), await kubelet.record()
    await kubelet.kill()
    os.kill(dead["supervisor"], signal.SIGKILL)
    await until(lambda: not lives(dead["pid"]), "the container's death")
    await stopped.start()
    lost = stopped.find(dead["id"])
    assert (lost.status, lost.exit_code) == ("exited", 137)
    assert "supervisor died" in lost.error
    assert lives(alive["pid"]) and stopped.find(alive["id"]).status == "running"
    await stopped.runtime.remove_sandbox(dead["pod"])
    assert stopped.runtime.sandbox(dead["pod"]) is None
    assert [Path(folder).name for folder in stopped.folders()] == [alive["pod"]]


async def test_what_is_said_of_a_lost_container_stays_the_same(stopped: Node) -> None:
    kubelet = await StandIn.start(stopped, 1, IDLE)
    record = await kubelet.record()
    await kubelet.kill()
    os.kill(record["supervisor"], signal.SIGKILL)
    await stopped.start()
    first = stopped.find(record["id"])
    await stopped.restart()
    assert stopped.find(record["id"]) == first


async def test_a_kubelet_killed_at_any_moment_leaves_what_the_next_one_can_adopt_or_remove(stopped: Node) -> None:
    rng = random.Random(20_240_131)
    for _ in range(12):
        kubelet = await StandIn.start(stopped, 4, "exec sleep 1000", "endless")
        await kubelet.record()
        await asyncio.sleep(rng.uniform(0, 0.08))
        await kubelet.kill()
        await stopped.start()
        for sandbox in await stopped.runtime.sandboxes():
            for container in sandbox.containers:
                assert (container.status == "running") == lives(container.pid)
                if container.status == "exited":
                    assert container.exit_code == 137
            await stopped.runtime.remove_sandbox(sandbox.pod_uid)
        assert stopped.left_behind() == []
        await stopped.runtime.close()


async def test_a_supervisor_killed_at_any_moment_of_a_start_fails_it_and_leaves_nothing(node: Node) -> None:
    rng = random.Random(20_240_201)
    for _ in range(25):
        pod = await node.pod()
        asyncio.get_running_loop().call_later(rng.uniform(0, 0.012), os.kill, pod.supervisor_pid, signal.SIGKILL)
        try:
            started = await node.run("exec sleep 1000", pod=pod)
            assert (await node.ended(started.id)).exit_code == 137
        except RuntimeFailure as failure:
            assert failure.reason == "SandboxNotFound"
        await node.runtime.remove_sandbox(pod.pod_uid)
        assert node.left_behind() == []


async def test_a_zygote_killed_at_any_moment_fails_a_pod_at_most_and_leaves_nothing(node: Node) -> None:
    rng = random.Random(20_240_301)
    for _ in range(15):
        asyncio.get_running_loop().call_later(rng.uniform(0, 0.004), os.kill, zygote_of(node), signal.SIGKILL)
        try:
            pod = await node.pod()
            await node.runtime.remove_sandbox(pod.pod_uid)
        except RuntimeFailure as failure:
            assert failure.reason == "CreatePodSandboxError"
        assert node.left_behind() == []
        await asyncio.sleep(0.005)


async def test_a_pod_can_be_removed_though_its_supervisor_hangs(node: Node) -> None:
    pod = await node.pod()
    await node.run(IDLE, pod=pod)
    os.kill(pod.supervisor_pid, signal.SIGSTOP)
    await node.runtime.remove_sandbox(pod.pod_uid)
    assert node.left_behind() == []


async def test_a_lost_connection_to_a_living_supervisor_is_made_anew(node: Node) -> None:
    started = await node.run("while [ ! -e /tmp/go ]; do sleep 0.01; done; exit 11")
    pod = node.runtime._pods[node.pod_of(started.id).pod_uid]
    assert pod._link is not None
    pod._link.close()
    Path(f"/proc/{started.pid}/root/tmp/go").touch()
    assert (await node.ended(started.id)).exit_code == 11
    assert pod.state.alive


async def test_a_start_that_nobody_waits_for_any_more_does_not_leave_a_running_container(node: Node) -> None:
    pod = await node.pod()
    start = asyncio.create_task(node.run("exec sleep 1000", pod=pod))
    await asyncio.sleep(0.002)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    await until(lambda: not [p for p in node.processes() if p.endswith("sleep")], "the container's end")


async def test_after_a_kubelet_was_killed_everything_can_be_cleaned_up_without_one(stopped: Node) -> None:
    kubelet = await StandIn.start(stopped, 3, "sleep 1000 & exec sleep 1000")
    records = [await kubelet.record() for _ in range(3)]
    await kubelet.kill()
    stopped.clean_up()
    assert stopped.left_behind() == []
    assert not any(lives(record["pid"]) or lives(record["supervisor"]) for record in records)
    stopped.clean_up()


async def test_clean_up_does_not_take_pods_from_a_running_kubelet(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started = await node.run(IDLE)
    monkeypatch.setattr(disk.lock, "__kwdefaults__", {"seconds_max": 0.1})
    arguments = ["--root-dir", str(node.root), "--cgroup-root", node.cgroup_root]
    assert await asyncio.to_thread(cleanup.main, arguments) == 1
    assert "in use by another kubelet" in capsys.readouterr().err
    assert lives(started.pid)


async def test_clean_up_of_a_node_that_never_was_is_done_at_once(tmp_path: Path) -> None:
    assert cleanup.main(["--root-dir", str(tmp_path / "none"), "--cgroup-root", "wherry/none/node-1"]) == 0
    assert cleanup.main(["--root-dir", str(tmp_path / "none"), "--cgroup-root", "/"]) == 1


async def test_a_kubelet_in_a_network_namespace_of_its_own_gives_its_pods_theirs(stopped: Node) -> None:
    kubelet = await StandIn.start(stopped, 2, IDLE, wrapper=("unshare", "--net"))
    records = [await kubelet.record() for _ in range(2)]
    nets = {str(Path(f"/proc/{record['pid']}/ns/net").readlink()) for record in records}
    own = str(Path(f"/proc/{kubelet.process.pid}/ns/net").readlink())
    assert len(nets) == 2 and own not in nets
    mount_namespace = str(Path(f"/proc/{records[0]['supervisor']}/ns/mnt").readlink())
    assert mount_namespace == str(Path("/proc/self/ns/mnt").readlink())
    await kubelet.kill()


async def test_execs_of_a_dead_supervisor_end_too(node: Node) -> None:
    started = await node.run(IDLE)
    pod = node.pod_of(started.id)
    handle = await node.runtime.exec(pod.pod_uid, started.id, ["sleep", "1000"], io=ExecIO())
    os.kill(pod.supervisor_pid, signal.SIGKILL)
    async with asyncio.timeout(SECONDS_MAX):
        assert await handle.wait() == 137


async def test_however_many_pods_come_at_once_each_gets_its_sandbox(node: Node) -> None:
    pods = await asyncio.gather(*(node.pod(pod_uid=f"many-{number}") for number in range(300)))
    assert all(pod.alive for pod in pods)


async def test_a_sandbox_that_could_not_be_asked_for_can_be_made_later(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    assert node.runtime._forker is not None
    with monkeypatch.context() as patched:
        patched.setattr(node.runtime._forker, "fork_supervisor", refuse)
        with pytest.raises(RuntimeFailure, match="temporarily unavailable"):
            await node.pod(pod_uid="again")
    assert node.left_behind() == []
    assert (await node.pod(pod_uid="again")).alive
