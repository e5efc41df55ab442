"""What a container can't do: each test is an attack, or a limit that is pushed against."""

import asyncio
import errno
import os
import shutil
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubelet.runtime import ExecIO, RuntimeFailure, cgroups
from kubelet.runtime.capabilities import DEFAULT
from kubelet.runtime.syscall_numbers import numbers
from tests.support.containers import Node, bind, started_node, until

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces and cgroups"),
]
MIB = 1 << 20
FORK_AND_STAY = (
    "$|=1; for (1..N) { $p = fork(); if (!defined $p) { print qq(refused\\n); last }"
    "if (!$p) { sleep 1000; exit } } sleep 1000"
)
LIST_OPEN = 'opendir(D, "/proc/self/fd"); print join(" ", sort(readdir(D))), "\\n"'


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with started_node(tmp_path) as started:
        yield started


def call(name: str, *arguments: int | str) -> str:
    """A shell command that makes a system call and prints "ok" or the errno."""
    number = numbers(os.uname().machine)[name]
    words = [f'"{argument}"' if isinstance(argument, str) else str(argument) for argument in arguments]
    # Perl refuses to hand constants to a system call.
    given = f"@a = ({', '.join([str(number), *words])})"
    line = f"{given}; $r = syscall({', '.join(f'$a[{i}]' for i in range(len(words) + 1))})"
    line += '; print(($r == -1 ? $!+0 : "ok") . "\\n")'
    return f"perl -e '{line}'"


async def test_processes_of_the_node_and_of_other_pods_are_out_of_sight(node: Node) -> None:
    other = await node.run("exec sleep 1111")
    seen = await node.output(f"ls -d /proc/[0-9]* | wc -l; ps ax; kill -0 {other.pid} || echo no such process")
    assert "sleep 1111" not in seen and "kubelet" not in seen
    assert "no such process" in seen
    assert int(seen.splitlines()[0]) <= 3


async def test_files_outside_the_image_are_out_of_reach(node: Node, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the node's\n")
    script = (
        f"for root in '' /proc/1/root /proc/self/cwd/../../.. /proc/1/cwd/..; do cat $root{tmp_path}/secret; done;"
        "ls -a / /..; cat /proc/self/mountinfo"
    )
    seen = await node.output(script)
    assert "the node's" not in seen
    # The mount table names folders of the node as the sources of binds and layers, but shows no mount of it.
    mount_points = {line.split()[4] for line in seen.splitlines() if " - " in line}
    host_only = {"/mnt", "/boot", "/root", "/srv", "/opt", str(tmp_path), str(node.root)}
    assert not mount_points & host_only
    assert "/" in mount_points and "/proc" in mount_points


async def test_the_network_of_other_pods_and_of_the_node_is_out_of_reach(node: Node) -> None:
    listen = (
        "perl -MSocket -e 'socket(S,AF_INET,SOCK_STREAM,0); bind(S,sockaddr_in(7777,INADDR_ANY)); listen(S,5);"
        'socket(U,AF_UNIX,SOCK_STREAM,0); bind(U,pack_sockaddr_un("\\0abstract")); listen(U,5); $|=1;'
        'print "ready\\n"; sleep 1000\''
    )
    connect = (
        "perl -MSocket -e 'socket(S,AF_INET,SOCK_STREAM,0);"
        'print((connect(S,sockaddr_in(7777,INADDR_LOOPBACK)) ? "in" : "out") . " ");'
        "socket(U,AF_UNIX,SOCK_STREAM,0);"
        'print((connect(U,pack_sockaddr_un("\\0abstract")) ? "in" : "out") . "\\n")\''
    )
    server = await node.run(listen)
    await node.printed(server.id, "ready")
    assert await node.output(connect, pod=node.pod_of(server.id)) == "in in\n"
    assert await node.output(connect) == "out out\n"
    interfaces = await node.output("ls /sys/class/net; cat /proc/net/dev | wc -l")
    assert "eth0" not in interfaces and "lo" in interfaces


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mount", ("none", "/mnt", "tmpfs", 0, 0)),
        ("umount2", ("/proc/kcore", 0)),
        ("pivot_root", ("/", "/")),
        ("unshare", (0x10000000,)),
        ("setns", (0, 0)),
        ("reboot", (0xFEE1DEAD, 672274793, 0, 0)),
        ("add_key", ("user", "x", "y", 1, 0xFFFFFFFD)),
        ("keyctl", (0, 0xFFFFFFFD, 0)),
        ("bpf", (0, 0, 0)),
        ("io_uring_setup", (1, 0)),
        ("userfaultfd", (0,)),
        ("init_module", (0, 0, "")),
        ("settimeofday", (0, 0)),
        ("sethostname", ("x", 1)),
        ("syslog", (3, 0, 0)),
        ("open_by_handle_at", (0, 0, 0)),
        ("perf_event_open", (0, 0, 0, 0, 0)),
        ("swapon", ("/x", 0)),
        ("kexec_load", (0, 0, 0, 0)),
    ],
)
async def test_calls_that_reach_the_node_are_refused(node: Node, name: str, arguments: tuple[int | str, ...]) -> None:
    assert await node.output(call(name, *arguments)) == f"{errno.EPERM}\n"


