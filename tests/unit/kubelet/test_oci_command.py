"""The OCI command: its command line, what it knows of a container, and what a bundle becomes."""

from __future__ import annotations

import json
import os
import signal
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from kubelet.runtime import syscalls as sc
from kubelet.runtime import wire
from kubelet.runtime.cgroups import Hierarchies
from kubelet.runtime.oci_command import about, bundle, further_process, lifecycle, resources
from kubelet.runtime.oci_command.arguments import UsageError, parse
from kubelet.runtime.oci_command.main import main
from kubelet.runtime.oci_command.state import Failed, NoContainer, Record, alive, every, make_directory
from tests.support.bundles import CONFIG

V1 = Hierarchies(1, {name: f"/sys/fs/cgroup/{name}" for name in ("cpu", "memory", "pids", "devices", "freezer")})
V2 = Hierarchies(2, unified="/sys/fs/cgroup")


# The command line.


def test_options_stand_before_the_command_and_after_it() -> None:
    given = parse(["--root", "/r", "--log=/l", "create", "-b", "/b", "--pid-file", "/p", "--no-pivot", "box"])
    assert (given.value("root"), given.value("log"), given.command) == ("/r", "/l", "create")
    assert (given.value("bundle"), given.value("pid-file"), given.flag("no-pivot")) == ("/b", "/p", True)
    assert given.container_id == "box" and not given.flag("debug")


def test_options_end_where_arguments_begin() -> None:
    given = parse(["exec", "-t", "-e", "A=1", "--env", "B=2", "box", "ls", "-l", "--all"])
    assert given.rest == ["box", "ls", "-l", "--all"]
    assert given.flag("tty") and given.values("env") == ["A=1", "B=2"]
    assert parse(["kill", "--", "-odd"]).container_id == "-odd"


def test_long_options_may_have_one_dash_and_flags_a_value() -> None:
    assert parse(["delete", "-force", "x"]).flag("force") and not parse(["delete", "--force=false", "x"]).flag(
        "force"
    )
    assert parse(["list", "-f", "json"]).value("format") == "json" and parse(["delete", "-f", "x"]).flag("force")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["fly", "box"], "unknown command 'fly'"),
        (["delete", "--farce", "box"], "flag provided but not defined: --farce"),
        (["create", "--bundle"], "flag needs an argument: --bundle"),
    ],
)
def test_mistakes_are_told(words: list[str], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        parse(words)


def test_what_is_missing_is_told_where_it_is_needed() -> None:
    with pytest.raises(UsageError, match='"state" requires a container id'):
        _ = parse(["state"]).container_id
    with pytest.raises(UsageError, match="invalid value 'many' for --preserve-fds"):
        parse(["create", "--preserve-fds", "many", "x"]).number("preserve-fds")


def test_failures_go_to_the_log_that_the_engine_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "log"
    words = ["--root", str(tmp_path / "root"), "--log", str(log), "--log-format", "json"]
    assert main([*words, "state", "none"]) == 1 and main([*words, "exec", "none", "ls"]) == 255
    first = json.loads(log.read_text().splitlines()[0])
    assert (first["level"], first["msg"]) == ("error", "state: container does not exist")
    assert capsys.readouterr().err.startswith("wherry-runtime: state: container does not exist\n")
    log.unlink()
    words = ["--root", str(tmp_path / "root"), "--log", str(log)]
    assert main([*words, "state", 'a"b']) == 1
    assert 'level=error msg="state: invalid container ID format: \'a\\"b\'"' in log.read_text()


@pytest.mark.parametrize(
    ("text", "number"), [("9", signal.SIGKILL), ("TERM", signal.SIGTERM), ("SIGHUP", signal.SIGHUP), ("usr1", 10)]
)
def test_signals_go_by_number_and_by_name(text: str, number: int) -> None:
    assert lifecycle.signal_number(text) == number


@pytest.mark.parametrize("text", ["0", "99", "SIGNONE", "DFL", "-1"])
def test_what_is_no_signal_is_refused(text: str) -> None:
    with pytest.raises(Failed, match="unknown signal"):
        lifecycle.signal_number(text)


# What is known of a container.


def record(root: Path, pid: int, ticks: int | None = None, **data: Any) -> Record:
    make_directory(str(root), "box")
    known = {
        "bundle": "/b",
        "rootfs": "/b/rootfs",
        "created": "then",
        "annotations": {},
        "freezer": "/nowhere",
        "creating": False,
        **data,
    }
    known.update(pid=pid, start_ticks=wire.process_start_ticks(pid) if ticks is None else ticks)
    made = Record(str(root), "box", known)
    made.save()
    return Record.load(str(root), "box")


def test_a_container_is_created_until_it_was_started_and_runs_until_its_process_ends(tmp_path: Path) -> None:
    box = record(tmp_path, os.getpid())
    Path(box.start_socket).touch()
    assert box.status() == "created"
    Path(box.start_socket).unlink()
    assert box.status() == "running" and box.shown()["pid"] == os.getpid()
    box.data["creating"] = True
    assert box.status() == "creating"


def test_a_process_of_the_same_number_is_another(tmp_path: Path) -> None:
    box = record(tmp_path, os.getpid(), ticks=1)
    assert box.status() == "stopped" and box.shown()["pid"] == 0
    with pytest.raises(Failed, match="container not running"):
        box.open_process()


def test_a_process_that_nobody_has_waited_for_yet_has_ended() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    ticks = wire.process_start_ticks(pid)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert not alive(pid, ticks)
    os.waitpid(pid, 0)


@pytest.mark.parametrize(("file", "text"), [("freezer.state", "FROZEN\n"), ("cgroup.freeze", "1\n")])
def test_a_container_in_a_frozen_group_is_paused(tmp_path: Path, file: str, text: str) -> None:
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / file).write_text(text)
    assert record(tmp_path / "root", os.getpid(), freezer=str(tmp_path / "group")).status() == "paused"


