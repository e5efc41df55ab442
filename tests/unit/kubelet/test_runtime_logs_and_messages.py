"""Container output as CRI log lines, and the messages between the runtime's processes."""

import os
import socket
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from kubelet.runtime import wire
from kubelet.runtime.crilog import LINE_BYTES_MAX, Framer, LogFile, Stamp

T = b"2026-01-02T03:04:05.000000006Z"


def test_each_line_is_stamped_and_marked_as_full() -> None:
    assert Framer("stdout").feed(b"a\n\nb\n", T) == T + b" stdout F a\n" + T + b" stdout F \n" + T + b" stdout F b\n"


def test_a_line_that_comes_in_pieces_is_one_record() -> None:
    framer = Framer("stderr")
    assert framer.feed(b"hel", T) == b""
    assert framer.feed(b"lo\n", T) == T + b" stderr F hello\n"


def test_what_follows_the_last_newline_is_a_partial_record() -> None:
    framer = Framer("stdout")
    framer.feed(b"no newline", T)
    assert framer.finish(T) == T + b" stdout P no newline\n"
    assert framer.finish(T) == b""


def test_a_long_line_is_split_and_can_be_put_together_again() -> None:
    line = os.urandom(LINE_BYTES_MAX).hex().encode()
    records = Framer("stdout").feed(line + b"\n", T).split(b"\n")[:-1]
    assert [record.split(b" ", 3)[2] for record in records] == [b"P", b"F"]
    assert b"".join(record.split(b" ", 3)[3] for record in records) == line


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_no_byte_is_lost_however_the_output_is_cut(chunks: list[bytes]) -> None:
    framer = Framer("stdout")
    log = b"".join(framer.feed(chunk, T) for chunk in chunks) + framer.finish(T)
    text = b""
    for record in log.split(b"\n")[:-1]:
        _, _, tag, content = record.split(b" ", 3)
        text += content + (b"\n" if tag == b"F" else b"")
    assert text == b"".join(chunks)


def test_times_have_nanoseconds_and_follow_the_clock_both_ways() -> None:
    stamp = Stamp()
    assert stamp(1_767_323_045_000_000_006) == T
    assert stamp(1_767_323_044_999_999_999) == b"2026-01-02T03:04:04.999999999Z"


def test_a_rotated_log_is_written_anew_after_reopen(tmp_path: Path) -> None:
    path = tmp_path / "pod" / "0.log"
    log = LogFile(str(path))
    log.write(b"one\n")
    path.rename(tmp_path / "old.log")
    log.write(b"two\n")
    log.reopen()
    log.write(b"three\n")
    log.close()
    assert (tmp_path / "old.log").read_bytes() == b"one\ntwo\n"
    assert path.read_bytes() == b"three\n"


def test_a_log_that_can_not_be_written_is_told_and_stops_nobody() -> None:
    log = LogFile("/dev/full")
    log.write(b"lost\n")
    assert "No space left" in log.error


def pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def test_messages_carry_descriptors() -> None:
    ours, theirs = pair()
    read_end, write_end = os.pipe()
    wire.send(ours, {"op": "x"}, [write_end])
    os.close(write_end)
    message, fds = wire.receive(theirs)
    assert message == {"op": "x"}
    os.write(fds[0], b"through")
    assert os.read(read_end, 10) == b"through"
    for fd in (*fds, read_end):
        os.close(fd)


def test_a_message_of_any_size_arrives_whole() -> None:
    ours, theirs = pair()
    big = {"env": ["x" * 100_000] * 20}
    wire.send(ours, big, [0])
    message, fds = wire.receive(theirs)
    assert message == big
    assert len(fds) == 1
    os.close(fds[0])


def test_the_end_of_the_stream_is_no_message() -> None:
    ours, theirs = pair()
    ours.close()
    assert wire.receive(theirs) == (None, [])


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    wire.write_json(str(path), {"a": 1})
    wire.write_json(str(path), {"a": 2})
    assert wire.read_json(str(path)) == {"a": 2}
    assert [entry.name for entry in tmp_path.iterdir()] == ["state.json"]


def test_a_process_is_told_from_a_later_one_with_its_number() -> None:
    assert wire.process_start_ticks(os.getpid()) > 0
    assert wire.process_start_ticks(1 << 22) == 0
