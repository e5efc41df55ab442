"""This node's runtime as an OCI command: what a container sees is what runc shows it, from the same bundle.

The scenarios are those of runc's own tests (tests/integration) and of the runtime-tools' validation: each property
of the specification, told by what can be seen in the container. Needs busybox, and runc and podman where they are
compared with or call us.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubelet.runtime import capabilities, cgroups, terminal
from kubelet.runtime import syscalls as sc
from tests.support import containers
from tests.support.bundles import OURS, REPOSITORY, Bundle, OCIRuntime, make_root

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, namespaces and cgroups"),
    pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox is not installed"),
]
needs_runc = pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
IDLE = "echo ready; exec sleep 1000"
SECONDS_MAX = 60.0

# The hierarchies that limits are in: our runtime leaves processes where they are in all others.
_LIMITED = re.compile(r":(cpu|cpuacct|memory|pids|devices)[,:]")
FACTS = r"""
f() { echo "== $1"; shift; "$@" 2>&1; }
f uid id -u; f gid id -g; f groups id -G; f umask umask; f pwd pwd; f host hostname; f environment env
f status grep -E '^(Cap|NoNewPrivs|Seccomp:|Groups|Uid|Gid)' /proc/self/status
f limits cat /proc/self/limits
f oom cat /proc/self/oom_score_adj
f mounts cat /proc/self/mountinfo
f devices find /dev -not -path '/dev/pts/*' -exec stat -c '%n %A %u %g %t %T %N' {} +
f cgroups cat /proc/self/cgroup
f domain cat /proc/sys/kernel/domainname
f shmmax cat /proc/sys/kernel/shmmax
f forward cat /proc/sys/net/ipv4/ip_forward
f links ip -o link show lo
f console ls /dev/console
f kcore head -c 1 /proc/kcore
f write sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
f touch touch /data/file /tmp/file /created /etc/file
f mkdir mkdir /tmp/folder
f node sh -c 'mknod /tmp/node c 1 3; cat /tmp/node; cat /dev/mine'
f raw sh -c 'cat /dev/mem | head -c 1'
f kill kill -0 1
f chown chown 5 /tmp
f seen cat /data/inner/seen /data/seen
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_root(tmp_path_factory.mktemp("root") / "rootfs")


@pytest.fixture(scope="module")
def group() -> Iterator[str]:
    """A cgroup for this file's containers, in all hierarchies; gone at its end, as all in it must be."""
    name = f"wherry-test/{uuid.uuid4().hex[:8]}"
    yield f"/{name}"
    points = [
        line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup" in line
    ]
    left = [path for point in points for path in Path(point, name).glob("*/")]
    assert not [path for path in left if not path.name.startswith("runc-")], left
    for point in points:
        for path in [*Path(point, name).glob("*/"), Path(point, name)]:
            if path.is_dir():
                path.rmdir()


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[OCIRuntime]:
    runtime = OCIRuntime(OURS, tmp_path / "state")
    yield runtime
    left = json.loads(runtime.call("list", "--format", "json").stdout) or []
    for entry in left:
        runtime.call("delete", "--force", entry["id"])
    assert not left


@pytest.fixture
def bundle(tmp_path: Path, root: Path, group: str) -> Bundle:
    return Bundle(tmp_path / "bundle", root, f"{group}/{tmp_path.name}")


def until(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)