async def test_new_namespaces_can_not_be_made_by_clone_either(node: Node) -> None:
    new_user = 0x10000000 | signal.SIGCHLD
    assert await node.output(call("clone", new_user, 0, 0, 0, 0)) == f"{errno.EPERM}\n"
    assert await node.output(call("clone3", 0, 0)) == f"{errno.ENOSYS}\n"


async def test_without_a_filter_the_missing_capabilities_still_refuse(node: Node) -> None:
    script = "; ".join(
        [
            call("mount", "none", "/mnt", "tmpfs", 0, 0),
            call("reboot", 0xFEE1DEAD, 672274793, 0, 0),
            "grep Seccomp: /proc/self/status",
        ]
    )
    assert await node.output(script, linux={"seccomp": None}) == f"{errno.EPERM}\n{errno.EPERM}\nSeccomp:\t0\n"


async def test_devices_can_be_neither_made_nor_used(node: Node) -> None:
    script = (
        "mknod /tmp/disk b 254 0; mknod /tmp/mem c 1 1; mknod /tmp/console c 5 1;"
        "mknod /tmp/null c 1 3 && echo x >/tmp/null && echo usual;"
        "ls /dev; cat /dev/mem /dev/kmsg /dev/vda"
    )
    seen = await node.output(script)
    assert "/tmp/disk: Operation not permitted" in seen and "/tmp/mem: Operation not permitted" in seen
    assert "/tmp/console: Operation not permitted" in seen and "usual" in seen
    assert "mem: No such file" in seen and "vda: No such file" in seen


async def test_other_processes_of_the_pod_can_not_be_traced(node: Node) -> None:
    pod = await node.pod()
    target = await node.run("exec sleep 1000", pod=pod)
    attach = 16
    assert await node.output(call("ptrace", attach, target.pid, 0, 0), pod=pod) == f"{errno.ESRCH}\n"


