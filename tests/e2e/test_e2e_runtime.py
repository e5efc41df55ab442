"""Pods as the runtime runs them: what they see, how they end, what they leave."""

import asyncio
import errno
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubelet.runtime import RuntimeFailure
from tests.support.containers import Node, bind, started_node, until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces and cgroups"),
]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started_node(tmp_path) as started:
        yield started


async def test_a_container_runs_its_command_as_process_1_on_its_own_host(node: Node) -> None:
    pod = await node.pod(hostname="web-0")
    assert await node.output("echo $$ $(hostname)", pod=pod) == "1 web-0\n"


async def test_exit_codes_are_kept_and_signals_count_from_128(node: Node) -> None:
    failed = await node.ended((await node.run("exit 7")).id)
    assert (failed.exit_code, failed.signal) == (7, None)
    waiting = await node.run("exec sleep 1000")
    await node.runtime.signal_container(node.pod_of(waiting.id).pod_uid, waiting.id, signal.SIGKILL)
    killed = await node.ended(waiting.id)
    assert (killed.exit_code, killed.signal) == (137, 9)
    assert killed.started_at is not None and killed.finished_at is not None
    assert killed.finished_at >= killed.started_at


async def test_a_program_without_a_handler_does_not_hear_sigterm_as_process_1(node: Node) -> None:
    started = await node.run("trap 'echo got it; exit 0' TERM; echo ready; while :; do sleep 0.01; done")
    await node.printed(started.id, "ready")
    await node.runtime.signal_container(node.pod_of(started.id).pod_uid, started.id, signal.SIGTERM)
    assert (await node.ended(started.id)).exit_code == 0
    assert "got it" in node.log(started.id)


async def test_a_signal_may_go_to_every_process_of_a_container(node: Node) -> None:
    script = (
        "trap : USR1; (trap 'echo child' USR1; echo ready; while :; do sleep 0.01; done) & wait; echo parent; wait"
    )
    started = await node.run(script)
    await node.printed(started.id, "ready")
    await node.runtime.signal_container(
        node.pod_of(started.id).pod_uid, started.id, signal.SIGUSR1, all_processes=True
    )
    await node.printed(started.id, "child")
    await node.printed(started.id, "parent")


