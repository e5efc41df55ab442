"""A process is taken for ended only when that is certain."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiclient.process_identity import has_ended, own_identity

TELL_AND_WAIT = "from apiclient.process_identity import own_identity; print(own_identity(), flush=True); input()"
# Its first thread ends, and another one works on.
FIRST_THREAD_ENDS = f"""
import ctypes, threading
threading.Thread(target=lambda: exec({TELL_AND_WAIT!r})).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def start(program: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


@pytest.fixture
def other() -> Iterator[tuple[subprocess.Popen[str], str]]:
    process, identity = start(TELL_AND_WAIT)
    yield process, identity
    process.kill()
    process.communicate()


def zombie(process: subprocess.Popen[str]) -> None:
    """Kill it and wait for its end, but let nobody take note of it yet."""
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_a_living_process_has_not_ended(other: tuple[subprocess.Popen[str], str]) -> None:
    assert not has_ended(other[1])
    assert not has_ended(own_identity()) and own_identity() == own_identity()


def test_a_stopped_process_has_not_ended(other: tuple[subprocess.Popen[str], str]) -> None:
    process, identity = other
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    assert not has_ended(identity)


def test_a_killed_process_has_ended_whether_its_parent_took_note_or_not(
    other: tuple[subprocess.Popen[str], str],
) -> None:
    process, identity = other
    zombie(process)
    assert has_ended(identity)
    process.wait()
    assert has_ended(identity)


def test_a_process_whose_first_thread_has_ended_lives_as_long_as_another_one() -> None:
    process, identity = start(FIRST_THREAD_ENDS)
    while Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        os.sched_yield()
    assert not has_ended(identity)
    zombie(process)
    assert has_ended(identity)
    process.communicate()


def test_another_process_with_the_same_id_is_not_taken_for_it(other: tuple[subprocess.Popen[str], str]) -> None:
    before, _, ticks = other[1].rpartition("_")
    assert has_ended(f"{before}_{int(ticks) - 1}")


@pytest.mark.parametrize("part", [1, 2])
def test_nothing_is_known_of_another_boot_or_namespace(other: tuple[subprocess.Popen[str], str], part: int) -> None:
    process, identity = other
    process.kill()
    process.wait()
    parts = identity.rsplit("_", 4)
    parts[part] = "1234"
    assert not has_ended("_".join(parts))


@pytest.mark.parametrize("identity", ["", "vm_0b9c", "vm_24b27e64-1758-455f-a5cf-72d740320574", "a_b_c_d_e", "____"])
def test_nothing_is_known_of_other_names(identity: str) -> None:
    assert not has_ended(identity)


def fake_proc(folder: Path, pid: int) -> Path:
    """A /proc in which this process is all there is."""
    (folder / "sys/kernel/random").mkdir(parents=True)
    shutil.copy("/proc/sys/kernel/random/boot_id", folder / "sys/kernel/random/boot_id")
    (folder / str(pid) / "ns").mkdir(parents=True)
    (folder / str(pid) / "ns/pid").symlink_to("/proc/self/ns/pid")
    (folder / str(pid) / "stat").write_text(Path("/proc/self/stat").read_text())
    (folder / "self").symlink_to(str(pid))
    return folder


def test_a_proc_that_hides_processes_or_is_of_another_namespace_proves_nothing(
    other: tuple[subprocess.Popen[str], str], tmp_path: Path
) -> None:
    process, identity = other
    hiding = fake_proc(tmp_path / "hiding", os.getpid())
    assert not has_ended(identity, hiding)
    foreign = fake_proc(tmp_path / "foreign", os.getpid() + 1)
    process.kill()
    process.wait()
    assert has_ended(identity, hiding) and not has_ended(identity, foreign)


def test_without_proc_a_name_is_random_and_proves_nothing(tmp_path: Path) -> None:
    first, second = own_identity(tmp_path), own_identity(tmp_path)
    assert first != second
    assert not has_ended(first, tmp_path)