async def test_the_holder_of_a_shared_process_namespace_gives_nothing_away(node: Node) -> None:
    pod = await node.pod(share_process_namespace=True)
    script = (
        "ls /proc/1/root/ /proc/1/fd/ /proc/1/cwd/; cat /proc/1/environ /proc/1/maps;"
        "grep -E 'Cap(Prm|Eff)' /proc/1/status"
    )
    everything = ["CAP_SYS_PTRACE", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH"]
    default = await node.output(script, pod=pod)
    assert default.count("Permission denied") >= 4
    assert "CapPrm:\t0000000000000000" in default
    traced = await node.output("ls -A /proc/1/root/ /proc/1/fd/ /proc/1/cwd/", pod=pod, capabilities=everything)
    assert traced == "/proc/1/cwd/:\n\n/proc/1/fd/:\n\n/proc/1/root/:\n"


async def test_what_tells_about_or_tunes_the_node_is_hidden_or_read_only(node: Node) -> None:
    script = (
        "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; ls /sys/firmware | wc -l;"
        "echo 1 >/proc/sys/vm/swappiness; echo c >/proc/sysrq-trigger; echo 1 >/proc/irq/default_smp_affinity;"
        "echo x >/sys/kernel/uevent_helper; mkdir /sys/fs/cgroup/x /sys/fs/cgroup/*/x"
    )
    lines = (await node.output(script)).splitlines()
    assert lines[:2] == ["0", "0"]
    assert lines[2:] and all("Read-only file system" in line or "cannot create" in line for line in lines[2:])


async def test_limits_can_not_be_lifted_from_inside(node: Node) -> None:
    files = "find /sys/fs/cgroup -name pids.max -o -name 'memory.*limit*' -o -name memory.max -o -name devices.allow"
    script = f"for file in $({files}); do echo $file; echo 1 >$file; done"
    linux = {"resources": {"pids": {"limit": 50}, "memory": {"limit": 64 * MIB}}}
    assert "directory nonexistent" not in (seen := await node.output(script, linux=linux))
    assert seen.count("Read-only file system") == seen.count("/sys/fs/cgroup") // 2 > 0


async def test_only_the_standard_streams_are_open(node: Node, tmp_path: Path) -> None:
    script = "for fd in /proc/self/fd/*; do echo $(basename $fd) $(readlink $fd); done"
    started = await node.run("perl", "-e", f"$|=1; {LIST_OPEN}; sleep 1000")
    await node.printed(started.id, "0")
    # The last one is the folder that is being read.
    assert node.log(started.id).split() == [".", "..", "0", "1", "2", "3"]
    _, inside, _ = await node.exec(started.id, "perl", "-e", LIST_OPEN)
    assert inside.split() == [".", "..", "0", "1", "2", "3"]
    assert "socket" not in await node.output(script)


async def test_a_terminal_leaves_no_descriptor_open_either(node: Node) -> None:
    assert (await node.output("perl", "-e", LIST_OPEN, tty=True)).split() == [".", "..", "0", "1", "2", "3"]


async def test_the_program_that_enters_containers_can_not_be_overwritten(node: Node) -> None:
    """CVE-2019-5736: through /proc/PID/exe a container reached the runtime's own program on the node."""
    pod = await node.pod()
    exe = f"/proc/{pod.supervisor_pid}/exe"
    assert os.statvfs(exe).f_flag & os.ST_RDONLY
    assert not os.access(exe, os.W_OK)


@pytest.mark.parametrize("rights", ["default", "own-users"])
async def test_a_process_that_enters_a_container_can_not_be_seized_on_the_way(node: Node, rights: str) -> None:
    """CVE-2016-9962: between setns and execve the runtime's memory and descriptors must stay its own.

    A container whose pod has users of its own may even have the right to trace: it holds for these alone.
    """
    attack = (
        "$|=1; print qq(ready\\n); my %seen; while (1) { for my $pid (map { m{(\\d+)} } glob(q(/proc/[0-9]*))) {"
        "next if $pid == $$; my $exe = readlink(qq(/proc/$pid/exe)) // next;"
        "print qq(exe $exe\\n) if $exe =~ /python/ && !$seen{$exe}++;"
        "for my $fd (glob(qq(/proc/$pid/fd/*))) { my $to = readlink($fd) // next;"
        "print qq(fd $to\\n) if $to !~ m{^(pipe:|/dev/null$|/usr/|/etc/ld.so)} && !$seen{$to}++ } } }"
    )
    own_users = rights == "own-users"
    pod = await node.pod(host_users=not own_users)
    capabilities = [*DEFAULT, "CAP_SYS_PTRACE"] if own_users else list(DEFAULT)
    attacker = await node.run("perl", "-e", attack, pod=pod, capabilities=capabilities)
    await node.printed(attacker.id, "ready")
    for _ in range(30):
        assert (await node.exec(attacker.id, "true", "x"))[0] == 0
    assert node.log(attacker.id) == "ready\n"


@pytest.mark.parametrize("place", ["proc/self/fd/3", "proc/self/fd/4", "proc/self/fd/5", "proc/self/fd/7", "link"])
async def test_the_working_directory_can_not_lie_outside(node: Node, place: str, tmp_path: Path) -> None:
    """CVE-2024-21626: a directory of the node that was still open became the working directory."""
    (tmp_path / "secret").touch()
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / "link").symlink_to(tmp_path)
    try:
        seen = await node.output(
            "ls; pwd -P; ls ../../../../..", process={"cwd": f"/{place}"}, lower_dirs=[str(layer), str(node.image)]
        )
    except RuntimeFailure:
        return
    assert "secret" not in seen


