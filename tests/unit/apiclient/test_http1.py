"""Answers are understood however they arrive, and refused when they could be understood in two ways."""

from __future__ import annotations

import gzip
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiclient.http1 import (
    CHUNK_LINE_BYTES_MAX,
    HEAD_BYTES_MAX,
    Headers,
    ProtocolError,
    ResponseParser,
    gunzip,
    header_lines,
    request_line,
)

SIZED = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;a=b\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + SIZED
NOTHING = b"HTTP/1.1 204 No Content\r\nDate: today\r\n\r\n"
OLD = b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\n\r\nhello"


def read(data: bytes, *cuts: int, method: str = "GET") -> tuple[ResponseParser, bytes]:
    parser = ResponseParser()
    parser.begin(method)
    edges = [0, *cuts, len(data)]
    return parser, b"".join(parser.feed(data[a:b]) for a, b in pairwise(edges))


@pytest.mark.parametrize("data", [SIZED, CHUNKED, INTERIM, NOTHING, OLD])
def test_an_answer_is_understood_wherever_it_is_cut(data: bytes) -> None:
    whole, body = read(data)
    assert whole.complete
    for cut in range(1, len(data)):
        parser, same = read(data, cut)
        assert (parser.complete, parser.status, same) == (True, whole.status, body)
        assert dict(parser.headers) == dict(whole.headers)
    parser, same = read(data, *range(1, len(data)))
    assert parser.complete and same == body


@pytest.mark.parametrize("data", [SIZED, CHUNKED, INTERIM, NOTHING, OLD])
def test_an_answer_that_is_cut_off_is_never_taken_for_complete(data: bytes) -> None:
    for end in range(len(data)):
        parser, _ = read(data[:end])
        assert not parser.complete
        with pytest.raises(ProtocolError, match="closed the connection"):
            parser.eof()


def test_a_body_of_unknown_length_ends_with_the_connection() -> None:
    parser, body = read(UNTIL_CLOSED, 20)
    assert body == b"hello" and not parser.complete
    parser.eof()
    assert parser.complete and not parser.keeps_alive


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nconnection: CLOSE", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: foo, close", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: foo\r\nConnection: close", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0, 0", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77", True),
    ],
)
def test_a_connection_is_kept_only_if_both_sides_know_where_the_answer_ended(head: bytes, *, keeps: bool) -> None:
    parser, body = read(head + b"\r\n\r\n")
    assert (parser.complete, parser.keeps_alive, body) == (True, keeps, b"")


def test_chunks_count_more_than_a_length_and_end_the_connection() -> None:
    parser, body = read(
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    )
    assert (parser.complete, parser.keeps_alive, body) == (True, False, b"x")


def test_what_follows_an_answer_unasked_is_not_part_of_it() -> None:
    parser, body = read(SIZED + SIZED)
    assert (body, parser.rest, parser.keeps_alive) == (b"hello", SIZED, False)


def test_the_answer_to_head_has_no_body() -> None:
    parser, body = read(SIZED[: -len(b"hello")], method="HEAD")
    assert parser.complete and parser.keeps_alive and body == b""


def test_another_protocol_is_entered_only_if_that_was_asked_for() -> None:
    switching = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x02hi"
    parser = ResponseParser()
    parser.begin("GET", upgrades=True)
    assert parser.feed(switching) == b""
    assert (parser.complete, parser.status, parser.rest) == (True, 101, b"\x81\x02hi")
    with pytest.raises(ProtocolError):
        read(switching)


