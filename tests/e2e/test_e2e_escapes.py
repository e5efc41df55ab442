"""Ways out of a container that are known, each tried from inside of a pod, and refused.

One probe (tests/support/escape_probe.py) tries most of them, in pods of four kinds: a default one, whose user is
root; one of an ordinary user without any right; one with users of its own; one whose root file system is read-only.
What needs two to play is tried below. What layers of images try is in test_e2e_hostile_images.py, what only
containers with more rights than pods have by default could try in test_e2e_runtime_security.py.
"""

from __future__ import annotations

import asyncio
import copy
import ctypes
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from apimachinery.meta import Object, get_path
from kubelet.containers import subpaths
from kubelet.runtime import RuntimeFailure
from kubelet.runtime.syscall_numbers import numbers
from tests.support import containers
from tests.support.containers import bind
from tests.support.node import Node, node, pid_of

pytestmark = [
    pytest.mark.root,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for namespaces and cgroups"),
]
AT_FDCWD, RENAME_EXCHANGE = -100, 2
PROBE = Path(__file__).parents[1] / "support" / "escape_probe.py"
# A read-only or foreign file refuses before anybody asks who wants to write to it.
NOT_TO_BE_WRITTEN = {"EROFS", "EACCES", "EPERM", "ENOENT"}
NO_RIGHTS = {"runAsUser": 1000, "allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "root": ({}, {}),
    "user": (NO_RIGHTS, {}),
    "own-users": ({}, {"hostUsers": False}),
    "read-only": ({"readOnlyRootFilesystem": True}, {}),
}
Tried = dict[str, dict[str, Any]]


def program(*argv: str, name: str = "web", **fields: Any) -> dict[str, Any]:
    return {"name": name, "image": "localhost/host", "command": list(argv), **fields}


def shell(script: str, name: str = "web", **fields: Any) -> dict[str, Any]:
    return program("sh", "-c", f"trap 'exit 0' TERM; {script}", name=name, **fields)


FOREVER = "sleep 1000 & wait"
VOLUME = {"volumeMounts": [{"name": "volume", "mountPath": "/volume"}]}
VOLUMES = [{"name": "volume", "emptyDir": {}}]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Node]:
    async with node(tmp_path_factory.mktemp("node")) as made:
        yield made