def created(ours: OCIRuntime, bundle: Bundle, *options: str, output: Path | None = None) -> str:
    """Create a container whose output goes to a file; its name."""
    with (output or bundle.folder / "output").open("wb") as file:
        streams = {"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file}
        done = ours.call("create", *options, "box", bundle=bundle, **streams)
    assert done.returncode == 0, (bundle.folder / "output").read_text()
    return "box"


def started(ours: OCIRuntime, bundle: Bundle) -> str:
    """Create and start a container, and wait until it is ready."""
    name = created(ours, bundle)
    assert ours.call("start", name).returncode == 0
    until(lambda: "ready" in (bundle.folder / "output").read_text(), "the container")
    return name


# Side by side with runc.


def normalized(text: str) -> dict[str, Any]:
    """What FACTS printed, by name, without what differs from one container to the next."""
    facts: dict[str, Any] = {}
    for part in text.split("== ")[1:]:
        name, _, body = part.partition("\n")
        facts[name] = body
    for line in facts.pop("mounts").splitlines():
        place, what = mounted(line)
        facts[f"mount at {place}"] = (*facts.get(f"mount at {place}", ()), what)
    facts["cgroups"] = sorted(
        line.split(":", 1)[1] for line in facts["cgroups"].splitlines() if _LIMITED.search(line)
    )
    # runc makes /dev/core where the kernel has /proc/kcore; the specification knows no such link.
    facts["devices"] = sorted(line for line in facts["devices"].splitlines() if not line.startswith("/dev/core "))
    facts["environment"] = sorted(facts["environment"].splitlines())
    facts["links"] = facts["links"].split()[2]
    return facts


def mounted(line: str) -> tuple[str, str]:
    """One line of mountinfo: where; and how, what."""
    before, _, after = line.partition(" - ")
    place, options = before.split()[4:6]
    peers = [word.partition(":")[0] for word in before.split()[6:]]
    kind, _, own = after.split(" ", 2)
    if kind == "tmpfs" and place.startswith(("/proc/", "/sys/")):
        own = "ro"  # what masks a folder can hold nothing with us, and something with others
    return place, f"{sorted(options.split(','))} {peers} {kind} {sorted(own.split(','))}"


def varied(config: dict[str, Any], seed: int, volume: Path) -> None:
    """Change a config in as many ways as chance has it."""
    rng = random.Random(seed)
    process, linux = config["process"], config["linux"]
    if rng.random() < 0.5:
        process["user"] = {"uid": 1000, "gid": 1001, "additionalGids": [7, 8], "umask": 0o27}
    names = rng.sample(["CAP_CHOWN", "CAP_KILL", "CAP_MKNOD", "CAP_NET_ADMIN", "CAP_SYS_ADMIN", "CAP_SETUID"], 3)
    process["capabilities"] = {kind: names for kind in ("bounding", "effective", "permitted")}
    if rng.random() < 0.3:
        process["capabilities"].update(inheritable=names, ambient=names[:1])
    process["noNewPrivileges"] = rng.random() < 0.5
    process["cwd"] = rng.choice(["/", "/tmp", "/made/by/the/runtime"])
    process["env"] += rng.sample(["A=1", "EMPTY=", "HOME=/elsewhere", "A=2", "WITH=a=b c"], 3)
    process["rlimits"].append({"type": "RLIMIT_CORE", "soft": rng.choice([0, 4096]), "hard": 8192})
    if rng.random() < 0.5:
        process["oomScoreAdj"] = rng.choice([300, 1000])
    config["root"]["readonly"] = rng.random() < 0.4
    mounts = [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=1777", "size=1m"]},
        {
            "destination": "/data",
            "type": "bind",
            "source": str(volume),
            "options": [
                rng.choice(["rbind", "bind"]),
                *rng.sample(["ro", "nosuid", "nodev", "noexec", "rprivate"], 2),
            ],
        },
        {"destination": "/etc/name", "type": "bind", "source": str(volume / "seen"), "options": ["bind", "ro"]},
        {
            "destination": "/dev/mqueue",
            "type": "mqueue",
            "source": "mqueue",
            "options": ["nosuid", "noexec", "nodev"],
        },
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "mode=1777", "size=64k"]},
    ]
    config["mounts"] += rng.sample(mounts[:1] + mounts[2:], 3) + mounts[1:2]
    linux["rootfsPropagation"] = rng.choice(["", "rslave", "slave", "private", "rprivate"])
    if rng.random() < 0.6:
        linux["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shmmax": "1048576"}
    linux["maskedPaths"] = rng.sample(["/proc/kcore", "/proc/keys", "/sys/firmware", "/proc/acpi", "/proc/none"], 3)
    linux["readonlyPaths"] = rng.sample(["/proc/sys", "/proc/bus", "/proc/fs", "/data/none"], 2)
    if rng.random() < 0.5:
        mine = {"path": "/dev/mine", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 5, "gid": 6}
        linux["devices"] = [mine]
        linux["resources"]["devices"].append({"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"})
    if rng.random() < 0.5:
        refused = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}
        architectures = ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"]
        linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": architectures, "syscalls": [refused]}
    if rng.random() < 0.3:
        linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] not in ("ipc", "cgroup")]
        linux.get("sysctl", {}).pop("kernel.shmmax", None)


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with another mounted in it."""
    folder = tmp_path_factory.mktemp("volume")
    (folder / "seen").write_text("outer\n")
    (folder / "inner").mkdir()
    sc.mount("tmpfs", str(folder / "inner"), "tmpfs")
    (folder / "inner" / "seen").write_text("inner\n")
    folder.chmod(0o777)
    yield folder
    sc.umount2(str(folder / "inner"), sc.MNT_DETACH)


@needs_runc
@pytest.mark.parametrize("seed", range(6))
def test_a_container_sees_what_runc_would_show_it(
    ours: OCIRuntime, tmp_path: Path, root: Path, group: str, volume: Path, seed: int
) -> None:
    seen = {}
    for name, runtime in (("runc", OCIRuntime(("runc",), tmp_path / "runc")), ("ours", ours)):
        fresh = Path(shutil.copytree(root, tmp_path / f"{name}-root", symlinks=True))
        bundle = Bundle(tmp_path / name, fresh, f"{group}/side-by-side-{seed}")
        varied(bundle.config, seed, volume)
        bundle.script(FACTS)
        done = runtime.call("run", f"box-{seed}", bundle=bundle)
        assert done.stdout.startswith("== uid"), done.stderr
        seen[name] = normalized(done.stdout)
        (volume / "file").unlink(missing_ok=True)
    facts = sorted({*seen["ours"], *seen["runc"]})
    differing = [
        f"{fact}: {both[0]!r}, runc: {both[1]!r}"
        for fact in facts
        if (both := [told.get(fact) for told in (seen["ours"], seen["runc"])]) and both[0] != both[1]
    ]
    assert not differing, "\n".join(differing)


# What a container goes through.


def test_a_container_is_created_started_ended_and_deleted(ours: OCIRuntime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.script("echo ready; read line; exit 3")
    bundle.config["annotations"] = {"org.example.key": "value"}
    pid_file = tmp_path / "pid"
    name = created(ours, bundle, "--pid-file", str(pid_file))
    state = json.loads(ours.call("state", name).stdout)
    assert (state["id"], state["status"], state["bundle"]) == (name, "created", str(bundle.folder))
    assert state["annotations"] == {"org.example.key": "value"} and state["pid"] == int(pid_file.read_text())
    assert (bundle.folder / "output").read_text() == "", "nothing runs before it is started"
    assert "already exists" in ours.call("create", name, bundle=bundle).stderr
    assert ours.call("start", name).returncode == 0
    until(lambda: ours.status(name) == "stopped", "the end")
    assert json.loads(ours.call("state", name).stdout)["pid"] == 0
    for wrong in (("start", name), ("kill", name, "TERM"), ("exec", name, "true")):
        assert ours.call(*wrong).returncode != 0, wrong
    assert ours.call("delete", name).returncode == 0
    assert "container does not exist" in ours.call("state", name).stderr
    assert ours.call("delete", name).returncode == 1 and ours.call("delete", "--force", name).returncode == 0


def test_what_runs_is_killed_before_it_is_deleted(ours: OCIRuntime, bundle: Bundle) -> None:
    bundle.script(IDLE)
    name = started(ours, bundle)
    assert "cannot start a running container" in ours.call("start", name).stderr
    assert "that is not stopped: running" in ours.call("delete", name).stderr
    assert "unknown signal 'SIGNONE'" in ours.call("kill", name, "SIGNONE").stderr
    assert ours.call("kill", name, "KILL").returncode == 0
    until(lambda: ours.status(name) == "stopped", "the end")
    assert ours.call("delete", name).returncode == 0
    bundle.script(IDLE)
    name = started(ours, bundle)
    assert ours.call("delete", "--force", name).returncode == 0
    name = created(ours, bundle)
    assert ours.call("delete", name).returncode == 0, "what was never started needs no force"


def test_whoever_called_hears_how_the_container_ends(ours: OCIRuntime, bundle: Bundle) -> None:
    """As conmon and containerd's shim do: the command ends, and its child comes to the next subreaper."""
    bundle.script("exit 42")
    sc.prctl(sc.PR_SET_CHILD_SUBREAPER, 1)
    try:
        name = created(ours, bundle)
        pid = json.loads(ours.call("state", name).stdout)["pid"]
        assert ours.call("start", name).returncode == 0
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
    finally:
        sc.prctl(sc.PR_SET_CHILD_SUBREAPER, 0)
    assert ours.call("delete", name).returncode == 0