async def test_links_in_an_image_lead_no_mount_out_of_it(node: Node, tmp_path: Path) -> None:
    host, volume, layer = tmp_path / "host", tmp_path / "volume", tmp_path / "layer"
    for folder in (host, volume, layer, layer / "etc"):
        folder.mkdir()
    (host / "file").write_text("the node's\n")
    (volume / "mine").write_text("the volume's\n")
    (layer / "data").symlink_to(host)
    (layer / "climb").symlink_to("../../../../../../../../" + str(host))
    (layer / "etc" / "resolv.conf").symlink_to(host / "file")
    (layer / "deep").symlink_to(host / "not-there-yet")
    script = "cat /data/mine /climb/mine /etc/resolv.conf /deep/mine"
    mounts = [
        bind(volume, "/data"),
        bind(volume, "/climb"),
        bind(volume / "mine", "/etc/resolv.conf"),
        bind(volume, "/deep"),
    ]
    seen = await node.output(script, mounts=mounts, lower_dirs=[str(layer), str(node.image)])
    assert seen == "the volume's\n" * 4
    assert [path.name for path in host.iterdir()] == ["file"]
    assert (host / "file").read_text() == "the node's\n"


async def test_links_in_a_volume_lead_no_later_mount_out_of_the_container(node: Node, tmp_path: Path) -> None:
    host, evil, inner = tmp_path / "host", tmp_path / "evil", tmp_path / "inner"
    for folder in (host, evil, inner):
        folder.mkdir()
    (evil / "sub").symlink_to(host)
    (inner / "x").touch()
    seen = await node.output("ls /vol/sub/", mounts=[bind(evil, "/vol"), bind(inner, "/vol/sub")])
    assert seen == "x\n"
    assert list(host.iterdir()) == []


@pytest.mark.parametrize("name", ["proc", "sys"])
async def test_an_image_can_not_move_the_kernels_file_systems_away_from_their_masks(
    node: Node, name: str, tmp_path: Path
) -> None:
    """CVE-2019-19921: /proc as a link let the masks be put elsewhere than the mount."""
    layer = tmp_path / "layer"
    (layer / "elsewhere").mkdir(parents=True)
    (layer / name).symlink_to("/elsewhere")
    with pytest.raises(RuntimeFailure, match=f"/{name}: the destination is a symbolic link"):
        await node.run("true", lower_dirs=[str(layer), str(node.image)])


async def test_what_a_volume_calls_the_null_device_covers_nothing(node: Node, tmp_path: Path) -> None:
    """CVE-2025-31133: a link in place of /dev/null made core_pattern writable under the name of a masked file."""
    volume = tmp_path / "volume"
    volume.mkdir()
    (volume / "null").symlink_to("/proc/sys/kernel/core_pattern")
    with pytest.raises(RuntimeFailure, match="hide the host: the container's /dev/null is not the null device"):
        await node.run("true", mounts=[bind(volume, "/dev")])


@pytest.mark.parametrize("impostor", ["ln -s /proc/kmsg /dev/null", "mkfifo /dev/null", "touch /dev/null"])
async def test_nothing_but_the_null_device_is_opened_for_who_enters_a_container(node: Node, impostor: str) -> None:
    """What is opened for an exec is opened with rights that the container does not have."""
    started = await node.run(f"rm /dev/null; {impostor}; echo ready; exec sleep 1000")
    await node.printed(started.id, "ready")
    uid = node.pod_of(started.id).pod_uid
    with pytest.raises(RuntimeFailure, match="not the null device|Too many levels of symbolic links"):
        await node.runtime.exec(uid, started.id, ["true"], io=ExecIO())


@pytest.mark.parametrize("place", ["/proc", "/proc/sys", "/proc/self/attr", "/by-a-link"])
async def test_no_volume_comes_to_lie_in_proc(node: Node, place: str, tmp_path: Path) -> None:
    volume, layer = tmp_path / "volume", tmp_path / "layer"
    volume.mkdir()
    layer.mkdir()
    (layer / "by-a-link").symlink_to("/proc/sys/kernel")
    with pytest.raises(RuntimeFailure, match=f"{place}: nothing may be mounted inside of /proc"):
        await node.run("true", mounts=[bind(volume, place)], lower_dirs=[str(layer), str(node.image)])


