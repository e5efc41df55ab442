"""Commands run inside running containers, terminals, and viewers of a container's own streams."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kubelet.runtime import ExecHandle, ExecIO, RuntimeFailure
from tests.support.containers import SECONDS_MAX, Node, read_all, started_node, until

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
async def idle(node: Node) -> str:
    """A container that does nothing."""
    started = await node.run(IDLE, env=["COLOR=red"], process={"cwd": "/tmp"})
    await node.printed(started.id, "ready")
    return started.id


class Screen:
    """The far side of an exec or attach: what is typed, and what has been shown so far."""

    def __init__(self) -> None:
        self._keyboard_far, self._keyboard = os.pipe()
        self._screen, self._screen_far = os.pipe()
        self.shown = b""
        asyncio.get_running_loop().add_reader(self._screen, self._show)

    def io(self) -> ExecIO:
        """The descriptors to hand to the runtime."""
        return ExecIO(self._keyboard_far, self._screen_far)

    def handed_over(self) -> None:
        """The runtime has its own copies."""
        os.close(self._keyboard_far)
        os.close(self._screen_far)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._keyboard, text.encode())

    def close_keyboard(self) -> None:
        """Type nothing more."""
        os.close(self._keyboard)
        self._keyboard = -1

    async def shows(self, text: str) -> None:
        """Wait until text was shown."""
        await until(lambda: text.encode() in self.shown, f"{text!r} on the screen that shows {self.shown!r}")

    def close(self) -> None:
        """Go away."""
        asyncio.get_running_loop().remove_reader(self._screen)
        for fd in (self._screen, self._keyboard):
            if fd >= 0:
                os.close(fd)

    def _show(self) -> None:
        data = os.read(self._screen, 65536)
        self.shown += data
        if not data:
            asyncio.get_running_loop().remove_reader(self._screen)


async def terminal(node: Node, container_id: str, *argv: str) -> tuple[Screen, ExecHandle]:
    """An exec with a terminal."""
    screen = Screen()
    uid = node.pod_of(container_id).pod_uid
    handle = await node.runtime.exec(uid, container_id, argv or ["/bin/sh"], io=screen.io(), tty=True)
    screen.handed_over()
    return screen, handle


async def viewer(node: Node, container_id: str) -> tuple[Screen, ExecHandle]:
    """Somebody attached to a container."""
    screen = Screen()
    handle = await node.runtime.attach(node.pod_of(container_id).pod_uid, container_id, screen.io())
    screen.handed_over()
    return screen, handle


async def code(handle: ExecHandle) -> int:
    async with asyncio.timeout(SECONDS_MAX):
        return await handle.wait()


async def test_a_command_runs_inside_with_the_containers_surroundings(node: Node, idle: str) -> None:
    script = "pwd; echo $COLOR $EXTRA $$; ps -o pid= -p 1; hostname; cat /proc/self/cgroup | cut -d: -f3 | sort -u"
    exit_code, out, err = await node.exec(idle, script, env={"EXTRA": "more"})
    assert (exit_code, err) == (0, "")
    directory, variables, first, host, *groups = out.splitlines()
    assert (directory, first.strip(), host) == ("/tmp", "1", node.pod_of(idle).spec.hostname)
    assert variables.startswith("red more ")
    assert groups == ["/"], "the command is in the container's own cgroups, which it sees as the root"


async def test_a_command_is_as_confined_as_the_container(node: Node, idle: str) -> None:
    script = "grep -E 'CapEff|CapBnd|Seccomp:|NoNewPrivs' /proc/self/status"
    inside = await node.exec(idle, script)
    first = await node.exec(idle, "grep -E 'CapEff|CapBnd|Seccomp:|NoNewPrivs' /proc/1/status")
    assert inside == first
    assert "Seccomp:\t2" in inside[1]


async def test_streams_are_apart_and_exit_codes_come_back(node: Node, idle: str) -> None:
    assert await node.exec(idle, "cat; echo problem >&2; exit 9", stdin=b"typed") == (9, "typed", "problem\n")
    assert await node.exec(idle, "kill -TERM $$") == (143, "", "")


async def test_a_command_may_run_as_another_user_elsewhere(node: Node, idle: str) -> None:
    user = {"uid": 1234, "gid": 2345, "additionalGids": [77]}
    _, out, _ = await node.exec(idle, "id -u; id -G; pwd; grep CapEff /proc/self/status", user=user, cwd="/usr")
    assert out == "1234\n2345 77\n/usr\nCapEff:\t0000000000000000\n"


async def test_standard_streams_that_are_not_given_are_the_containers_dev_null(node: Node, idle: str) -> None:
    out, theirs = os.pipe()
    uid = node.pod_of(idle).pod_uid
    command = ["sh", "-c", "ls -l /proc/self/fd; stat -Lc %d /proc/self/fd/0 /dev/null"]
    handle = await node.runtime.exec(uid, idle, command, io=ExecIO(None, theirs, None))
    os.close(theirs)
    text = (await read_all(out)).decode()
    assert await code(handle) == 0
    assert text.count("-> /dev/null") == 2
    own_device, device = text.splitlines()[-2:]
    assert own_device == device


async def test_a_command_that_is_not_there_is_an_exec_error(node: Node, idle: str) -> None:
    with pytest.raises(RuntimeFailure) as failure:
        await node.exec(idle, "nothing-here", "x")
    assert failure.value.reason == "ExecError"
    assert 'exec: "nothing-here": executable file not found in $PATH' in failure.value.message


async def test_nothing_can_be_run_in_a_container_that_has_ended(node: Node) -> None:
    started = await node.run("exit 0")
    await node.ended(started.id)
    with pytest.raises(RuntimeFailure, match="ContainerNotFound"):
        await node.exec(started.id, "true")


async def test_a_command_can_be_killed(node: Node, idle: str) -> None:
    handle = await node.runtime.exec(node.pod_of(idle).pod_uid, idle, ["sleep", "1000"], io=ExecIO())
    handle.kill(signal.SIGKILL)
    assert await code(handle) == 137
    assert node.find(idle).status == "running"


async def test_a_command_that_nobody_waits_for_any_more_is_ended(node: Node, idle: str) -> None:
    uid = node.pod_of(idle).pod_uid
    start = asyncio.create_task(node.runtime.exec(uid, idle, ["sleep", "4321"], io=ExecIO()))
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    handle = await node.runtime.exec(uid, idle, ["sleep", "0.2"], io=ExecIO())
    assert await code(handle) == 0
    assert "sleep 4321" not in (await node.exec(idle, "ps ax"))[1]


async def test_a_command_ends_with_its_container(node: Node, idle: str) -> None:
    uid = node.pod_of(idle).pod_uid
    handle = await node.runtime.exec(uid, idle, ["sleep", "1000"], io=ExecIO())
    await node.runtime.signal_container(uid, idle, signal.SIGKILL)
    assert await code(handle) == 137


async def test_a_command_ends_with_the_kubelet_that_asked_for_it_and_its_container_runs_on(
    node: Node, idle: str
) -> None:
    await node.runtime.exec(node.pod_of(idle).pod_uid, idle, ["sleep", "4321"], io=ExecIO())
    await node.restart()
    assert node.find(idle).status == "running"
    _, processes, _ = await node.exec(idle, "ps ax")
    assert "sleep 4321" not in processes


async def test_a_terminal_is_a_real_one(node: Node, idle: str) -> None:
    screen, handle = await terminal(node, idle)
    screen.type("tty; echo term=$TERM\n")
    await screen.shows("/dev/pts/0")
    await screen.shows("term=xterm")
    screen.type("sleep 1000\n")
    await screen.shows("sleep 1000")
    screen.type("\x03")
    screen.type("echo code=$?\n")
    await screen.shows("code=130")
    screen.type("exit 5\n")
    assert await code(handle) == 5
    screen.close()


async def test_a_terminal_learns_its_size(node: Node, idle: str) -> None:
    screen, handle = await terminal(node, idle)
    screen.type("echo begun\n")
    await screen.shows("begun\r\n")
    handle.resize(123, 45)
    screen.type("stty size\n")
    await screen.shows("45 123")
    screen.type("exit\n")
    assert await code(handle) == 0
    screen.close()


async def test_all_that_a_command_prints_to_a_terminal_arrives_before_its_end(node: Node, idle: str) -> None:
    screen, handle = await terminal(node, idle, "seq", "1", "20000")
    assert await code(handle) == 0
    await screen.shows("\n20000\r\n")
    assert screen.shown.split() == [str(number).encode() for number in range(1, 20001)]
    screen.close()


async def test_a_terminal_whose_viewer_is_gone_does_not_hold_the_command(node: Node, idle: str) -> None:
    screen, handle = await terminal(node, idle, "sh", "-c", "read line; seq 1 100000; exit 3")
    screen.type("go\n")
    screen.close()
    assert await code(handle) == 3


async def test_a_viewer_types_to_a_container_and_sees_what_it_prints(node: Node) -> None:
    started = await node.run("while read line; do echo got $line; done; echo end", stdin=True, stdin_once=True)
    screen, handle = await viewer(node, started.id)
    screen.type("hello\n")
    await screen.shows("got hello")
    screen.close_keyboard()
    assert await code(handle) == 0
    await screen.shows("end")
    assert "got hello\nend\n" in node.log(started.id)
    screen.close()


async def test_a_viewer_who_types_once_ends_the_input_by_leaving(node: Node) -> None:
    started = await node.run("cat; echo end", stdin=True, stdin_once=True)
    screen, handle = await viewer(node, started.id)
    screen.type("hello\n")
    await screen.shows("hello")
    handle.kill()
    await node.printed(started.id, "end")
    screen.close()


async def test_a_viewer_with_nothing_more_to_type_leaves_a_container_that_waits_for_others(node: Node) -> None:
    started = await node.run("while read line; do echo got $line; done", stdin=True)
    screen, handle = await viewer(node, started.id)
    screen.type("hello\n")
    await screen.shows("got hello")
    screen.close_keyboard()
    assert await code(handle) == 0
    assert node.find(started.id).status == "running"
    screen.close()


async def test_a_viewer_may_leave_and_come_back(node: Node) -> None:
    started = await node.run("while read line; do echo got $line; done", stdin=True)
    first, _ = await viewer(node, started.id)
    first.type("one\n")
    await first.shows("got one")
    first.close()
    second, handle = await viewer(node, started.id)
    second.type("two\n")
    await second.shows("got two")
    assert b"one" not in second.shown
    handle.kill()
    assert await code(handle) == 0
    assert node.find(started.id).status == "running"
    second.close()


async def test_a_container_may_have_a_terminal_of_its_own(node: Node) -> None:
    started = await node.run("tty; stty size; read line; stty size; echo got $line", stdin=True, tty=True)
    screen, handle = await viewer(node, started.id)
    handle.resize(77, 33)
    screen.type("x\n")
    await screen.shows("33 77")
    assert await code(handle) == 0
    assert "/dev/console" in node.log(started.id) or "/dev/pts/0" in node.log(started.id)
    screen.close()


async def test_a_viewer_that_does_not_look_slows_the_container_but_loses_nothing(node: Node) -> None:
    started = await node.run("read line; seq 1 100000; echo end", stdin=True)
    out, theirs = os.pipe()
    feed, typing = os.pipe()
    handle = await node.runtime.attach(node.pod_of(started.id).pod_uid, started.id, ExecIO(feed, theirs))
    os.close(theirs)
    os.close(feed)
    os.write(typing, b"go\n")
    await node.printed(started.id, "\n1000\n")
    text = await read_all(out)
    assert text.split() == [*(str(number).encode() for number in range(1, 100_001)), b"end"]
    assert await code(handle) == 0
    os.close(typing)