def test_run_is_as_the_program_itself(ours: OCIRuntime, bundle: Bundle) -> None:
    bundle.script("cat; echo $0 >&2; exit 5")
    bundle.write()
    command = [*ours.command, "run", "--bundle", str(bundle.folder), "box"]
    done = subprocess.run(command, input=b"typed", capture_output=True, timeout=30, check=False, env=ENVIRONMENT)
    assert (done.returncode, done.stdout, done.stderr) == (5, b"typed", b"sh\n")
    bundle.script("trap 'echo told; exit 6' TERM; echo ready; while true; do sleep 0.05; done")
    bundle.write()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdout is not None and process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.read() == b"told\n" and process.wait(20) == 6
    assert ours.call("list", "--quiet").stdout == ""


def test_a_command_that_is_not_there_is_told_when_the_container_is_made(ours: OCIRuntime, bundle: Bundle) -> None:
    bundle.config["process"]["args"] = ["nowhere"]
    log = bundle.folder / "log"
    done = ours.call("create", "box", bundle=bundle)
    assert done.returncode == 1 and 'exec: "nowhere": executable file not found in $PATH' in done.stderr
    ours.command += ["--log", str(log), "--log-format", "json"]
    assert ours.call("create", "box", bundle=bundle).returncode == 1
    entry = json.loads(log.read_text().splitlines()[-1])
    assert entry["level"] == "error" and "executable file not found" in entry["msg"] and entry["time"]
    assert ours.call("list", "--quiet").stdout == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: config.pop("root"), "process and root must be given"),
        (lambda config: config.update(ociVersion="2.0"), "unsupported ociVersion '2.0'"),
        (lambda config: config["linux"]["namespaces"].append({"type": "user"}), "user namespaces are not supported"),
        (lambda config: config["linux"]["namespaces"].append({"type": "odd"}), "namespace 'odd' is unknown"),
        (lambda config: config["linux"].update(sysctl={"vm.swappiness": "1"}), "is not the pod's own"),
        (lambda config: config["root"].update(path="/nowhere"), "invalid rootfs"),
        (lambda config: config["linux"].update(cgroupsPath="a.slice:b:c"), "is one for systemd"),
        (lambda config: config["process"].update(apparmorProfile="x"), "apparmorProfile is not supported"),
        (lambda config: config["process"].update(cwd="tmp"), "is not absolute"),
    ],
)
def test_what_can_not_be_is_refused_and_leaves_nothing(
    ours: OCIRuntime, bundle: Bundle, change: Callable[[Any], Any], words: str
) -> None:
    change(bundle.config)
    done = ours.call("create", "box", bundle=bundle)
    assert done.returncode == 1 and words in done.stderr
    assert ours.call("list", "--quiet").stdout == ""