LINE = b"HTTP/1.1 200 OK\r\n"
CHUNKS = LINE + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x15\x03\x03\x00\x02\x02\x46",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        LINE + b"Content-Length: 5\n\r\n\r\nhello",
        LINE + b"No colon here\r\n\r\n",
        LINE + b"Content-Length : 5\r\n\r\nhello",
        LINE + b"X: a\r\n b\r\n\r\n",
        LINE + b"X: a\x00b\r\n\r\n",
        LINE + b"X: a\rContent-Length: 5\r\n\r\nhello",
        LINE + b": nameless\r\n\r\n",
        LINE + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        LINE + b"Content-Length: 5, 6\r\n\r\nhello",
        LINE + b"Content-Length: -5\r\n\r\n",
        LINE + b"Content-Length: +5\r\n\r\n",
        LINE + b"Content-Length: 5_0\r\n\r\n",
        LINE + b"Content-Length: \xb2\r\n\r\n",
        LINE + b"Content-Length:\r\n\r\n",
        LINE + b"Content-Length: 99999999999999999999\r\n\r\n",
        LINE + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        LINE + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        LINE + b"Transfer-Encoding: identity\r\n\r\n",
        CHUNKS + b"x\r\n",
        CHUNKS + b"\r\n",
        CHUNKS + b"-1\r\n",
        CHUNKS + b"0x5\r\nhello\r\n",
        CHUNKS + b"5 5\r\nhello\r\n",
        CHUNKS + b"5;\n\r\nhello\r\n",
        CHUNKS + b"1_0\r\nhello\r\n",
        CHUNKS + b"fffffffffffffffff\r\n",
        CHUNKS + b"5\r\nhello!\r\n",
        CHUNKS + b"5\r\nhelloX\r\n0\r\n\r\n",
        CHUNKS + b"5;" + b"x" * CHUNK_LINE_BYTES_MAX + b"\r\n",
        CHUNKS + b"5" * (CHUNK_LINE_BYTES_MAX + 2),
        CHUNKS + b"0\r\n" + b"X: y\r\n" * HEAD_BYTES_MAX,
        CHUNKS + b"0\r\nX: " + b"y" * HEAD_BYTES_MAX + b"\r\n",
        LINE + b"X: " + b"y" * HEAD_BYTES_MAX + b"\r\n\r\n",
        LINE + b"X: " + b"y" * HEAD_BYTES_MAX,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    ],
)
def test_what_could_be_understood_in_two_ways_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError):
        read(data)
    with pytest.raises(ProtocolError):
        read(data, *range(1, min(len(data), 200)))


@given(st.binary(max_size=300))
def test_no_bytes_whatever_do_more_than_be_refused(data: bytes) -> None:
    for prefix in (b"", LINE, CHUNKS, LINE + b"Content-Length: 3\r\n\r\n"):
        try:
            parser, body = read(prefix + data, len(prefix))
        except ProtocolError:
            continue
        assert len(body) <= len(data) and (not parser.complete or parser.status)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=8), st.lists(st.integers(0, 600), max_size=12))
def test_chunks_are_put_together_as_they_were_cut_up(chunks: list[bytes], cuts: list[int]) -> None:
    data = CHUNKS + b"".join(b"%X\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"
    parser, body = read(data, *sorted(min(cut, len(data)) for cut in cuts))
    assert parser.complete and body == b"".join(chunks)


def test_one_parser_reads_one_answer_after_the_other() -> None:
    parser, _ = read(CHUNKED)
    parser.begin("GET")
    assert not parser.complete and parser.feed(SIZED) == b"hello"
    assert parser.complete and "X-Sum" not in parser.headers


def test_headers_are_found_in_any_case_and_joined_if_repeated() -> None:
    headers = Headers('\r\nContent-Type:  a/b \r\nWarning: 299 - "a, b"\r\nwarning: 299 - c\r\nEmpty:')
    assert headers["content-TYPE"] == "a/b" and headers["empty"] == "" and "absent" not in headers
    assert headers["Warning"] == '299 - "a, b", 299 - c'
    assert headers.getall("warning") == ['299 - "a, b"', "299 - c"]
    assert headers.getall("absent", []) == []
    with pytest.raises(KeyError):
        headers.getall("absent")


@pytest.mark.parametrize("value", ["a\r\nHost: evil", "a\nb", "a\rb", "a\x00", "é"])
def test_nothing_that_is_sent_can_end_its_line(value: str) -> None:
    with pytest.raises(ValueError, match="can't be sent"):
        header_lines([("Authorization", f"Bearer {value}")])
    with pytest.raises(ValueError, match="can't be sent"):
        request_line("GET", f"/api/{value}")


def test_a_compressed_body_is_unpacked_in_all_of_its_members() -> None:
    assert gunzip(gzip.compress(b"hello ") + gzip.compress(b"world"), 11) == b"hello world"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (gzip.compress(b"x" * 1_000_000, mtime=0), "larger than 1000 bytes"),
        (gzip.compress(b"hello", mtime=0)[:-1], "cut off"),
        (gzip.compress(b"hello", mtime=0) + b"junk", "no gzip"),
        (b"hello", "no gzip"),
    ],
)
def test_a_compressed_body_that_is_damaged_or_too_large_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        gunzip(data, 1000)
