"""The supervisor of a machine's parts: what ends by itself is started again, and what is ended on purpose is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from kctl.cluster import processes
from kctl.cluster.processes import Part, Spec
from kctl.cluster.supervise import RESTART_MAX_SECONDS, ending, restart_delay

WAIT_SECONDS_MAX = 30.0
FOREVER = ["sleep", "1000"]
# A part such as the launcher forks: a package that says who it is, and stays.
PACKAGE = """
import os, signal, sys, time
if __name__ == "__main__":
    print("runs", *sys.argv[1:], os.getsid(0) == os.getpid(), os.getcwd(), flush=True)
    time.sleep(1000)
"""


class Machine:
    """The parts in one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir

    def start(self, *specs: Spec, prepared: bool = False) -> None:
        with closing(processes.supervisor(self.data_dir)) as supervisor:
            if prepared:
                supervisor.prepare(specs)
            supervisor.start(specs)

    def part(self, name: str) -> Part:
        found = processes.find(self.data_dir, name)
        assert found is not None, self.log("supervisor")
        return found

    def running(self, name: str) -> bool:
        return processes.find(self.data_dir, name) is not None

    def kill(self, name: str, signo: int = signal.SIGKILL) -> Part:
        part = self.part(name)
        os.kill(part.pid, signo)
        return part

    def log(self, name: str) -> str:
        path = processes.log_path(self.data_dir, name)
        return path.read_text() if path.exists() else ""

    def started_again(self, before: Part) -> Part:
        """The process that has taken its place."""

        def other() -> Part | None:
            found = processes.find(self.data_dir, before.name)
            return found if found is not None and found.pid != before.pid else None

        wait_for(lambda: other() is not None, self)
        return self.part(before.name)

    def clean(self) -> None:
        names = [path.stem for path in (self.data_dir / "run").glob("*.json")]
        processes.stop(self.data_dir, *(name for name in names if name != processes.SUPERVISOR), kill=True)
        processes.stop_supervisor(self.data_dir)