def test_hooks_run_in_their_order_and_are_told_of_the_container(ours: OCIRuntime, bundle: Bundle, root: Path) -> None:
    told = bundle.folder / "told"

    def hook(kind: str) -> dict[str, Any]:
        where = "/told" if kind == "startContainer" else str(told)
        script = f"printf '%s %s ' {kind} $WORD >>{where}; cat >>{where}; echo >>{where}"
        return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["WORD=word", "PATH=/bin:/usr/bin"]}

    before = ("prestart", "createRuntime", "createContainer")
    bundle.config["hooks"] = {kind: [hook(kind)] for kind in (*before, "startContainer", "poststart", "poststop")}
    bundle.script("cat /told; sleep 1000")

    def heard() -> list[tuple[str, str, str]]:
        lines = [line.split(" ", 2) for line in told.read_text().splitlines()]
        assert all(json.loads(line[2])["id"] == "box" and line[1] == "word" for line in lines)
        return [(line[0], json.loads(line[2])["status"], json.loads(line[2])["bundle"]) for line in lines]

    folder = str(bundle.folder)
    name = created(ours, bundle)
    assert heard() == [(kind, "creating", folder) for kind in before]
    assert ours.call("start", name).returncode == 0
    assert heard()[3:] == [("poststart", "running", folder)]
    until(lambda: "startContainer word" in (bundle.folder / "output").read_text(), "the container's own hook")
    assert ours.call("delete", "--force", name).returncode == 0
    assert heard()[4:] == [("poststop", "stopped", folder)]
    (root / "told").unlink()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