async def test_a_file_of_proc_that_only_informs_can_be_covered(node: Node, tmp_path: Path) -> None:
    (tmp_path / "uptime").write_text("1.00 1.00\n")
    assert await node.output("cat /proc/uptime", mounts=[bind(tmp_path / "uptime", "/proc/uptime")]) == "1.00 1.00\n"


async def test_links_for_dev_stay_inside(node: Node, tmp_path: Path) -> None:
    host, layer = tmp_path / "host", tmp_path / "layer"
    host.mkdir()
    layer.mkdir()
    (layer / "dev").symlink_to(host)
    await node.output("true", lower_dirs=[str(layer), str(node.image)])
    assert list(host.iterdir()) == []


async def test_setuid_programs_give_no_rights_when_the_pod_says_so(node: Node, tmp_path: Path) -> None:
    program = tmp_path / "layer" / "id"
    program.parent.mkdir()
    shutil.copy("/usr/bin/id", program)
    program.chmod(0o4755)
    fields = {"lower_dirs": [str(program.parent), str(node.image)]}
    script = "/id -u; grep NoNewPrivs /proc/self/status"
    user = {"uid": 1234, "gid": 1234}
    assert await node.output(script, process={"user": user}, **fields) == "0\nNoNewPrivs:\t0\n"
    confined = {"user": user, "noNewPrivileges": True}
    assert await node.output(script, process=confined, **fields) == "1234\nNoNewPrivs:\t1\n"


async def test_a_filter_is_on_by_default_whatever_the_user(node: Node) -> None:
    for user in (0, 1234):
        for no_new_privileges in (False, True):
            process = {"user": {"uid": user, "gid": user}, "noNewPrivileges": no_new_privileges}
            seen = await node.output("grep -E '^Seccomp:' /proc/self/status", process=process)
            assert seen == "Seccomp:\t2\n"


async def test_capabilities_are_those_that_were_asked_for_and_no_others_can_be_had(node: Node) -> None:
    script = "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status | cut -f2 | tr '\\n' ' '"
    none, chown = "0000000000000000", "0000000000000001"
    assert await node.output(script, capabilities=["CAP_CHOWN"]) == f"{none} {chown} {chown} {chown} {none} "
    assert await node.output(script, capabilities=[]) == f"{none} " * 5
    user = {"user": {"uid": 1234, "gid": 1234}}
    seen = await node.output(script, capabilities=["CAP_CHOWN"], process=user)
    assert seen == f"{none} {none} {none} {chown} {none} "


async def test_a_privileged_container_is_as_root_on_the_node(node: Node) -> None:
    script = "mount -t tmpfs x /mnt && echo mounted; grep Seccomp: /proc/self/status; mknod /tmp/d b 7 0 && echo made"
    assert await node.output(script, privileged=True) == "mounted\nSeccomp:\t0\nmade\n"


async def test_a_container_over_its_memory_limit_is_killed_and_says_so(node: Node) -> None:
    linux = {"resources": {"memory": {"limit": 48 * MIB, "swap": 48 * MIB}}}
    ended = await node.ended(
        (await node.run("exec perl -e '$x = q(a) x (200 << 20); print length $x'", linux=linux)).id
    )
    assert (ended.exit_code, ended.signal, ended.oom_killed) == (137, 9, True)
    within = await node.ended((await node.run("exec perl -e '$x = q(a) x (10 << 20)'", linux=linux)).id)
    assert (within.exit_code, within.oom_killed) == (0, False)


async def test_a_kill_that_has_nothing_to_do_with_memory_is_no_oom_kill(node: Node) -> None:
    linux = {"resources": {"memory": {"limit": 48 * MIB}}}
    ended = await node.ended(
        (await node.run("kill -9 $$", linux=linux, pod=await node.pod(share_process_namespace=True))).id
    )
    assert (ended.exit_code, ended.oom_killed) == (137, False)