def wait_for(condition: Callable[[], bool], machine: Machine) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline, machine.log("supervisor")
        time.sleep(0.01)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    # A long path, as people have them: longer than the address of a socket may be.
    found = Machine(tmp_path / ("long" * 30))
    found.data_dir.mkdir()
    yield found
    found.clean()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package `fakepart` that `python -m` finds."""
    folder = tmp_path / "path" / "fakepart"
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "__main__.py").write_text(PACKAGE)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder.parent), os.environ.get("PYTHONPATH", "")]))
    return folder


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode().split("\0")


def test_parts_run_in_sessions_of_their_own_and_log_to_files(machine: Machine) -> None:
    machine.start(Spec("one", ["sh", "-c", "echo hello; echo oops >&2; exec sleep 1000"]), Spec("two", FOREVER))
    one, two = machine.part("one"), machine.part("two")
    assert {os.getsid(part.pid) for part in (one, two)} == {one.pid, two.pid}
    wait_for(lambda: machine.log("one") == "hello\noops\n", machine)
    wait_for(lambda: command_line(two.pid) == FOREVER, machine)
    assert os.readlink(f"/proc/{two.pid}/fd/0") == "/dev/null" and os.readlink(f"/proc/{two.pid}/cwd") == "/"  # noqa: PTH115


def test_a_part_that_runs_is_left_alone(machine: Machine) -> None:
    machine.start(Spec("one", FOREVER))
    before = machine.part("one")
    machine.start(Spec("one", FOREVER), Spec("two", FOREVER))
    assert machine.part("one") == before and machine.running("two")


def test_a_killed_part_is_started_again_and_the_log_says_why(machine: Machine) -> None:
    machine.start(Spec("one", ["sh", "-c", "echo last words; exec sleep 1000"]))
    wait_for(lambda: machine.log("one") == "last words\n", machine)
    machine.started_again(machine.kill("one"))
    told = machine.log("supervisor")
    assert 'msg="part ended" part=one how="killed by SIGKILL' in told and 'said="last words"' in told
    assert 'msg="part started again" part=one' in told


def test_a_part_that_fails_again_and_again_is_given_more_and_more_time(machine: Machine) -> None:
    machine.start(Spec("one", ["sh", "-c", "echo no such file; exit 3"]))
    wait_for(lambda: "restart=2s" in machine.log("supervisor"), machine)
    told = [line for line in machine.log("supervisor").splitlines() if "part ended" in line]
    assert [line.split("restart=")[1].split()[0] for line in told] == ["1s", "2s"]
    assert 'how="ended with status 3"' in told[0] and 'said="no such file"' in told[0]


def test_the_time_between_restarts_is_bounded() -> None:
    assert [restart_delay(failures) for failures in range(4)] == [0, 1, 2, 4]
    assert restart_delay(1000) == RESTART_MAX_SECONDS


def test_an_ending_is_told_in_words() -> None:
    assert ending(3 << 8) == "ended with status 3"
    assert ending(signal.SIGTERM) == "killed by SIGTERM"
    assert "want of memory" in ending(signal.SIGKILL)


@pytest.mark.parametrize("kill", [False, True])
def test_a_part_that_is_stopped_on_purpose_stays_so(machine: Machine, *, kill: bool) -> None:
    machine.start(Spec("one", FOREVER), Spec("two", FOREVER))
    processes.stop(machine.data_dir, "one", kill=kill)
    # What happens to another part afterwards has been dealt with: so has the end of this one.
    machine.started_again(machine.kill("two"))
    assert not machine.running("one")
    machine.start(Spec("one", FOREVER))
    assert machine.running("one")


def test_a_part_that_waits_for_its_next_try_can_be_stopped(machine: Machine) -> None:
    machine.start(Spec("one", ["false"]), Spec("two", FOREVER))
    wait_for(lambda: "restart=1s" in machine.log("supervisor"), machine)
    processes.stop(machine.data_dir, "one")
    machine.started_again(machine.kill("two"))
    assert machine.log("supervisor").count("part=one") == 1


def test_a_program_that_is_not_there_is_told(machine: Machine) -> None:
    machine.start(Spec("one", ["/no/such/program"]))
    wait_for(lambda: "can't be started: No such file" in machine.log("supervisor"), machine)


def test_parts_outlive_the_supervisor_and_the_next_one_takes_them_over(machine: Machine) -> None:
    machine.start(Spec("one", FOREVER), Spec("two", FOREVER))
    before = machine.part("one")
    machine.kill("supervisor")
    wait_for(lambda: not machine.running("supervisor"), machine)
    assert machine.part("one") == before
    machine.start(Spec("three", FOREVER))
    assert machine.part("one") == before
    after = machine.started_again(machine.kill("one"))
    wait_for(lambda: command_line(after.pid) == FOREVER, machine)
    processes.stop(machine.data_dir, "two")
    assert "how is not known" in machine.log("supervisor") and not machine.running("two")


def test_everything_outlives_the_command_and_its_terminal(machine: Machine) -> None:
    program = (
        "import sys; from pathlib import Path; from kctl.cluster import processes; "
        "processes.supervisor(Path(sys.argv[1])).start([processes.Spec('one', ['sleep', '1000'])]); input()"
    )
    terminal, command_end = os.openpty()
    command = subprocess.Popen(
        [sys.executable, "-c", program, str(machine.data_dir)],
        stdin=command_end,
        stdout=command_end,
        stderr=command_end,
        start_new_session=True,
    )
    wait_for(lambda: machine.running("one"), machine)
    os.close(command_end)
    os.close(terminal)  # the window is closed
    command.kill()
    command.wait()
    machine.started_again(machine.kill("one"))


def test_parts_are_forked_from_a_process_that_has_imported_them(machine: Machine, package: Path) -> None:
    specs = [Spec.module(f"part-{number}", ["fakepart", "--number", str(number)]) for number in range(3)]
    machine.start(*specs, prepared=True)
    pids = [machine.part(spec.name).pid for spec in specs]
    supervisor = machine.part("supervisor").pid
    wait_for(lambda: all(machine.log(spec.name) for spec in specs), machine)
    for number, spec in enumerate(specs):
        assert machine.log(spec.name) == f"runs --number {number} True /\n"
        assert command_line(pids[number]) == spec.argv
    wait_for(lambda: [parent(pid) for pid in pids] == [supervisor] * 3, machine)


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_forked_part_that_is_killed_is_started_again(machine: Machine, package: Path) -> None:
    specs = [Spec.module(f"part-{number}", ["fakepart"]) for number in range(2)]
    machine.start(*specs, prepared=True)
    after = machine.started_again(machine.kill("part-0"))
    wait_for(lambda: command_line(after.pid) == specs[0].argv, machine)
    assert 'part=part-0 how="killed by SIGKILL' in machine.log("supervisor")


def test_a_forked_part_ends_as_it_would_by_itself(machine: Machine, package: Path) -> None:
    (package / "__main__.py").write_text('import sys\nif __name__ == "__main__":\n    sys.exit("no such flag")\n')
    machine.start(Spec.module("part", ["fakepart"]), prepared=True)
    wait_for(lambda: "part ended" in machine.log("supervisor"), machine)
    assert 'how="ended with status 1"' in machine.log("supervisor")
    assert machine.log("part") == "no such flag\n"


def test_a_part_that_can_not_be_imported_says_so_in_its_own_log(machine: Machine, package: Path) -> None:
    (package / "__main__.py").write_text("import no_such_module\n")
    machine.start(Spec.module("part", ["fakepart"]), Spec("other", FOREVER), prepared=False)
    processes.stop(machine.data_dir, "part", "other")
    machine.start(Spec.module("part", ["fakepart"]), prepared=True)
    wait_for(lambda: "No module named 'no_such_module'" in machine.log("part"), machine)


def test_what_was_prepared_in_vain_goes_away(machine: Machine, package: Path) -> None:
    supervisor = processes.supervisor(machine.data_dir)
    supervisor.prepare([Spec.module("part", ["fakepart"])])
    [launcher] = children(machine.part("supervisor").pid)
    supervisor.close()
    wait_for(lambda: not Path(f"/proc/{launcher}").exists(), machine)
    wait_for(lambda: children(machine.part("supervisor").pid) == [], machine)
    assert not machine.running("part")


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_nonsense_neither_ends_the_supervisor_nor_its_parts(machine: Machine) -> None:
    machine.start(Spec("one", FOREVER))
    for nonsense in (b"\xff", b"[]", b"{}", json.dumps({"op": "start"}).encode()):
        connection = processes._connected(machine.data_dir)
        assert connection is not None
        with closing(connection):
            connection.send(nonsense)
            connection.recv(1000)
    machine.started_again(machine.kill("one"))


def test_only_its_owner_may_speak_to_it(machine: Machine) -> None:
    machine.start(Spec("one", FOREVER))
    assert (machine.data_dir / "run" / "supervisor.sock").stat().st_mode & 0o777 == 0o600