async def ended(here: Node, name: str, *made: dict[str, Any], **spec: Any) -> Object:
    await here.create(name, *made, restartPolicy="Never", **spec)
    return await here.wait_for(name, lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def all_tried(here: Node, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[dict[str, Tried]]:
    """What the probe met in each kind of pod, beside a victim that has something to steal."""
    token = {"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
    mounted = [{"name": "token", "mountPath": "/token"}]
    await here.create("victim", shell(FOREVER, volumeMounts=mounted), volumes=[{"name": "token", **token}])
    victim = await here.running("victim")
    uid = victim["metadata"]["uid"]
    secret = tmp_path_factory.mktemp("secret") / "file"
    secret.write_text("the node's\n")
    assert here.agent.process is not None
    pids = {
        "the victim": pid_of(here, victim),
        "its supervisor": here.agent.supervisor_pid(victim),
        "the node agent": here.agent.process.pid,
    }
    known = {
        "numbers": numbers(os.uname().machine),
        "pids": pids,
        "secret": str(secret),
        "token": str(here.agent.root / "volumes" / uid / "token" / "token"),
        "volume": str(here.agent.root / "volumes" / uid),
        "key": str(here.agent.folder / "node-1" / "pki" / "kubelet.key"),
        "control": str(here.agent.root / "pods" / uid / "control"),
        "abstract": f"wherry-{uid}",
        "port": int(here.server.url.rpartition(":")[2]),
    }
    assert all(Path(known[name]).exists() for name in ("secret", "token", "volume", "key", "control"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{known['abstract']}")
        listener.listen()
        for kind, (context, spec) in KINDS.items():
            command = ("python3", "-I", "-c", PROBE.read_text(), json.dumps(known))
            made = program(*command, **VOLUME, securityContext=context)
            await here.create(f"probe-{kind}", made, restartPolicy="Never", volumes=VOLUMES, **spec)
        found: dict[str, Tried] = {}
        for kind in KINDS:
            pod = await here.wait_for(
                f"probe-{kind}", lambda pod: pod["status"].get("phase") in ("Succeeded", "Failed")
            )
            assert pod["status"]["phase"] == "Succeeded", here.output(pod)
            found[kind] = {**json.loads(here.output(pod)), "uid": pod["metadata"]["uid"], "victim": uid}
    yield found


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tried(all_tried: dict[str, Tried], kind: str) -> Tried:
    return copy.deepcopy(all_tried[kind])


def others_than(outcomes: dict[str, Any], *expected: str) -> dict[str, Any]:
    """Those that ended otherwise than they must."""
    return {name: outcome for name, outcome in outcomes.items() if outcome not in expected}


async def test_nothing_is_mounted_moved_or_laid_bare(tried: Tried) -> None:
    assert others_than(tried["mounts"], "EPERM") == {}


async def test_nothing_that_tunes_the_node_or_lifts_limits_is_written(tried: Tried) -> None:
    """Among it core_pattern and release_agent, which the kernel would run as root on the node."""
    assert others_than(tried["writes"], *NOT_TO_BE_WRITTEN) == {}
    assert tried["writes"]["/proc/sys/kernel/core_pattern"] in ("EROFS", "EACCES")


async def test_no_device_of_the_node_is_made_or_found(tried: Tried) -> None:
    assert others_than(tried["devices"], "EPERM") == {}
    terminal = tried["opens"].pop("/dev/tty")
    assert terminal == "ENXIO"
    assert others_than(tried["opens"], "ENOENT") == {}


async def test_no_namespace_is_made_or_entered(tried: Tried) -> None:
    assert tried["namespaces"].pop("clone3") == "ENOSYS"
    assert others_than(tried["namespaces"], "EPERM") == {}


async def test_what_exploits_of_the_kernel_begin_with_is_refused(tried: Tried) -> None:
    assert others_than(tried["kernel"], "EPERM") == {}


async def test_keys_of_others_are_neither_listed_nor_had(tried: Tried) -> None:
    assert others_than(tried["keys"], "EPERM") == {}
    assert tried["facts"]["keys"] == ""


async def test_processes_outside_are_neither_seen_nor_traced_read_or_signalled(tried: Tried) -> None:
    assert others_than(tried["strangers"], "ESRCH", "ENOENT") == {}
    assert tried["facts"]["processes"] == []


async def test_files_sockets_and_ports_outside_are_out_of_reach(tried: Tried) -> None:
    places = tried["places"]
    assert (
        places.pop("an abstract socket of the node") == places.pop("a port of the node's loopback") == "ECONNREFUSED"
    )
    assert places.pop("TIOCSTI") == places.pop("TIOCLINUX") == "ENXIO"  # there is no terminal to type into
    assert others_than(places, "ENOENT") == {}
    assert tried["victim"] not in tried["facts"]["mounts"]


async def test_what_tells_about_the_node_is_empty(tried: Tried) -> None:
    facts = tried["facts"]
    assert {facts["kcore"], facts["timer_list"]} <= {"", "ENOENT"} and facts["firmware"] == []
    assert facts["powercap"] in ([], "ENOENT")
    assert facts["interfaces"] == ["eth0", "lo"]
    assert facts["cgroup"] and all(group.startswith("/") and "pod" not in group for group in facts["cgroup"])


async def test_nothing_is_open_but_the_standard_streams(tried: Tried) -> None:
    assert tried["facts"]["open files"] == {"0": "/dev/null", "1": "pipe", "2": "pipe"}


async def test_a_filter_is_loaded_and_no_right_is_there_beyond_the_default(all_tried: dict[str, Tried]) -> None:
    shown = {kind: tried["facts"]["status"] for kind, tried in all_tried.items()}
    assert {status["Seccomp"] for status in shown.values()} == {"2"}
    default, none = "00000000a80425fb", "0000000000000000"
    assert shown["root"]["CapBnd"] == shown["root"]["CapEff"] == shown["own-users"]["CapEff"] == default
    assert shown["user"] == {
        "NoNewPrivs": "1",
        "Seccomp": "2",
        **dict.fromkeys(("CapEff", "CapBnd", "CapInh", "CapAmb"), none),
    }


async def test_who_enters_a_container_leaves_nothing_open_and_gets_no_more_rights(here: Node) -> None:
    rights = "grep -E 'Cap|Seccomp:|NoNew' /proc/self/status"
    look = f"for fd in /proc/self/fd/*; do echo fd ${{fd##*/}} $(readlink $fd); done; {rights}"
    hook = {"postStart": {"exec": {"command": ["sh", "-c", f"({look}) >/new; mv /new /seen"]}}}
    script = f"until [ -e /seen ]; do sleep 0.02; done; cat /seen; {rights}; {FOREVER}"
    await here.create("entered", shell(script, lifecycle=hook))
    pod = await here.running("entered")
    await here.eventually(lambda: here.output(pod).count("CapAmb") == 2)
    lines = here.output(pod).splitlines()
    # The last two are the shell's own: the file that it writes to for now, and the folder that it reads.
    opened = {line.split()[1]: line.split()[2:] for line in lines if line.startswith("fd ")}
    assert [
        to for to in opened.values() if to and not to[0].startswith(("/dev/null", "pipe:", "/new", "/proc/"))
    ] == []
    assert {number for number, to in opened.items() if to} <= {"0", "1", "2", "3", "10"}
    told = [line for line in lines if not line.startswith("fd ")]
    assert len(told) == 14 and told[:7] == told[7:]


async def test_a_setuid_program_gives_no_rights_to_who_may_not_escalate(here: Node) -> None:
    plant = shell("cp /usr/bin/id /volume/id && chmod 4755 /volume/id", name="plant", **VOLUME)
    run = [
        shell("/volume/id -u", name="may", **VOLUME, securityContext={"runAsUser": 1000}),
        shell("/volume/id -u", name="may-not", **VOLUME, securityContext=NO_RIGHTS),
    ]
    pod = await ended(here, "setuid", *run, initContainers=[plant], volumes=VOLUMES)
    assert (here.output(pod, "may"), here.output(pod, "may-not")) == ("0\n", "1000\n")


async def test_links_in_a_volume_lead_no_mount_and_no_part_of_it_to_the_node(here: Node, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the node's\n")
    links = f"ln -s {tmp_path} /volume/folder; ln -s / /volume/all; ln -s {tmp_path}/secret /volume/file"
    plant = shell(f"{links}; ln -s ../../../../..{tmp_path} /volume/climb", name="plant", **VOLUME)
    inner = {"name": "other", "mountPath": "/volume/folder/inner"}
    script = f"cat /volume/file /volume/climb/secret /volume/all/etc/hosts; ls /volume/folder/; ls {tmp_path}"
    container = shell(script, volumeMounts=[*VOLUME["volumeMounts"], inner])
    parts = [
        shell("true", name=f"part-{number}", volumeMounts=[{"name": "volume", "mountPath": "/x", "subPath": part}])
        for number, part in enumerate(("all", "folder/x", "climb/y", "file"))
    ]
    volumes = [*VOLUMES, {"name": "other", "emptyDir": {}}]
    await here.create("links", container, *parts, initContainers=[plant], volumes=volumes)
    pod = await here.wait_for("links", lambda pod: sum(map(is_over, statuses(pod))) == 1 + len(parts))
    seen = here.output(pod)
    # What it complains of is in the log in between, in an order of its own.
    printed = [line for line in seen.splitlines() if not line.startswith("cat: ")]
    assert "the node's" not in seen and "127.0.0.1" in seen and printed[-2:] == ["inner", "inner"]
    refused = [status for status in statuses(pod) if status["name"] != "web"]
    reasons = {get_path(status, "state", "waiting", "reason") for status in refused}
    assert reasons == {"CreateContainerConfigError"}
    assert [path.name for path in tmp_path.iterdir()] == ["secret"]


def statuses(pod: Object) -> list[dict[str, Any]]:
    return get_path(pod, "status", "containerStatuses", default=[])


def is_over(status: dict[str, Any]) -> bool:
    """True for a container that has run or was refused."""
    return bool(get_path(status, "state", "terminated") or get_path(status, "state", "waiting", "message"))


async def test_a_working_directory_or_a_command_by_open_files_leads_nowhere(here: Node) -> None:
    """CVE-2024-21626 and CVE-2019-5736: what the runtime had open, and its own program."""
    for number in range(3, 9):
        await here.create(f"cwd-{number}", shell("ls", workingDir=f"/proc/self/fd/{number}"), restartPolicy="Never")
    overwrite = (
        "import os\ntry: os.open('/proc/self/exe', os.O_WRONLY)\nexcept OSError: print('no')\nelse: print('yes')"
    )
    pod = await ended(here, "exe", program("/proc/self/exe", "-I", "-S", "-c", overwrite))
    assert "yes" not in here.output(pod)
    for number in range(3, 9):
        pod = await here.wait_for(f"cwd-{number}", lambda pod: any(map(is_over, statuses(pod))))
        message = pod["status"]["containerStatuses"][0]["state"]["waiting"]["message"]
        assert message.startswith(("enter the working directory: ", "make the working directory: ")), message
    for number in range(3, 9):
        await here.delete(f"cwd-{number}")


async def test_the_node_agents_server_tells_a_pod_nothing(here: Node) -> None:
    ask = (
        "import json, ssl, urllib.request, urllib.error\n"
        "context = ssl._create_unverified_context()\n"
        "for path in ('pods', 'exec/default/victim/web?command=id', 'metrics'):\n"
        "    try:\n"
        "        url = f'https://10.244.7.1:10250/{path}'\n"
        "        print(urllib.request.urlopen(url, context=context, timeout=5).status)\n"
        "    except urllib.error.HTTPError as error:\n"
        "        print(error.code)\n"
        "    except OSError as error:\n"
        "        print('refused')\n"
    )
    pod = await ended(here, "asks", program("python3", "-I", "-c", ask))
    assert set(here.output(pod).split()) <= {"401", "refused"}, here.output(pod)


@contextmanager
def swapping(place: Path, target: Path) -> Iterator[None]:
    """Something that is a link to `target` at every other moment, as another container may have it (renameat2(2))."""
    link, done = place.with_name("link"), threading.Event()
    link.symlink_to(target)
    renameat2 = ctypes.CDLL(None).renameat2
    arguments = (AT_FDCWD, os.fsencode(link), AT_FDCWD, os.fsencode(place), RENAME_EXCHANGE)

    def swap() -> None:
        while not done.is_set():
            renameat2(*arguments)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


async def test_a_folder_that_becomes_a_link_while_a_part_is_opened_leads_nowhere(tmp_path: Path) -> None:
    """CVE-2017-1002101 and CVE-2021-25741."""
    host, volume = tmp_path / "host", tmp_path / "volume"
    (host / "data").mkdir(parents=True)
    (volume / "part").mkdir(parents=True)
    forbidden = {(host / "data").stat().st_ino, host.stat().st_ino}
    opened = 0
    with swapping(volume / "part", host):
        for _ in range(1000):
            try:
                descriptor = subpaths.open_part(volume, "part/data")
            except (OSError, subpaths.OutsideVolume):
                continue
            assert os.fstat(descriptor).st_ino not in forbidden
            os.close(descriptor)
            opened += 1
    assert opened and [path.name for path in host.iterdir()] == ["data"] and list((host / "data").iterdir()) == []


async def test_a_folder_that_becomes_a_link_while_containers_are_made_leads_no_mount_out(tmp_path: Path) -> None:
    """The class of CVE-2021-30465: a destination inside of a volume that another container writes to."""
    host, volume, inner = tmp_path / "host", tmp_path / "volume", tmp_path / "inner"
    for folder in (host, volume, volume / "part", inner):
        folder.mkdir()
    (inner / "mine").touch()
    async with containers.started_node(tmp_path / "runtime-node") as bare:
        pod = await bare.pod()
        mounts = [bind(volume, "/volume"), bind(inner, "/volume/part/deep/place")]
        started = refused = 0

        async def start(count: int) -> None:
            nonlocal started, refused
            for _ in range(count):
                try:
                    state = await bare.run("/bin/true", "x", pod=pod, mounts=mounts, log_path="")
                except RuntimeFailure:
                    refused += 1
                else:
                    started += 1
                    await bare.runtime.remove_container(pod.pod_uid, state.id)

        with swapping(volume / "part", host):
            await asyncio.gather(*(start(25) for _ in range(4)))
    assert started + refused == 100 and started
    assert list(host.iterdir()) == []
    assert not [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(host) in line]


async def test_a_null_device_that_becomes_a_link_while_containers_are_made_makes_nothing_writable(
    tmp_path: Path,
) -> None:
    """CVE-2025-31133: what masks a file of /proc would be core_pattern, under the name of that file."""
    volume = tmp_path / "volume"
    volume.mkdir()
    os.mknod(volume / "null", 0o020666, os.makedev(1, 3))
    seen: list[str] = []
    refused = 0
    async with containers.started_node(tmp_path / "runtime-node") as bare:
        pod = await bare.pod()
        with swapping(volume / "null", Path("/proc/sys/kernel/core_pattern")):
            for _ in range(40):
                try:
                    state = await bare.run(
                        "stat -c %t:%T /proc/keys /proc/timer_list", pod=pod, mounts=[bind(volume, "/dev")]
                    )
                except RuntimeFailure:
                    refused += 1
                    continue
                await bare.ended(state.id)
                seen += bare.log(state.id).split()
    assert len(seen) == 2 * (40 - refused) and set(seen) <= {"1:3"}
    assert refused


async def test_who_sees_the_nodes_processes_may_still_not_look_into_the_node_agents(here: Node) -> None:
    """With hostPID, as root: whose capabilities are fewer may trace nobody who has more (ptrace(2))."""
    await here.create("kept", shell(FOREVER))
    kept = await here.running("kept")
    assert here.agent.process is not None
    pids = (here.agent.process.pid, here.agent.supervisor_pid(kept))
    script = "".join(
        f"cat /proc/{pid}/environ; ls /proc/{pid}/root/; readlink /proc/{pid}/fd/1 || echo denied;"
        f"head -c 1 /proc/{pid}/mem; nsenter -t {pid} -m true;"
        for pid in pids
    )
    pod = await ended(here, "sees", shell(f"({script}) 2>&1; kill -0 {pids[0]} && echo seen"), hostPID=True)
    lines = here.output(pod).splitlines()
    assert lines[-1] == "seen" and len(lines) == 11, lines
    refusals = ("Permission denied", "denied", "Operation not permitted")
    assert all(line.endswith(refusals) for line in lines[:-1]), lines


async def test_a_bomb_of_memory_kills_nothing_but_itself(here: Node) -> None:
    limits = {"resources": {"limits": {"memory": "48Mi"}}}
    bomb = program("python3", "-I", "-c", "b = bytearray(200 << 20)", **limits)
    await here.create("neighbour", shell(FOREVER))
    neighbour = await here.running("neighbour")
    pod = await ended(here, "memory", bomb)
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["reason"]) == (137, "OOMKilled")
    again = await here.get("neighbour")
    assert again is not None
    assert again["status"]["containerStatuses"] == neighbour["status"]["containerStatuses"]
