"""Logs of containers: the end of a long file, only what was asked for, and every line once while it grows."""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from kubelet.runtime import ContainerState, RuntimeFailure, SandboxSpec, SandboxState
from kubelet.server.inotify import Inotify
from kubelet.server.log_choice import choose_attempt
from kubelet.server.log_lines import BLOCK_BYTES, LineFilter, tail_offset
from kubelet.server.log_query import LogOptions, parse
from kubelet.server.log_reader import LogReader
from kubelet.server.log_rotation import LogRotator
from tests.support.clock import ManualClock

DAY = "2027-01-15T08:00:"
START = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def line(second: int, text: str, stream: str = "stdout", tag: str = "F") -> bytes:
    return f"{DAY}{second:02d}.000000000Z {stream} {tag} {text}\n".encode()


LOG = line(1, "one") + line(2, "two", "stderr") + line(3, "thr", tag="P") + line(4, "ee") + line(5, "")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ({}, b"one\ntwo\nthree\n\n"),
        ({"stream": "Stdout"}, b"one\nthree\n\n"),
        ({"stream": "Stderr"}, b"two\n"),
        ({"since": START + 3}, b"three\n\n"),
        ({"since": START + 2.5}, b"three\n\n"),
        ({"since": START + 60}, b""),
        ({"limit_bytes": 5}, b"one\nt"),
        (
            {"timestamps": True},
            "".join(
                f"{DAY}0{n}.000000000Z {text}\n" for n, text in ((1, "one"), (2, "two"), (3, "three"), (5, ""))
            ).encode(),
        ),
    ],
)
def test_a_log_shows_what_was_asked_for(options: dict[str, Any], shown: bytes) -> None:
    assert LineFilter(LogOptions(**options)).feed(LOG) == shown


def test_bytes_and_spaces_of_a_line_stay_as_they_are_and_garbage_is_left_out() -> None:
    lines = line(1, "  a  b ") + b"garbage\n" + f"{DAY}02.000000000Z stdout F ".encode() + b"\xff\x00\n"
    assert LineFilter(LogOptions()).feed(lines) == b"  a  b \n\xff\x00\n"


@pytest.mark.parametrize("count", [0, 1, 2, 7, 5000, 20_000])
@pytest.mark.parametrize("ends", [True, False])
def test_the_last_lines_of_a_file_are_found_from_its_end(tmp_path: Path, count: int, ends: bool) -> None:
    lines = [b"%d %s\n" % (number, b"x" * (number % 97)) for number in range(7000)]
    data = b"".join(lines)
    data = data if ends else data[:-1]
    assert len(data) > 4 * BLOCK_BYTES
    path = tmp_path / "log"
    path.write_bytes(data)
    with path.open("rb") as file:
        offset = tail_offset(file.fileno(), count)
    assert data[offset:].splitlines() == data.splitlines()[len(lines) - min(count, len(lines)) :]


def test_an_empty_file_has_no_last_lines(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    with (tmp_path / "log").open("rb") as file:
        assert tail_offset(file.fileno(), 10) == 0


def test_query_parameters_are_read() -> None:
    query = {"follow": "true", "previous": "1", "tailLines": "5", "limitBytes": "9", "timestamps": "true"}
    assert parse(query, START) == LogOptions(True, True, 5, 9, None, True)
    assert parse({"sinceSeconds": "60", "follow": "false"}, START) == LogOptions(since=START - 60)
    assert parse({"sinceTime": "2027-01-15T08:00:01Z"}, START) == LogOptions(since=START + 1)


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ({"tailLines": "x"}, 400, "tailLines: 'x' is no whole number"),
        ({"tailLines": "-1"}, 422, "tailLines: Invalid value: must be greater than or equal to 0"),
        ({"limitBytes": "0"}, 422, "limitBytes: Invalid value: must be greater than or equal to 1"),
        ({"sinceSeconds": "0"}, 422, "sinceSeconds: Invalid value: must be greater than or equal to 1"),
        ({"sinceTime": "yesterday"}, 400, "sinceTime: 'yesterday' is no RFC 3339 time"),
        (
            {"sinceSeconds": "1", "sinceTime": "2027-01-15T08:00:01Z"},
            422,
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
        ({"stream": "Both"}, 422, "stream: Unsupported value: 'Both': supported values: All, Stdout, Stderr"),
        (
            {"stream": "Stdout", "tailLines": "1"},
            422,
            "`tailLines` and specific `stream` are mutually exclusive for now",
        ),
    ],
)
def test_parameters_that_make_no_sense_are_refused(query: dict[str, str], code: int, message: str) -> None:
    with pytest.raises(ApiError) as error:
        parse(query, START)
    assert (error.value.code, error.value.message) == (code, message)