def test_a_hook_that_fails_ends_the_creation(ours: OCIRuntime, bundle: Bundle, kind: str) -> None:
    bundle.config["hooks"] = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", "echo no; exit 3"]}]}
    done = ours.call("create", "box", bundle=bundle)
    assert (
        done.returncode == 1 and f"error running {kind} hook #0: exit status 3, stdout and stderr: no" in done.stderr
    )
    if kind == "createRuntime":
        bundle.config["hooks"] = {kind: [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]}
        assert "hook ran past specified timeout of 1s" in ours.call("create", "box", bundle=bundle).stderr
    assert ours.call("list", "--quiet").stdout == ""


def test_nothing_is_left_of_a_creation_that_is_killed_at_any_time(ours: OCIRuntime, bundle: Bundle) -> None:
    bundle.script(IDLE)
    bundle.write()
    command = [*ours.command, "create", "--bundle", str(bundle.folder), "box"]
    null = subprocess.DEVNULL
    path = bundle.config["linux"]["cgroupsPath"].strip("/")
    groups = [Path(folder) for folder in cgroups.present().directories(path, cgroups.CONTROLLERS)]
    began = time.monotonic()
    subprocess.run(command, check=True, stdin=null, stdout=null, stderr=null, env=ENVIRONMENT)
    whole = time.monotonic() - began
    assert ours.call("delete", "--force", "box").returncode == 0
    for step in range(8):
        with subprocess.Popen(command, stdin=null, stdout=null, stderr=null, env=ENVIRONMENT) as process:
            # From when its modules are loaded to its end.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(whole * (0.5 + step / 16))
            process.kill()
        assert ours.call("delete", "--force", "box").returncode == 0
        assert not (ours.root / "box").exists() and not [group for group in groups if group.exists()]


def test_further_processes_join_a_container(ours: OCIRuntime, bundle: Bundle, tmp_path: Path) -> None:
    bundle.script(IDLE)
    bundle.config["process"]["env"].append("COLOR=red")
    name = started(ours, bundle)
    done = ours.call(
        "exec", "--env", "MORE=1", "--cwd", "/tmp", name, "sh", "-c", "pwd; hostname; echo $COLOR $MORE; exit 9"
    )
    assert (done.returncode, done.stdout) == (9, "/tmp\nbox\nred 1\n")
    script = "for n in pid net ipc uts mnt cgroup; do readlink /proc/self/ns/$n; readlink /proc/1/ns/$n; done"
    joined = ours.call("exec", name, "sh", "-c", f"{script} | sort | uniq -c").stdout.splitlines()
    assert len(joined) == 6 and all(line.split()[0] == "2" for line in joined)
    done = ours.call(
        "exec", "--user", "1000:1001", "--additional-gids", "7", name, "sh", "-c", "id -u; id -G; echo $HOME"
    )
    assert done.stdout == "1000\n1001 7\n/home/web\n"
    done = ours.call("exec", "--cap", "CAP_KILL", name, "grep", "CapEff", "/proc/self/status")
    assert done.stdout.split()[1].endswith("20")
    assert ours.call("exec", name, "nowhere").returncode == 255
    process = tmp_path / "process.json"
    process.write_text(
        json.dumps({**bundle.config["process"], "args": ["sh", "-c", "echo $$ >/tmp/mine; sleep 1000"]})
    )
    pid_file = tmp_path / "further"
    options = ("--detach", "--pid-file", str(pid_file), "--process", str(process))
    assert ours.call("exec", *options, name, stdout=subprocess.DEVNULL).returncode == 0
    assert int(pid_file.read_text()) in json.loads(ours.call("ps", "--format", "json", name).stdout)
    table = ours.call("ps", name).stdout.splitlines()
    assert table[0].split()[0] == "UID" and len(table) == 3
    assert ours.call("kill", "--all", name, "KILL").returncode == 0
    until(lambda: ours.status(name) == "stopped", "the end")
    assert ours.call("delete", name).returncode == 0


