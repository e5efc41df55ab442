"""Containers made by runc and crun: in pods of a RuntimeClass, with the same status, files and limits as our own.

Both are found on PATH (Debian: apt install runc crun); what is missing is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apimachinery import errors
from apimachinery.meta import get_path
from apimachinery.resources import RUNTIMECLASSES
from kubelet.runtime import ExecIO, RuntimeFailure
from kubelet.runtime import syscalls as sc
from tests.support import containers
from tests.support.containers import bind, until
from tests.support.node import NODE, Node, node, terminated

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
]
FOUND = {name: path for name in ("runc", "crun") if (path := shutil.which(name))}
HANDLERS = [
    pytest.param(name, marks=[] if name in FOUND else pytest.mark.skip(f"{name} is not installed"))
    for name in ("runc", "crun")
]
IDLE = "trap 'exit 0' TERM; echo ready; sleep 1000 & wait"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[containers.Node]:
    folder = tmp_path_factory.mktemp("machine")
    async with containers.started_node(folder, {name: [path] for name, path in FOUND.items()}) as made:
        yield made


async def settled(machine: containers.Node, pod_uid: str) -> None:
    """Remove a pod, and see that nothing is left of it."""
    await machine.runtime.remove_sandbox(pod_uid)
    await until(lambda: not [left for left in machine.left_behind() if pod_uid in left], f"{pod_uid} to be gone")


@pytest.mark.parametrize("handler", HANDLERS)
async def test_a_container_of_another_runtime_has_the_same_surroundings(
    machine: containers.Node, handler: str
) -> None:
    script = (
        "id -u; id -G; hostname; pwd; cat /proc/self/status | grep -E 'CapEff|CapBnd|Seccomp:|NoNewPrivs';"
        "touch /proc/sys/kernel/x 2>&1; cat /proc/kcore | wc -c; echo $COLOR; ulimit -n; echo out; echo err >&2;"
        "readlink /proc/self/ns/net /proc/self/ns/ipc /proc/self/ns/uts; ls -d /proc/[0-9]* | head -1"
    )
    fields: dict[str, Any] = {
        "process": {"user": {"uid": 7, "gid": 8, "additionalGids": [9]}, "cwd": "/tmp"},
        "env": ["COLOR=red"],
    }
    pod = await machine.pod(runtime_handler=handler, pod_uid=f"same-{handler}")
    own = await machine.pod(pod_uid=f"own-{handler}", hostname=pod.spec.hostname)
    logs = []
    for where in (pod, own):
        started = await machine.run(script, pod=where, **fields)
        state = await machine.ended(started.id)
        assert (state.exit_code, state.error) == (0, "")
        out, err = (machine.log(started.id, stream).splitlines() for stream in ("stdout", "stderr"))
        net = str(Path(f"/proc/{where.supervisor_pid}/ns/net").readlink())
        assert net in out
        logs.append([line for line in out if line != net and not line.startswith(("ipc:", "uts:"))] + err)
    assert logs[0] == logs[1]
    assert "7" in logs[0] and "Seccomp:\t2" in logs[0]
    await settled(machine, pod.pod_uid)


@pytest.mark.parametrize("handler", HANDLERS)
async def test_exit_codes_signals_and_the_files_of_a_container_are_those_of_our_own(
    machine: containers.Node, handler: str, tmp_path: Path
) -> None:
    pod = await machine.pod(runtime_handler=handler, pod_uid=f"ends-{handler}")
    volume = [bind(tmp_path, "/data")]
    wrote = await machine.run("echo $$ >/data/pid; touch /kept; exit 7", pod=pod, mounts=volume)
    assert (await machine.ended(wrote.id)).exit_code == 7 and (tmp_path / "pid").read_text() == "1\n"
    signalled = await machine.run(IDLE, pod=pod)
    await machine.printed(signalled.id, "ready")
    await machine.runtime.signal_container(pod.pod_uid, signalled.id, signal.SIGTERM)
    assert (await machine.ended(signalled.id)).exit_code == 0
    killed = await machine.run("exec sleep 1000", pod=pod)
    await machine.runtime.signal_container(pod.pod_uid, killed.id, signal.SIGKILL)
    state = await machine.ended(killed.id)
    assert (state.exit_code, state.signal) == (137, 9)
    with pytest.raises(RuntimeFailure, match=r"(?s)RunContainerError.*/nowhere") as refused:
        await machine.run("/nowhere", "x", pod=pod)
    assert refused.value.reason == "RunContainerError"
    await machine.runtime.remove_container(pod.pod_uid, killed.id)
    await settled(machine, pod.pod_uid)


@pytest.mark.parametrize("handler", HANDLERS)
async def test_commands_terminals_and_viewers_reach_a_container(machine: containers.Node, handler: str) -> None:
    pod = await machine.pod(runtime_handler=handler, pod_uid=f"exec-{handler}")
    idle = await machine.run(IDLE, pod=pod, env=["COLOR=red"])
    assert await machine.exec(idle.id, "cat; echo $COLOR >&2; exit 9", stdin=b"typed") == (9, "typed", "red\n")
    user = {"uid": 1234, "gid": 2345, "additionalGids": [77]}
    assert (await machine.exec(idle.id, "id -u; id -G; pwd", user=user, cwd="/usr"))[1] == "1234\n2345 77\n/usr\n"
    exit_code, out, _ = await machine.exec(idle.id, "tty; test -t 0 && echo terminal; exit 4", tty=True)
    assert (exit_code, out.replace("\r", "").splitlines()) == (4, ["/dev/pts/0", "terminal"])
    with pytest.raises(RuntimeFailure, match="ExecError"):
        await machine.exec(idle.id, "/nowhere", "x")
    typed = await machine.run("read line; echo got $line; tty", pod=pod, stdin=True, tty=True)
    keyboard = os.pipe()
    handle = await machine.runtime.attach(pod.pod_uid, typed.id, ExecIO(keyboard[0], None, None))
    os.write(keyboard[1], b"hello\n")
    await machine.ended(typed.id)
    assert "got hello" in machine.log(typed.id) and "/dev/" in machine.log(typed.id)
    assert await handle.wait() == 0
    for fd in keyboard:
        os.close(fd)
    await settled(machine, pod.pod_uid)


@pytest.mark.parametrize("handler", HANDLERS)
async def test_limits_hold_and_an_oom_kill_is_noticed(machine: containers.Node, handler: str) -> None:
    pod = await machine.pod(runtime_handler=handler, pod_uid=f"oom-{handler}")
    resources = {"memory": {"limit": 64 << 20}, "cpu": {"shares": 512}, "pids": {"limit": 40}}
    greedy = "head -c 200m /dev/zero | tail"
    started = await machine.run(f"{greedy}; exit 137", pod=pod, linux={"resources": resources})
    state = await machine.ended(started.id)
    assert (state.exit_code, state.oom_killed) == (137, True)
    idle = await machine.run("exec sleep 1000", pod=pod, linux={"resources": resources})
    limits = machine.runtime.limits(pod.pod_uid, idle.id)
    assert limits.memory == 64 << 20
    await machine.runtime.update_container_resources(pod.pod_uid, idle.id, {"memory": {"limit": 96 << 20}})
    assert machine.runtime.limits(pod.pod_uid, idle.id).memory == 96 << 20
    await settled(machine, pod.pod_uid)


@pytest.mark.parametrize("handler", HANDLERS)
async def test_containers_of_one_pod_share_what_the_pod_shares(machine: containers.Node, handler: str) -> None:
    pod = await machine.pod(runtime_handler=handler, share_process_namespace=True, pod_uid=f"pids-{handler}")
    first = await machine.run("echo one >/dev/shm/file; exec sleep 1111", pod=pod)
    seen = await machine.run("cat /dev/shm/file; tr '\\0' ' ' </proc/[0-9]*/cmdline", pod=pod)
    await until(lambda: machine.find(seen.id).status == "exited", "the end")
    _, out, _ = await machine.exec(first.id, "cat /dev/shm/file; cat /proc/[0-9]*/cmdline | tr '\\0' ' '")
    assert out.startswith("one\n") and "sleep 1111" in out
    alone = await machine.pod(runtime_handler=handler, pod_uid=f"alone-{handler}")
    target = await machine.run("exec sleep 2222", pod=alone)
    looks = await machine.run("cat /proc/1/cmdline | tr '\\0' ' '", pod=alone, target_container_id=target.id)
    await machine.ended(looks.id)
    assert machine.log(looks.id).startswith("sleep 2222")
    for uid in (pod.pod_uid, alone.pod_uid):
        await settled(machine, uid)


@pytest.mark.parametrize("handler", HANDLERS)
async def test_another_node_agent_finds_the_containers_and_a_dead_supervisor_takes_them_along(
    machine: containers.Node, handler: str
) -> None:
    pod = await machine.pod(runtime_handler=handler, pod_uid=f"lost-{handler}")
    stays = await machine.run("exec sleep 1000", pod=pod)
    await machine.restart()
    assert machine.find(stays.id).status == "running"
    assert (await machine.exec(stays.id, "echo here"))[1] == "here\n"
    os.kill(pod.supervisor_pid, signal.SIGKILL)
    state = await machine.ended(stays.id)
    assert state.exit_code == 137 and "supervisor died" in state.error
    await until(lambda: not Path(f"/proc/{stays.pid}").exists(), "the container's death")
    await settled(machine, pod.pod_uid)


@pytest.mark.parametrize("handler", HANDLERS)
async def test_nothing_is_left_of_a_start_in_which_the_supervisor_is_killed(
    machine: containers.Node, handler: str
) -> None:
    began = time.monotonic()
    whole = await machine.pod(runtime_handler=handler, pod_uid=f"whole-{handler}")
    await machine.run("exec sleep 1000", pod=whole)
    took = time.monotonic() - began
    await settled(machine, whole.pod_uid)
    for step in range(6):
        pod = await machine.pod(runtime_handler=handler, pod_uid=f"killed-{step}-{handler}")
        start = asyncio.create_task(machine.run("exec sleep 1000", pod=pod))
        await asyncio.wait([start], timeout=took * step / 6)
        os.kill(pod.supervisor_pid, signal.SIGKILL)
        await asyncio.gather(start, return_exceptions=True)
        await settled(machine, pod.pod_uid)


@pytest.mark.parametrize("handler", HANDLERS)
async def test_mounts_propagate_as_a_volume_mount_says(
    machine: containers.Node, handler: str, tmp_path: Path
) -> None:
    def volume(propagation: str) -> list[dict[str, Any]]:
        return [bind(tmp_path, "/data", propagation)]

    sc.mount(str(tmp_path), str(tmp_path), None, sc.MS_BIND)
    sc.mount(None, str(tmp_path), None, sc.MS_SHARED)
    pod = await machine.pod(runtime_handler=handler, pod_uid=f"shared-{handler}")
    try:
        script = (
            "mkdir /data/out; mount -t tmpfs out /data/out; echo out >/data/out/file; echo ready; exec sleep 1000"
        )
        gives = await machine.run(script, pod=pod, privileged=True, mounts=volume("rshared"))
        takes = await machine.run("echo ready; exec sleep 1000", pod=pod, mounts=volume("rslave"))
        alone = await machine.run("echo ready; exec sleep 1000", pod=pod, mounts=volume("rprivate"))
        for container in (gives, takes, alone):
            await machine.printed(container.id, "ready")
        assert (tmp_path / "out" / "file").read_text() == "out\n"
        (tmp_path / "in").mkdir()
        sc.mount("in", str(tmp_path / "in"), "tmpfs")
        (tmp_path / "in" / "file").write_text("in\n")
        assert (await machine.exec(takes.id, "cat /data/in/file"))[1] == "in\n"
        assert (await machine.exec(alone.id, "ls /data/in"))[1] == ""
    finally:
        await machine.runtime.remove_sandbox(pod.pod_uid)
        for path in (tmp_path / "in", tmp_path / "out", tmp_path):
            with contextlib.suppress(OSError):
                sc.umount2(str(path), sc.MNT_DETACH)


@pytest.mark.parametrize("handler", HANDLERS)
async def test_a_start_that_is_given_up_leaves_nothing(machine: containers.Node, handler: str) -> None:
    pod = await machine.pod(runtime_handler=handler, pod_uid=f"given-up-{handler}")
    for _ in range(3):
        start = asyncio.create_task(machine.run("exec sleep 1000", pod=pod))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
    await settled(machine, pod.pod_uid)


async def test_a_runtime_that_is_not_there_any_more_is_told(tmp_path: Path) -> None:
    async with containers.started_node(tmp_path, {"gone": ["/nowhere/gone"]}) as machine:
        pod = await machine.pod(runtime_handler="gone")
        with pytest.raises(RuntimeFailure, match="execute: .*No such file"):
            await machine.run("true", pod=pod)
        with pytest.raises(RuntimeFailure, match='no runtime for "never" is configured'):
            await machine.pod(runtime_handler="never")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node"), "--runtime-handler", "broken=/bin/false") as made:
        for name in ("runc", "broken", "unheard-of"):
            kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": name}}
            await made.client.create(RUNTIMECLASSES, {**kind, "handler": name})
        yield made


def shell(script: str, **fields: Any) -> dict[str, Any]:
    return {"name": "web", "image": "localhost/host", "command": ["sh", "-c", script], **fields}


@pytest.mark.skipif("runc" not in FOUND, reason="runc is not installed")
async def test_a_pod_of_a_runtime_class_runs_is_probed_restarts_and_goes(here: Node) -> None:
    probe = {"exec": {"command": ["test", "-e", "/ready"]}, "periodSeconds": 1}
    hook = {"postStart": {"exec": {"command": ["touch", "/ready"]}}}
    await here.create("classy", shell(IDLE, readinessProbe=probe, lifecycle=hook), runtimeClassName="runc")
    pod = await here.running("classy")
    assert pod["status"]["podIP"].startswith("10.244.7.")
    await here.eventually(lambda: here.output(pod) == "ready\n")
    here.agent.stop()
    here.agent.start()
    assert (await here.running("classy"))["status"]["containerStatuses"][0]["restartCount"] == 0
    await here.delete("classy")
    await here.wait_gone("classy")
    await here.eventually(lambda: not here.traces(pod))
    await here.create("fails", shell("exit 5"), runtimeClassName="runc", restartPolicy="Never")
    assert terminated(await here.phase("fails", "Failed"))["exitCode"] == 5


async def test_what_is_wrong_with_a_runtime_class_is_told_in_an_event(here: Node) -> None:
    await here.create("unheard-of", shell(IDLE), runtimeClassName="unheard-of")
    message = await here.event("unheard-of", "FailedCreatePodSandBox")
    assert message.endswith('no runtime for "unheard-of" is configured')
    await here.create("broken", shell(IDLE), runtimeClassName="broken")
    assert "false ended with 1" in await here.event("broken", "Failed")
    with pytest.raises(errors.ApiError, match='RuntimeClass "missing" not found'):
        await here.create("missing", shell(IDLE), runtimeClassName="missing")
    for name in ("unheard-of", "broken"):
        await here.delete(name)
        await here.wait_gone(name)


async def test_a_pod_waits_for_a_runtime_class_that_was_deleted_meanwhile(here: Node) -> None:
    kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "late"}, "handler": "wherry"}
    await here.client.create(RUNTIMECLASSES, kind)
    here.agent.stop()
    await here.create("late", shell(IDLE), runtimeClassName="late")
    await here.client.delete(RUNTIMECLASSES, "late")
    here.agent.start()
    assert 'runtimeclass.node.k8s.io "late" not found' in await here.event("late", "FailedCreatePodSandBox")
    await here.client.create(RUNTIMECLASSES, kind)
    await here.running("late")
    await here.delete("late")
    await here.wait_gone("late")


async def test_the_node_tells_its_handlers_and_their_features(here: Node) -> None:
    own = {"recursiveReadOnlyMounts": True}

    async def handlers() -> dict[str, dict[str, bool]]:
        listed = get_path(await here.get_node(NODE), "status", "runtimeHandlers", default=[])
        return {entry["name"]: entry["features"] for entry in listed}

    found = await handlers()
    for _ in range(200):
        if "runc" not in FOUND or found["runc"]["recursiveReadOnlyMounts"]:
            break
        await asyncio.sleep(0.05)
        found = await handlers()
    assert found[""] == found["wherry"] and found[""].items() >= own.items()
    assert "runc" not in FOUND or found["runc"]["recursiveReadOnlyMounts"]
    assert found["broken"] == {"recursiveReadOnlyMounts": False, "userNamespaces": False}