async def test_signals_that_the_kubelet_ignores_are_heard_by_containers(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        async with started_node(tmp_path) as node:
            assert await node.output("grep -E 'Sig(Ign|Blk)' /proc/1/status | cut -f2") == f"{0:016x}\n" * 2
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_output_is_in_the_log_before_the_end_is_told(node: Node) -> None:
    started = await node.run("echo out; echo err >&2; printf unfinished")
    await node.ended(started.id)
    assert node.log(started.id, "stdout") == "out\nunfinished"
    assert node.log(started.id, "stderr") == "err\n"


async def test_much_output_arrives_whole(node: Node) -> None:
    text = await node.output("seq 1 200000")
    assert text.splitlines() == [str(number) for number in range(1, 200_001)]


async def test_the_processes_that_a_container_leaves_die_with_it(node: Node) -> None:
    started = await node.run("sleep 1000 & sleep 1000 & exit 0")
    await node.ended(started.id)
    assert not [process for process in node.processes() if process.endswith("sleep")]


async def test_orphans_are_adopted_by_process_1_and_not_left_as_zombies_at_the_end(node: Node) -> None:
    assert await node.output("(sleep 0.01 & echo orphan); exec sh -c 'wait; echo done'") == "orphan\ndone\n"


async def test_containers_of_a_pod_share_network_host_name_and_memory_but_not_processes_or_files(node: Node) -> None:
    pod = await node.pod()
    first = await node.run("echo x >/dev/shm/shared; echo x >/tmp/own; echo ready; exec sleep 1000", pod=pod)
    await node.printed(first.id, "ready")
    seen = await node.output(
        "cat /dev/shm/shared; ls /tmp; ps ax | grep -c '[s]leep 1000'; readlink /proc/1/ns/net", pod=pod
    )
    shared, count, netns = seen.split()
    assert (shared, count) == ("x", "0")
    assert netns == str(Path(f"/proc/{first.pid}/ns/net").readlink()) == str(Path(pod.netns_path).readlink())
    assert netns != str(Path("/proc/self/ns/net").readlink())


async def test_a_pod_may_share_its_processes(node: Node) -> None:
    pod = await node.pod(share_process_namespace=True)
    first = await node.run("exec sleep 1000", pod=pod)
    processes = await node.output("ps -eo pid,comm", pod=pod)
    assert "1 pause" in processes and "sleep" in processes
    await node.runtime.signal_container(pod.pod_uid, first.id, signal.SIGKILL)
    assert (await node.ended(first.id)).exit_code == 137


async def test_what_a_container_leaves_in_a_shared_process_namespace_dies_with_it(node: Node) -> None:
    pod = await node.pod(share_process_namespace=True)
    started = await node.run("sleep 1234 & exit 3", pod=pod)
    assert (await node.ended(started.id)).exit_code == 3
    await until(lambda: not [p for p in node.processes() if p.endswith("sleep")], "the orphan to be killed")


async def test_a_container_may_look_into_anothers_processes(node: Node) -> None:
    pod = await node.pod()
    target = await node.run("exec sleep 1000", pod=pod)
    assert "sleep 1000" in await node.output("ps ax", pod=pod, target_container_id=target.id)


async def test_a_pod_may_use_the_nodes_namespaces(node: Node) -> None:
    pod = await node.pod(host_network=True, host_pid=True, host_ipc=True)
    assert pod.netns_path == ""
    kinds = ("net", "pid", "ipc", "uts")
    seen = await node.output(" ".join(f"readlink /proc/self/ns/{kind};" for kind in kinds), pod=pod)
    assert seen.split() == [str(Path(f"/proc/self/ns/{kind}").readlink()) for kind in kinds]


async def test_what_a_container_leaves_among_the_nodes_processes_dies_with_it(node: Node) -> None:
    pod = await node.pod(host_pid=True)
    started = await node.run("setsid sleep 1234 & exit 0", pod=pod)
    await node.ended(started.id)
    await until(lambda: not [p for p in node.processes() if p.endswith("sleep")], "the orphan to be killed")


async def test_a_new_run_begins_with_the_image_as_it_was(node: Node) -> None:
    pod = await node.pod()
    await node.output("echo changed >/etc/motd; rm /etc/passwd", pod=pod)
    assert "root" in await node.output("cat /etc/passwd; ls /etc/motd", pod=pod)


async def test_volumes_are_bound_and_may_be_read_only(node: Node, tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "file").write_text("hello\n")
    mounts = [bind(volume, "/data"), bind(volume, "/deep/in/side", "ro"), bind(volume / "file", "/etc/one", "ro")]
    script = "cat /deep/in/side/file /etc/one; echo new >/data/new; (echo x >/deep/in/side/x) 2>&1 || echo refused"
    assert await node.output(script, mounts=mounts) == (
        "hello\nhello\n/bin/sh: 1: cannot create /deep/in/side/x: Read-only file system\nrefused\n"
    )
    assert (volume / "new").read_text() == "new\n"


async def test_a_read_only_root_takes_no_files_but_its_volumes_do(node: Node, tmp_path: Path) -> None:
    script = "touch /x 2>/dev/null || echo refused; touch /data/x /dev/shm/x && echo written"
    mounts = [bind(tmp_path, "/data")]
    assert await node.output(script, root={"readonly": True}, mounts=mounts) == "refused\nwritten\n"


async def test_a_volume_that_propagates_shows_the_containers_mounts_to_the_node(node: Node, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    from kubelet.runtime import syscalls as sc

    sc.mount(str(shared), str(shared), None, sc.MS_BIND)
    sc.mount(None, str(shared), None, sc.MS_SHARED)
    try:
        script = (
            "mount -t tmpfs x /data && touch /data/inside && umount -l /mnt 2>/dev/null; echo ready; exec sleep 1000"
        )
        mounts = [bind(shared, "/data", "rshared")]
        started = await node.run(script, mounts=mounts, privileged=True)
        await node.printed(started.id, "ready")
        assert (shared / "inside").exists()
    finally:
        sc.umount2(str(shared), sc.MNT_DETACH)
        sc.umount2(str(shared), sc.MNT_DETACH)


async def test_a_container_runs_as_the_user_that_it_is_told_to(node: Node) -> None:
    user = {"uid": 1234, "gid": 2345, "additionalGids": [3456, 4567], "umask": 0o077}
    assert (
        await node.output(
            "id -u; id -g; id -G; umask; grep -c . /dev/stdin; echo through >/dev/stdout; echo $HOME",
            process={"user": user},
        )
        == "1234\n2345\n2345 3456 4567\n0077\n0\nthrough\n/\n"
    )


async def test_home_comes_from_the_image(node: Node) -> None:
    assert await node.output("echo $HOME") == "/root\n"


async def test_the_working_directory_is_made_if_it_is_missing(node: Node) -> None:
    assert await node.output("pwd", process={"cwd": "/srv/app/data"}) == "/srv/app/data\n"


async def test_a_command_is_looked_for_in_the_containers_own_path(node: Node) -> None:
    assert await node.output("true", "x", process={"args": ["echo", "found"]}) == "found\n"


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["nothing-here"], 'exec: "nothing-here": executable file not found in $PATH'),
        (["/nothing/here"], 'exec: "/nothing/here": stat /nothing/here: no such file or directory'),
        (["/etc/passwd"], 'exec: "/etc/passwd": permission denied'),
        (["/etc"], 'exec: "/etc": is a directory'),
    ],
)
async def test_a_command_that_can_not_be_run_is_a_run_container_error(
    node: Node, argv: list[str], message: str
) -> None:
    pod = await node.pod()
    with pytest.raises(RuntimeFailure) as failure:
        await node.run("x", "y", process={"args": argv}, pod=pod)
    assert failure.value.reason == "RunContainerError"
    assert failure.value.message == f"unable to start container process: {message}"
    assert list((node.root / "pods" / pod.pod_uid / "containers").iterdir()) == []
    assert {Path(path).name for path in node.cgroups()} == {f"pod{pod.pod_uid}"}
    assert await node.output("echo fine", pod=pod) == "fine\n"