def test_the_nodes_python_is_out_of_a_containers_reach(ours: OCIRuntime, bundle: Bundle) -> None:
    """A program that runs in there for a moment could be opened as /proc/PID/exe, and written to (CVE-2019-5736)."""
    held = {kind: list(capabilities.DEFAULT) for kind in ("bounding", "effective", "permitted")}
    bundle.config["process"]["capabilities"] = held
    bundle.script(IDLE)
    name = created(ours, bundle)
    done = ours.call("exec", name, "sh", "-c", "cat /proc/1/comm; readlink /proc/1/exe; cat </proc/1/exe")
    assert done.stdout == "wherry:[init]\n" and "ermission denied" in done.stderr
    found = 'e=$(readlink $p/exe 2>/dev/null); case "$e" in ""|/bin/busybox) ;; *) echo "$e";; esac'
    bundle.script(f"echo ready; while true; do for p in /proc/[0-9]*; do {found}; done; done")
    assert ours.call("delete", name).returncode == 0
    name = started(ours, bundle)
    for _ in range(3):
        assert ours.call("exec", name, "true").returncode == 0
    assert (bundle.folder / "output").read_text() == "ready\n"
    assert ours.call("delete", "--force", name).returncode == 0


def console(path: Path) -> tuple[socket.socket, Callable[[], int]]:
    """A console socket, and how to get the terminal that was sent to it."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1)
    listener.settimeout(SECONDS_MAX)

    def receive() -> int:
        with listener.accept()[0] as connection:
            return socket.recv_fds(connection, 4096, 1)[1][0]

    return listener, receive


def seen(master: int, words: bytes) -> bytes:
    """What a terminal shows, up to some words."""
    shown = b""
    while words not in shown:
        assert select.select([master], [], [], SECONDS_MAX)[0], shown
        shown += os.read(master, 4096)
    return shown


def test_terminals_are_given_to_the_engine(ours: OCIRuntime, bundle: Bundle) -> None:
    # Not below the test's folder: the path of a socket is short.
    place = Path(f"/tmp/{uuid.uuid4().hex}")
    bundle.script("tty; stty size; read line; echo got $line; sleep 1000")
    bundle.config["process"]["terminal"] = True
    assert "without setting console socket" in ours.call("create", "box", bundle=bundle).stderr
    bundle.config["process"]["consoleSize"] = {"height": 33, "width": 77}
    listener, receive = console(place)
    with listener:
        name = created(ours, bundle, "--console-socket", str(place))
        master = receive()
        assert ours.call("start", name).returncode == 0
        assert b"/dev/" in seen(master, b"33 77")
        os.write(master, b"hello\n")
        seen(master, b"got hello")
        os.close(master)
        done = ours.call(
            "exec", "--tty", "--detach", "--console-socket", str(place), name, "sh", "-c", "tty; sleep 1000"
        )
        assert done.returncode == 0
        master = receive()
        seen(master, b"/dev/pts/1")
        os.close(master)
    place.unlink()
    assert ours.call("delete", "--force", name).returncode == 0


def test_a_terminal_in_the_foreground_is_passed_through(ours: OCIRuntime, bundle: Bundle) -> None:
    bundle.script("stty size; read line; echo got $line; exit 4")
    bundle.config["process"]["terminal"] = True
    bundle.write()
    pid, master = pty.fork()
    if pid == 0:
        terminal.resize(0, 77, 33)
        os.environ["PYTHONPATH"] = str(REPOSITORY)
        os.execv(ours.command[0], [*ours.command, "run", "--bundle", str(bundle.folder), "box"])
    os.write(master, b"hello\n")
    assert b"33 77" in seen(master, b"got hello")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 4
    os.close(master)


def test_limits_hold_are_changed_and_told(ours: OCIRuntime, bundle: Bundle, tmp_path: Path) -> None:
    limits = {"memory": {"limit": 64 << 20}, "pids": {"limit": 33}, "cpu": {"shares": 512}}
    bundle.config["linux"]["resources"].update(limits)
    bundle.script(IDLE)
    name = started(ours, bundle)
    path = bundle.config["linux"]["cgroupsPath"].strip("/")

    def limited() -> cgroups.Limits:
        return cgroups.read_limits(
            cgroups.present(), path, lambda file: Path(file).read_text() if Path(file).exists() else ""
        )

    assert limited().memory == 64 << 20
    assert ours.call("update", "--memory", str(96 << 20), "--pids-limit", "44", name).returncode == 0
    assert limited().memory == 96 << 20
    file = tmp_path / "resources"
    file.write_text(json.dumps({"memory": {"limit": 80 << 20}}))
    assert ours.call("update", "--resources", str(file), name).returncode == 0
    assert limited().memory == 80 << 20
    told = json.loads(ours.call("events", "--stats", name).stdout)["data"]
    assert (
        told["pids"]["limit"] == 44 and told["memory"]["usage"]["limit"] == 80 << 20 and told["pids"]["current"] == 1
    )
    assert ours.call("delete", "--force", name).returncode == 0


def test_a_container_is_paused_and_goes_on(ours: OCIRuntime, bundle: Bundle) -> None:
    bundle.script("echo ready; while true; do echo tick; sleep 0.01; done")
    name = started(ours, bundle)
    output = bundle.folder / "output"
    assert ours.call("pause", name).returncode == 0 and ours.status(name) == "paused"
    size = output.stat().st_size
    assert "paused container" in ours.call("exec", name, "true").stderr
    assert output.stat().st_size == size
    assert ours.call("resume", name).returncode == 0 and ours.status(name) == "running"
    until(lambda: output.stat().st_size > size, "it to go on")
    assert ours.call("pause", name).returncode == 0
    assert ours.call("delete", "--force", name).returncode == 0, "what is paused can be removed"


def test_containers_join_the_namespaces_of_others(
    ours: OCIRuntime, bundle: Bundle, tmp_path: Path, root: Path, group: str
) -> None:
    bundle.script(IDLE)
    name = started(ours, bundle)
    pid = json.loads(ours.call("state", name).stdout)["pid"]
    second = Bundle(tmp_path / "second", root, f"{group}/second")
    files = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts"}
    joined = [{"type": kind, "path": f"/proc/{pid}/ns/{file}"} for kind, file in files.items()]
    second.config["linux"]["namespaces"] = [*joined, {"type": "mount"}, {"type": "cgroup"}]
    second.config.pop("hostname")
    second.script("hostname; cat /proc/1/cmdline | tr '\\0' ' '; readlink /proc/self/ns/net")
    done = ours.call("run", "second", bundle=second)
    assert done.stdout == f"box\nsleep 1000 {Path(f'/proc/{pid}/ns/net').readlink()}\n", done.stderr
    assert ours.call("delete", "--force", name).returncode == 0


def test_descriptors_that_the_engine_passes_on_are_the_programs(ours: OCIRuntime, bundle: Bundle) -> None:
    bundle.script("cat <&3; ls /proc/self/fd | wc -l")
    reads, writes = os.pipe()
    os.write(writes, b"passed\n")
    os.close(writes)
    high = [os.dup(reads) for _ in range(1)]
    bundle.write()
    command = [*ours.command, "run", "--bundle", str(bundle.folder), "--preserve-fds", "1", "box"]
    script = f'exec 3<&{reads} "$@"'
    done = subprocess.run(
        ["bash", "-c", script, "bash", *command],
        capture_output=True,
        text=True,
        pass_fds=(reads, *high),
        timeout=30,
        check=False,
        env=ENVIRONMENT,
    )
    for fd in (reads, *high):
        os.close(fd)
    # Besides the three standard streams and the one that was passed on, ls(1) has the folder itself open.
    assert done.stdout == "passed\n5\n", done.stderr


def test_the_command_tells_about_itself(ours: OCIRuntime, tmp_path: Path) -> None:
    told = json.loads(ours.call("features").stdout)
    assert told["ociVersionMin"] == "1.0.0" and "rro" in told["mountOptions"] and "poststop" in told["hooks"]
    assert told["linux"]["seccomp"]["enabled"] and "network" in told["linux"]["namespaces"]
    assert ours.call("--version").stdout.startswith("wherry-runtime version ")
    assert ours.call("spec", "--bundle", str(tmp_path)).returncode == 0
    assert json.loads((tmp_path / "config.json").read_text())["process"]["args"] == ["sh"]
    assert "Remove it first" in ours.call("spec", "--bundle", str(tmp_path)).stderr
    assert "unknown command 'checkpoint'" in ours.call("checkpoint").stderr
    assert "flag provided but not defined" in ours.call("delete", "--farce", "x").stderr
    assert "--systemd-cgroup" in ours.call("--systemd-cgroup", "list").stderr


# Other engines.


async def test_our_own_node_agent_can_call_it(tmp_path: Path) -> None:
    async with containers.started_node(tmp_path, {"command": OURS}) as node:
        pod = await node.pod(runtime_handler="command")
        idle = await node.run("trap 'exit 6' TERM; echo ready; sleep 1000 & wait", pod=pod)
        await node.printed(idle.id, "ready")
        assert await node.exec(idle.id, "cat; exit 9", stdin=b"typed") == (9, "typed", "")
        assert (await node.exec(idle.id, "test -t 0; exit $?", tty=True))[0] == 0
        await node.runtime.signal_container(pod.pod_uid, idle.id, signal.SIGTERM)
        assert (await node.ended(idle.id)).exit_code == 6
        assert "shell" in await node.output("echo $SHELL; echo shell", pod=pod, tty=True)


PODMAN = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "wherry"
cgroup_manager = "cgroupfs"
events_logger = "file"
[engine.runtimes]
wherry = ["{command}"]
"""