def test_annotations_are_told_where_there_are_any(tmp_path: Path) -> None:
    assert "annotations" not in record(tmp_path / "a", 1).shown()
    assert record(tmp_path / "b", 1, annotations={"a": "b"}).shown()["annotations"] == {"a": "b"}


def test_names_are_taken_once_and_lead_nowhere_else(tmp_path: Path) -> None:
    make_directory(str(tmp_path), "box")
    with pytest.raises(Failed, match="container with given ID already exists"):
        make_directory(str(tmp_path), "box")
    for name in ("", ".", "..", "../box", "a/b", ".seccomp", "a b", "é"):
        with pytest.raises(Failed, match="invalid container ID format"):
            make_directory(str(tmp_path), name)
    assert every(str(tmp_path)) == [], "what is not made yet is not listed"
    with pytest.raises(NoContainer):
        Record.load(str(tmp_path), "box")


def test_all_containers_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path, os.getpid())
    about.list_(str(tmp_path), parse(["list"]))
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert line.split() == ["box", str(os.getpid()), "running", "/b", "then", "root"]


def test_what_a_creation_left_that_was_killed_at_once_is_removed_by_force(tmp_path: Path) -> None:
    make_directory(str(tmp_path), "box")
    assert main(["--root", str(tmp_path), "delete", "box"]) == 1
    assert main(["--root", str(tmp_path), "delete", "--force", "box"]) == 0
    assert list(tmp_path.iterdir()) == []


# What a bundle becomes.


def planned(tmp_path: Path, hierarchies: Hierarchies = V2, **changes: Any) -> dict[str, Any]:
    (tmp_path / "rootfs").mkdir(exist_ok=True)
    config = deepcopy(CONFIG)
    config["linux"].update(changes.pop("linux", {}))
    config["process"].update(changes.pop("process", {}))
    config["mounts"] += changes.pop("mounts", [])
    config.update(changes)
    return bundle.container(
        config,
        bundle=str(tmp_path),
        container_id="box",
        hierarchies=hierarchies,
        seccomp_program=lambda profile: "/program",
    )


def test_paths_are_relative_to_the_bundle(tmp_path: Path) -> None:
    mounts = [{"destination": "/data", "source": "volume", "options": ["bind"]}]
    made = planned(tmp_path, mounts=mounts)
    assert made["root_path"] == str(tmp_path / "rootfs")
    assert made["mounts"][-1]["source"] == str(tmp_path / "volume")


def test_namespaces_are_made_or_joined(tmp_path: Path) -> None:
    wanted = [{"type": "mount"}, {"type": "pid"}, {"type": "network", "path": "/run/netns/a"}, {"type": "uts"}]
    made = planned(tmp_path, linux={"namespaces": wanted})
    assert made["join"] == [("network", "/run/netns/a")] and made["make"] == sc.CLONE_NEWPID | sc.CLONE_NEWUTS
    assert made["node_cgroups"], "no cgroup namespace was asked for"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"linux": {"namespaces": [{"type": "pid"}]}}, "needs a mount namespace"),
        ({"linux": {"namespaces": [{"type": "mount", "path": "/x"}]}}, "a mount namespace"),
        ({"linux": {"namespaces": [{"type": "mount"}, {"type": "mount"}]}}, "is unknown or there twice"),
        ({"linux": {"namespaces": [{"type": "mount"}]}}, "unable to set hostname without a private UTS namespace"),
        ({"linux": {"uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]}}, "user namespaces"),
        ({"linux": {"rootfsPropagation": "odd"}}, "rootfsPropagation=odd"),
        ({"linux": {"cgroupsPath": "../up"}}, "invalid linux.cgroupsPath"),
        ({"linux": {"sysctl": {"kernel.panic": "1"}}}, "would tune the node"),
        ({"linux": {"personality": {"domain": "LINUX32"}}}, "linux.personality is not supported"),
        ({"process": {"args": []}}, "no command specified"),
        ({"process": {"selinuxLabel": "x"}}, "process.selinuxLabel is not supported"),
        ({"mounts": [{"destination": "relative", "type": "tmpfs"}]}, "invalid mount destination"),
        ({"mounts": [{"type": "tmpfs"}]}, "config.json: KeyError: 'destination'"),
    ],
)
def test_what_can_not_be_done_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Failed, match=words):
        planned(tmp_path, **changes)