async def test_memory_of_the_pods_shared_memory_is_on_the_containers_account(node: Node) -> None:
    linux = {"resources": {"memory": {"limit": 32 * MIB, "swap": 32 * MIB}}}
    ended = await node.ended((await node.run("exec dd if=/dev/zero of=/dev/shm/x bs=1M count=60", linux=linux)).id)
    assert ended.oom_killed


async def test_a_fork_bomb_stops_at_its_limit_and_can_be_ended(node: Node) -> None:
    bomb = FORK_AND_STAY.replace("N", "2000")
    started = await node.run("perl", "-e", bomb, linux={"resources": {"pids": {"limit": 40}}})
    await node.printed(started.id, "refused")
    pod = node.pod_of(started.id)
    group = cgroups.present().directory("pids", f"{node.cgroup_root}/{pod.spec.cgroup_parent}/{started.id}")
    assert int(Path(group, "pids.current").read_text()) <= 40
    await node.runtime.signal_container(pod.pod_uid, started.id, signal.SIGKILL)
    await node.ended(started.id)
    assert not [process for process in node.processes() if process.endswith("perl")]


async def test_a_bomb_that_keeps_on_forking_is_removed_with_its_pod(node: Node) -> None:
    bomb = "perl -e 'while (1) { fork() }'"
    started = await node.run(
        bomb, linux={"resources": {"pids": {"limit": 60}, "cpu": {"quota": 50_000, "period": 100_000}}}
    )
    pod = node.pod_of(started.id)
    await node.runtime.remove_sandbox(pod.pod_uid)
    assert node.left_behind() == []


async def test_a_cpu_limit_is_held(node: Node) -> None:
    quota = 0.2
    linux = {"resources": {"cpu": {"quota": int(quota * 100_000), "period": 100_000}}}
    started = await node.run("while :; do :; done", linux=linux)
    path = f"{node.cgroup_root}/{node.pod_of(started.id).spec.cgroup_parent}/{started.id}"
    hierarchies = cgroups.present()

    def cpu_seconds() -> float:
        if hierarchies.version == 2:
            stat = dict(line.split() for line in Path(hierarchies.unified, path, "cpu.stat").read_text().splitlines())
            return int(stat["usage_usec"]) / 1e6
        return int(Path(hierarchies.directory("cpuacct", path), "cpuacct.usage").read_text()) / 1e9

    begin_cpu, begin = cpu_seconds(), time.monotonic()
    await asyncio.sleep(1.5)
    share = (cpu_seconds() - begin_cpu) / (time.monotonic() - begin)
    assert share < 1.5 * quota, f"used {share:.2f} of a CPU with a limit of {quota}"
    stat = Path(hierarchies.directory("cpu", path), "cpu.stat").read_text()
    assert int(dict(line.split() for line in stat.splitlines())["nr_throttled"]) > 0


async def test_limits_can_be_changed_while_a_container_runs(node: Node) -> None:
    linux = {"resources": {"memory": {"limit": 40 * MIB, "swap": 40 * MIB}, "pids": {"limit": 100}}}
    script = "read go; exec perl -e '$x = q(a) x (80 << 20); print length $x'"
    started = await node.run("while [ ! -e /tmp/go ]; do sleep 0.01; done; " + script.partition("; ")[2], linux=linux)
    uid = node.pod_of(started.id).pod_uid
    resources = {"memory": {"limit": 400 * MIB, "swap": 400 * MIB}, "pids": {"limit": 50}, "cpu": {"shares": 256}}
    await node.runtime.update_container_resources(uid, started.id, resources)
    await node.exec(started.id, "touch /tmp/go")
    assert (await node.ended(started.id)).exit_code == 0


async def test_the_limits_of_a_pod_hold_for_all_its_containers_together(node: Node) -> None:
    pod = await node.pod(cgroup_resources={"pids": {"limit": 20}})
    bomb = FORK_AND_STAY.replace("N", "200")
    first = await node.run("perl", "-e", bomb, pod=pod)
    await node.printed(first.id, "refused")
    group = cgroups.present().directory("pids", f"{node.cgroup_root}/{pod.spec.cgroup_parent}")
    await until(lambda: int(Path(group, "pids.current").read_text()) <= 20, "the count of processes")