@pytest.mark.skipif(not shutil.which("podman") or not shutil.which("conmon"), reason="podman is not installed")
def test_podman_runs_containers_by_it(tmp_path: Path, root: Path) -> None:
    command = tmp_path / "wherry-runtime"
    command.write_text(f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {" ".join(OURS)} "$@"\n')
    command.chmod(0o755)
    config = tmp_path / "containers.conf"
    config.write_text(PODMAN.format(command=command))
    run_root = Path(f"/tmp/{uuid.uuid4().hex}")  # Podman wants it short
    store = ["--root", str(tmp_path / "store"), "--runroot", str(run_root), "--storage-driver", "overlay"]

    def podman(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CONTAINERS_CONF": str(config)}
        return subprocess.run(
            ["podman", *store, *arguments],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            check=False,
            env=environment,
        )

    archive = tmp_path / "root.tar"
    subprocess.run(["tar", "-C", str(root), "-cf", str(archive), "."], check=True)
    made = podman("import", str(archive), "localhost/box")
    assert made.returncode == 0, made.stderr
    try:
        run = ("run", "--rm", "--network", "none", "localhost/box")
        done = podman(*run, "sh", "-c", "id -u; exit 7")
        assert (done.returncode, done.stdout) == (7, "0\n"), done.stderr
        assert podman(*run, "/nowhere").returncode == 127
        script = "trap 'echo bye; exit 5' TERM; echo ready; while true; do sleep 0.05; done"
        done = podman(
            "run", "-d", "--name", "box", "--network", "none", "--memory", "50m", "localhost/box", "sh", "-c", script
        )
        assert done.returncode == 0, done.stderr
        assert podman("exec", "box", "sh", "-c", "exit 9").returncode == 9
        assert podman("exec", "-t", "box", "tty").stdout.startswith("/dev/pts/")
        assert podman("pause", "box").returncode == 0 and podman("unpause", "box").returncode == 0
        assert podman("stop", "-t", "10", "box").returncode == 0
        assert podman("logs", "box").stdout == "ready\nbye\n"
        assert podman("inspect", "--format", "{{.State.ExitCode}}", "box").stdout == "5\n"
    finally:
        podman("rm", "--force", "--all")
        podman("rmi", "--force", "--all")
        with contextlib.suppress(OSError):
            sc.umount2(str(tmp_path / "store" / "overlay"), sc.MNT_DETACH)
        shutil.rmtree(run_root, ignore_errors=True)