def test_a_container_without_a_cgroups_path_has_a_group_of_its_name() -> None:
    assert bundle.cgroup_path("", "box") == "box" and bundle.cgroup_path("/a/b", "box") == "a/b"


def test_parameters_of_the_host_name_are_the_containers_own(tmp_path: Path) -> None:
    made = planned(tmp_path, linux={"sysctl": {"kernel.domainname": "example.com", "net.ipv4.ip_forward": "1"}})
    assert ("/proc/sys/kernel/domainname", "example.com") in made["sysctls"]


@pytest.mark.parametrize(("hierarchies", "places"), [(V1, {"cpu", "memory", "pids", "devices"}), (V2, set())])
def test_who_sees_the_nodes_cgroups_is_shown_its_own(
    tmp_path: Path, hierarchies: Hierarchies, places: set[str]
) -> None:
    mounts = [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}]
    namespaces = [{"type": kind} for kind in ("mount", "uts", "pid")]
    made = planned(tmp_path, hierarchies, linux={"namespaces": namespaces, "cgroupsPath": "/g"}, mounts=mounts)[
        "mounts"
    ]
    binds = {entry["source"]: entry["destination"] for entry in made if entry["kind"] == "bind"}
    if places:
        assert binds == {f"/sys/fs/cgroup/{name}/g": f"/sys/fs/cgroup/{name}" for name in places}
    else:
        assert binds == {"/sys/fs/cgroup/g": "/sys/fs/cgroup"}
    assert not [entry for entry in made if entry["kind"] == "cgroup"]


def test_a_container_joins_the_freezer_that_pauses_it(tmp_path: Path) -> None:
    made = planned(tmp_path, V1, linux={"cgroupsPath": "/g"})
    assert made["freezer"] == "/sys/fs/cgroup/freezer/g" and made["freezer"] in made["cgroup"]["join"]
    assert planned(tmp_path, V2, linux={"cgroupsPath": "/g"})["freezer"] == "/sys/fs/cgroup/g"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "config.json: "),
        ("[]", "process and root must be given"),
        ('{"process": {}, "root": {}}', "must be given"),
    ],
)
def test_a_config_that_is_none_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(Failed, match=r"JSON specification file config\.json not found"):
        bundle.read(str(tmp_path))
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(Failed, match=words):
        bundle.read(str(tmp_path))


# Further processes, and limits.


def test_a_further_process_is_the_first_with_what_is_said_otherwise() -> None:
    first = {"env": ["A=1"], "cwd": "/", "user": {"uid": 5, "gid": 6}, "capabilities": {"permitted": ["CAP_KILL"]}}
    words = ["exec", "-u", "7", "-g", "8", "--cwd", "/tmp", "-e", "B=2", "-c", "CAP_CHOWN", "box", "ls"]
    made = further_process.process(first, parse(words))
    assert made["user"] == {"uid": 7, "gid": 6, "additionalGids": [8]} and made["env"] == ["A=1", "B=2"]
    assert made["capabilities"]["permitted"] == ["CAP_KILL", "CAP_CHOWN"] and made["args"] == ["ls"]
    with pytest.raises(Failed, match="users and groups are given by number"):
        further_process.process(first, parse(["exec", "-u", "web", "box", "ls"]))


def test_limits_come_from_options_or_a_file(tmp_path: Path) -> None:
    words = ["update", "--memory", "100", "--cpuset-cpus", "0-1", "--pids-limit", "-1", "box"]
    expected = {"memory": {"limit": 100}, "cpu": {"cpus": "0-1"}, "pids": {"limit": -1}}
    assert resources.wanted(parse(words)) == expected
    file = tmp_path / "resources.json"
    file.write_text('{"cpu": {"shares": 2}}')
    assert resources.wanted(parse(["update", "-r", str(file), "box"])) == {"cpu": {"shares": 2}}
    file.write_text("{")
    with pytest.raises(Failed, match="resources.json"):
        resources.wanted(parse(["update", "-r", str(file), "box"]))