async def test_a_script_without_an_interpreter_line_has_an_exec_format_error(node: Node) -> None:
    layer = node.folder / "layer"
    layer.mkdir()
    (layer / "script").write_text("echo hi\n")
    (layer / "script").chmod(0o755)
    with pytest.raises(RuntimeFailure, match="exec format error"):
        await node.run("x", "y", process={"args": ["/script"]}, lower_dirs=[str(layer), str(node.image)])


async def test_a_missing_volume_is_named(node: Node) -> None:
    with pytest.raises(RuntimeFailure) as failure:
        await node.run("true", mounts=[bind("/no/such/folder", "/data")])
    assert failure.value.reason == "CreateContainerError"
    assert "/no/such/folder at /data: " in failure.value.message
    assert "No such file or directory" in failure.value.message


async def test_upper_layers_win_and_many_layers_are_no_problem(node: Node) -> None:
    layers = []
    for number in range(60):
        layer = node.folder / f"a-layer-with-a-name-of-some-length-as-digests-have-{number:064}"
        layer.mkdir()
        (layer / "number").write_text(f"{number}\n")
        (layer / f"file-{number}").touch()
        layers.append(str(layer))
    script = "cat /number; ls -d /file-* | wc -l"
    assert await node.output(script, lower_dirs=[*layers, str(node.image)]) == "0\n60\n"


async def test_layers_may_have_any_name(node: Node) -> None:
    layer = node.folder / "a:b,c\\d"
    layer.mkdir()
    (layer / "found").touch()
    assert await node.output("ls /found", lower_dirs=[str(layer), str(node.image)]) == "/found\n"


async def test_a_root_that_lies_ready_unpacked_is_used_as_it_is(node: Node) -> None:
    root = {"path": str(node.image), "readonly": True}
    script = "cat /etc/hosts; touch /x 2>/dev/null || echo refused"
    assert await node.output(script, root=root, lower_dirs=[]) == "127.0.0.1 localhost\nrefused\n"


async def test_the_root_folder_looks_as_the_image_has_it(node: Node) -> None:
    layer = node.folder / "layer"
    layer.mkdir()
    layer.chmod(0o750)
    os.chown(layer, 0, 77)
    assert await node.output("stat -c '%a %g' /", lower_dirs=[str(layer), str(node.image)]) == "750 77\n"