def run(attempt: int, status: Any = "exited") -> ContainerState:
    return ContainerState(f"id-{attempt}", "c", attempt, status)


def pod(state: Object | None = None) -> Object:
    statuses = [] if state is None else [{"name": "c", "state": state}]
    return {"metadata": {"name": "web"}, "status": {"containerStatuses": statuses}}


@pytest.mark.parametrize(
    ("state", "runs", "kept", "previous", "attempt"),
    [
        ({"running": {}}, [run(0, "running")], [0], False, 0),
        ({"running": {}}, [run(1), run(2, "running")], [1, 2], False, 2),
        ({"running": {}}, [run(1), run(2, "running")], [1, 2], True, 1),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, [run(1), run(2)], [1, 2], False, 2),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, [run(1), run(2)], [1, 2], True, 2),
        ({"terminated": {}}, [run(0), run(1)], [0, 1], False, 1),
        ({"terminated": {}}, [run(0), run(1)], [0, 1], True, 0),
        ({"terminated": {}}, [], [3, 4], False, 4),
        ({"terminated": {}}, [], [3, 4], True, 3),
    ],
)
def test_the_run_that_is_meant(state: Object, runs: list[Any], kept: list[int], previous: bool, attempt: int) -> None:
    assert choose_attempt(pod(state), "c", runs, kept, previous=previous) == attempt


@pytest.mark.parametrize(
    ("state", "runs", "previous", "message"),
    [
        ({"waiting": {"reason": "ErrImagePull"}}, [], False, "is waiting to start: image can't be pulled"),
        (
            {"waiting": {"reason": "ImagePullBackOff"}},
            [],
            False,
            "is waiting to start: trying and failing to pull image",
        ),
        ({"waiting": {"reason": "ContainerCreating"}}, [], False, "is waiting to start: ContainerCreating"),
        (None, [], False, "is not available"),
        ({"running": {}}, [run(0, "running")], True, 'previous terminated container "c" in pod "web" not found'),
    ],
)
def test_without_a_log_there_is_a_reason(state: Object | None, runs: list[Any], previous: bool, message: str) -> None:
    with pytest.raises(ApiError) as error:
        choose_attempt(pod(state), "c", runs, [], previous=previous)
    assert error.value.code == 400
    assert error.value.message in (message, f'container "c" in pod "web" {message}')


class Follower:
    """Somebody who follows a log, and what of it has come."""

    def __init__(self, reader: LogReader) -> None:
        self.ended = False
        self.changed = asyncio.Event()
        self.inotify = Inotify()
        self._pieces = reader.follow(self.inotify, lambda: self.ended, self.changed)
        self.got = b""

    def end(self) -> None:
        self.ended = True
        self.changed.set()

    async def until(self, text: bytes) -> None:
        async with asyncio.timeout(10):
            while not self.got.endswith(text):
                self.got += await anext(self._pieces)

    async def rest(self) -> bytes:
        async with asyncio.timeout(10), aclosing(self._pieces):
            async for piece in self._pieces:
                self.got += piece
        return self.got


@contextmanager
def following(path: Path, **options: Any) -> Iterator[Follower]:
    with closing(LogReader(path, LogOptions(follow=True, **options))) as reader:
        yield Follower(reader)


def append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