async def test_devices_of_the_config_are_made_and_may_be_used(node: Node) -> None:
    linux = {
        "devices": [{"path": "/dev/deep/zero2", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "gid": 7}],
        "resources": {"devices": [{"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}]},
    }
    script = "stat -c '%a %g %t:%T' /dev/deep/zero2; head -c 3 /dev/deep/zero2 | wc -c"
    assert await node.output(script, linux=linux) == "600 7 1:5\n3\n"


async def test_the_oom_score_is_set_as_far_as_this_host_lets_it(node: Node) -> None:
    started = await node.run("cat /proc/self/oom_score_adj", process={"oomScoreAdj": 567})
    await node.ended(started.id)
    assert node.log(started.id) == "567\n"
    low = await node.ended((await node.run("cat /proc/self/oom_score_adj", process={"oomScoreAdj": -998})).id)
    assert node.log(low.id) == "-998\n" or "CAP_SYS_RESOURCE is missing" in low.notices[0]


async def test_the_kernel_parameters_of_a_pod_are_its_own(node: Node) -> None:
    here = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()
    pod = await node.pod(sysctls={"net.ipv4.ip_unprivileged_port_start": "77", "kernel.shmmax": "123456"})
    script = "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/kernel/shmmax"
    assert await node.output(script, pod=pod) == "77\n123456\n"
    assert Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text() == here


async def test_resource_limits_are_set_and_what_this_host_refuses_is_told(node: Node) -> None:
    hard = 1 << 40
    limits = [
        {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
        {"type": "RLIMIT_MEMLOCK", "soft": hard, "hard": hard},
    ]
    started = await node.run("ulimit -Sn; ulimit -Hn", process={"rlimits": limits})
    ended = await node.ended(started.id)
    assert node.log(started.id) == "100\n200\n"
    assert ended.notices == [] or "CAP_SYS_RESOURCE is missing" in ended.notices[0]


async def test_a_log_is_written_anew_after_it_was_rotated(node: Node) -> None:
    started = await node.run("while read line; do echo $line; done", stdin=True)
    pod_uid = node.pod_of(started.id).pod_uid
    log = node.log_path(started.id)
    await until(log.exists, "the log")
    log.rename(log.with_suffix(".old"))
    await node.runtime.reopen_log(pod_uid, started.id)
    assert log.exists()


async def test_an_id_that_is_taken_is_refused_and_its_owner_undisturbed(node: Node) -> None:
    pod = await node.pod()
    started = await node.run("exec sleep 1000", pod=pod)
    with pytest.raises(RuntimeFailure, match="exists already"):
        await node.run("true", pod=pod, id=started.id)
    twins = await asyncio.gather(*(node.run("true", pod=pod, id="twin") for _ in range(2)), return_exceptions=True)
    assert [isinstance(twin, RuntimeFailure) for twin in twins] == [False, True]
    assert node.find(started.id).status == "running"


async def test_removing_a_container_kills_it_and_takes_its_files_away(node: Node) -> None:
    pod = await node.pod()
    started = await node.run("echo x >/file; echo ready; exec sleep 1000", pod=pod)
    await node.printed(started.id, "ready")
    await node.runtime.remove_container(pod.pod_uid, started.id)
    assert not (node.root / "pods" / pod.pod_uid / "containers" / started.id).exists()
    assert not [path for path in node.cgroups() if path.endswith(started.id)]
    assert pod.container(started.id) is None
    await node.runtime.remove_container(pod.pod_uid, started.id)


async def test_removing_a_sandbox_takes_everything_away_and_may_be_repeated(node: Node) -> None:
    pod = await node.pod()
    await node.run("sleep 1000 & sleep 1000", pod=pod)
    await node.run("exec sleep 1000", pod=pod)
    await node.runtime.remove_sandbox(pod.pod_uid)
    await node.runtime.remove_sandbox(pod.pod_uid)
    assert node.left_behind() == []
    assert node.runtime.sandbox(pod.pod_uid) is None
    with pytest.raises(RuntimeFailure, match="SandboxNotFound"):
        await node.run("true", pod=pod)


async def test_a_sandbox_that_can_not_be_made_leaves_nothing(node: Node) -> None:
    with pytest.raises(RuntimeFailure) as failure:
        await node.pod(sysctls={"net.no.such.parameter": "1"})
    assert failure.value.reason == "CreatePodSandboxError"
    assert "net/no/such/parameter" in failure.value.message
    assert node.left_behind() == []


async def test_two_hundred_pods_leave_nothing_behind(node: Node) -> None:
    def descriptors() -> list[str]:
        """What this process has open; a namespace that is open here would live on."""
        found = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
        return sorted(name.partition(":")[0] for name in found)

    async def one() -> None:
        pod = await node.pod()
        started = await node.run("true", pod=pod)
        await node.ended(started.id)
        await node.runtime.remove_sandbox(pod.pod_uid)

    await one()
    before = descriptors()
    for _ in range(25):
        await asyncio.gather(*(one() for _ in range(8)))
    assert node.left_behind() == []
    assert descriptors() == before


async def test_two_nodes_on_one_machine_do_not_disturb_each_other(node: Node, tmp_path: Path) -> None:
    async with started_node(tmp_path / "second") as other:
        first, second = await node.run("exec sleep 1000"), await other.run("exec sleep 1000")
        await node.runtime.remove_sandbox(node.pod_of(first.id).pod_uid)
        assert other.find(second.id).status == "running"
        os.kill(second.pid, 0)


async def test_a_folder_is_used_by_one_kubelet_only(node: Node) -> None:
    from kubelet.runtime import disk

    with pytest.raises(TimeoutError, match="in use by another kubelet"):
        await asyncio.to_thread(disk.lock, node.root, seconds_max=0.1)


async def test_a_change_is_told_by_itself_not_asked_for(node: Node) -> None:
    started = await node.run("exit 0")
    await node.ended(started.id)
    assert node.changes == [node.pod_of(started.id).pod_uid]


async def test_a_full_log_disk_does_not_stop_a_container(node: Node) -> None:
    started = await node.run("echo lost; exit 5", log_path="/dev/full")
    ended = await node.ended(started.id)
    assert ended.exit_code == 5
    assert os.strerror(errno.ENOSPC) in ended.error