async def collected(pieces: AsyncGenerator[bytes, None]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def test_a_log_is_read_to_where_it_was_when_it_was_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    many = b"".join(line(number % 60, f"line {number}") for number in range(5000))
    path.write_bytes(many + line(1, "last")[:-1])
    with closing(LogReader(path, LogOptions())) as reader:
        append(path, b"\n" + line(2, "too late"))
        shown = await collected(reader.read())
    assert shown.splitlines() == [b"line %d" % number for number in range(5000)] + [b"last"]
    with closing(LogReader(path, LogOptions(tail_lines=2))) as reader:
        assert await collected(reader.read()) == b"last\ntoo late\n"


async def test_a_follower_sees_every_line_once_and_ends_with_the_container(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(line(1, "old") + line(2, "newer"))
    with following(path, tail_lines=1) as follower:
        await follower.until(b"newer\n")
        append(path, line(3, "x")[:20])
        append(path, line(3, "x")[20:] + line(4, "y"))
        await follower.until(b"y\n")
        append(path, line(5, "last words"))
        follower.end()
        assert await follower.rest() == b"newer\nx\ny\nlast words\n"
        assert follower.inotify._descriptor == -1


async def test_a_follower_goes_on_across_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(line(1, "a"))
    with following(path) as follower:
        await follower.until(b"a\n")
        aside = path.rename(tmp_path / "0.log.1")
        append(aside, line(2, "b"))
        path.write_bytes(line(3, "c"))
        await follower.until(b"c\n")
        append(path, line(4, "d"))
        await follower.until(b"d\n")
        follower.end()
        assert await follower.rest() == b"a\nb\nc\nd\n"


async def test_a_follower_stops_at_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    path.write_bytes(line(1, "abc"))
    with following(path, limit_bytes=6) as follower:
        append(path, line(2, "def"))
        assert await follower.rest() == b"abc\nde"


async def test_followers_of_one_folder_share_a_watch_and_leave_it_one_by_one(tmp_path: Path) -> None:
    inotify, calls = Inotify(), []
    first, second = asyncio.Event(), asyncio.Event()
    with inotify.watching(tmp_path, second.set):
        with inotify.watching(tmp_path, lambda: (calls.append(1), first.set())):  # type: ignore[func-returns-value]
            (tmp_path / "a").touch()
            await asyncio.wait_for(first.wait(), 5)
        calls.clear()
        second.clear()
        (tmp_path / "b").touch()
        await asyncio.wait_for(second.wait(), 5)
    assert calls == []
    with pytest.raises(OSError, match="No such file"), inotify.watching(tmp_path / "none", first.set):
        pass
    assert inotify._descriptor == -1


class Supervisor:
    """A runtime with one container, whose log it opens anew when told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("ab", buffering=0)
        self.refusing = False

    async def sandboxes(self) -> list[SandboxState]:
        spec = SandboxSpec("u", "web", "default", "web")
        container = ContainerState("id", "c", 0, "running", log_path=str(self.path))
        return [SandboxState("u", 1, "", True, spec, [container])]

    async def reopen_log(self, pod_uid: str, container_id: str) -> None:
        if self.refusing:
            raise RuntimeFailure("SandboxNotFound", "gone")
        self.file.close()
        self.file = self.path.open("ab", buffering=0)


async def test_a_log_that_has_grown_is_put_aside_and_old_ones_go(tmp_path: Path) -> None:
    clock = ManualClock(START)
    path = tmp_path / "0.log"
    supervisor = Supervisor(path)
    rotator = LogRotator(supervisor, clock, bytes_max=100, files_max=4)  # type: ignore[arg-type]
    for number in range(6):
        supervisor.file.write(b"%d" % number * 101)
        await rotator.rotate_all()
        await rotator.rotate_all()
        await clock.advance(1)
    assert sorted(os.listdir(tmp_path)) == [
        "0.log",
        "0.log.20270115-080003.gz",
        "0.log.20270115-080004.gz",
        "0.log.20270115-080005",
    ]
    assert path.read_bytes() == b""
    assert gzip.decompress((tmp_path / "0.log.20270115-080004.gz").read_bytes()) == b"4" * 101
    supervisor.file.close()


async def test_a_crash_in_the_middle_of_a_rotation_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    supervisor = Supervisor(path)
    rotator = LogRotator(supervisor, ManualClock(START), bytes_max=100)  # type: ignore[arg-type]
    path.rename(tmp_path / "0.log.20270115-075900")
    (tmp_path / "0.log.20270115-075800.gz.tmp").write_bytes(b"half")
    await rotator.rotate_all()
    assert path.exists()
    supervisor.file.write(b"x" * 101)
    await rotator.rotate_all()
    assert sorted(os.listdir(tmp_path)) == ["0.log", "0.log.20270115-075900.gz", "0.log.20270115-080000"]
    supervisor.file.close()


async def test_a_log_that_cannot_be_opened_anew_keeps_its_name(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    supervisor = Supervisor(path)
    supervisor.file.write(b"x" * 101)
    supervisor.refusing = True
    await LogRotator(supervisor, ManualClock(START), bytes_max=100).rotate_all()  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == ["0.log"]
    supervisor.file.close()
