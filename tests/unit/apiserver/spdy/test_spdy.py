"""SPDY/3.1: frames as they are on the wire, and streams as the server sees them."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apiserver.spdy import Session, Stream, StreamLost, frames
from apiserver.spdy.frames import Decoder, Encoder, Frame, FrameError
from apiserver.spdy.headers import DICTIONARY, Compressor, Decompressor, HeaderError
from apiserver.spdy.session import BUFFER_BYTES_MAX

SECONDS_MAX = 10


def test_the_dictionary_is_that_of_the_specification() -> None:
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


_headers = st.dictionaries(
    st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1),
    st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    max_size=5,
)


@given(st.lists(_headers, max_size=5))
def test_header_blocks_are_read_as_they_were_written(blocks: list[dict[str, str]]) -> None:
    writer, reader = Compressor(), Decompressor()
    assert [reader.headers(writer.block(headers)) for headers in blocks] == blocks


def test_a_header_block_that_swells_is_refused() -> None:
    with pytest.raises(HeaderError, match="larger"):
        Decompressor().headers(Compressor().block({"a": "x" * 1_000_000}))


def test_a_block_that_ends_too_early_is_refused() -> None:
    packer = zlib.compressobj(zdict=DICTIONARY)
    block = packer.compress(b"\0\0\0\1\0\0\0\x09short") + packer.flush(zlib.Z_SYNC_FLUSH)
    with pytest.raises(HeaderError, match="too early"):
        Decompressor().headers(block)


def test_frames_look_as_the_specification_says() -> None:
    assert frames.data(5, b"abc") == bytes.fromhex("00000005 00000003") + b"abc"
    assert frames.data(5, b"", fin=True) == bytes.fromhex("00000005 01000000")
    assert frames.rst_stream(7, frames.CANCEL) == bytes.fromhex("80030003 00000008 00000007 00000005")
    assert frames.ping(9) == bytes.fromhex("80030006 00000004 00000009")
    assert frames.window_update(1, 4096) == bytes.fromhex("80030009 00000008 00000001 00001000")
    assert Encoder().syn_stream(1, {}).startswith(bytes.fromhex("80030001"))


@given(st.integers(1, 30))
def test_frames_are_found_however_they_are_cut(size: int) -> None:
    encoder, decoder = Encoder(), Decoder()
    raw = encoder.syn_stream(1, {"streamtype": "data"}) + frames.data(1, b"hello") + frames.ping(3)
    raw += encoder.syn_stream(3, {"streamtype": "error"}, fin=True) + frames.window_update(1, 5)
    found = [frame for start in range(0, len(raw), size) for frame in decoder.feed(raw[start : start + size])]
    assert found == [
        Frame(frames.SYN_STREAM, 1, headers={"streamtype": "data"}),
        Frame(0, 1, data=b"hello"),
        Frame(frames.PING, 3),
        Frame(frames.SYN_STREAM, 3, fin=True, headers={"streamtype": "error"}),
        Frame(frames.WINDOW_UPDATE, 1),
    ]


def test_frames_of_kinds_that_mean_nothing_here_are_passed_over() -> None:
    settings = bytes.fromhex("80030004 0000000c 00000001 00000004 00000064")
    assert list(Decoder().feed(settings + frames.ping(1))) == [Frame(frames.PING, 1)]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"GET / HTTP/1.1\r\n\r\n" + b"x" * 40, id="HTTP"),
        pytest.param(bytes.fromhex("80020006 00000004 00000001"), id="another version"),
        pytest.param(bytes.fromhex("00000001 00ffffff"), id="too long"),
        pytest.param(bytes.fromhex("80030001 00000002 0000"), id="too short"),
        pytest.param(bytes.fromhex("80030001 0000000c 00000001 00000000 0000 ffff"), id="no header block"),
    ],
)
def test_what_are_no_frames_is_refused(raw: bytes) -> None:
    with pytest.raises(FrameError):
        list(Decoder().feed(raw))


class Wire:
    """Carries bytes between a test and a session."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[bytes] = asyncio.Queue()
        self.sent: list[Frame] = []
        self.encoder = Encoder()
        self._decoder = Decoder()
        self.broken = False

    async def read(self) -> bytes:
        return await self.inbox.get()

    async def write(self, data: bytes) -> None:
        if self.broken:
            raise ConnectionResetError
        self.sent += self._decoder.feed(data)

    def kinds(self) -> list[int]:
        return [frame.kind for frame in self.sent]


class Connection:
    def __init__(self) -> None:
        self.wire = Wire()
        self.session = Session(self.wire)
        self.running = asyncio.create_task(self.session.run())

    async def open(self, number: int = 1, **headers: str) -> Stream:
        self.wire.inbox.put_nowait(self.wire.encoder.syn_stream(number, headers))
        stream = await asyncio.wait_for(self.session.accept(), SECONDS_MAX)
        assert stream is not None
        return stream

    async def put(self, *raw: bytes) -> None:
        for one in raw:
            self.wire.inbox.put_nowait(one)
        while not self.wire.inbox.empty():  # noqa: ASYNC110 - the session takes one after the other
            await asyncio.sleep(0)
        await asyncio.sleep(0)


@pytest.fixture
async def connection() -> AsyncIterator[Connection]:
    made = Connection()
    yield made
    made.running.cancel()
    await asyncio.gather(made.running, return_exceptions=True)


async def test_a_stream_is_accepted_and_conversed_on(connection: Connection) -> None:
    stream = await connection.open(streamtype="stdin", port="80")
    assert stream.headers == {"streamtype": "stdin", "port": "80"}
    assert connection.wire.kinds() == [frames.SYN_REPLY]
    await connection.put(frames.data(1, b"hel"), frames.data(1, b"lo", fin=True))
    assert [await stream.read(), await stream.read(), await stream.read()] == [b"hel", b"lo", b""]
    await stream.write(b"answer")
    await stream.finish()
    assert connection.wire.sent[1:] == [Frame(0, 1, data=b"answer"), Frame(0, 1, fin=True)]


async def test_what_is_read_is_reported(connection: Connection) -> None:
    stream = await connection.open()
    await connection.put(frames.data(1, b"x" * 40_000))
    await stream.read()
    assert connection.wire.kinds() == [frames.SYN_REPLY, frames.WINDOW_UPDATE]


async def test_a_ping_of_the_client_is_answered(connection: Connection) -> None:
    await connection.put(frames.ping(1), frames.ping(2))
    assert connection.wire.sent == [Frame(frames.PING, 1)]


async def test_a_stream_that_is_reset_is_lost(connection: Connection) -> None:
    stream = await connection.open()
    await connection.put(frames.data(1, b"x"), frames.rst_stream(1, frames.CANCEL))
    await asyncio.wait_for(stream.lost(), SECONDS_MAX)
    with pytest.raises(StreamLost):
        await stream.read()
    with pytest.raises(StreamLost):
        await stream.write(b"x")


async def test_all_streams_are_lost_with_the_connection(connection: Connection) -> None:
    stream = await connection.open()
    await connection.put(b"")
    assert await connection.session.accept() is None
    with pytest.raises(StreamLost):
        await stream.read()


async def test_a_client_that_takes_nothing_any_more_is_told_to_who_writes(connection: Connection) -> None:
    stream = await connection.open()
    connection.wire.broken = True
    with pytest.raises(StreamLost):
        await stream.write(b"x")


async def test_numbers_that_do_not_grow_are_refused(connection: Connection) -> None:
    await connection.open(3)
    for number in (3, 1, 4):
        await connection.put(connection.wire.encoder.syn_stream(number, {}))
    assert connection.wire.kinds() == [frames.SYN_REPLY, *[frames.RST_STREAM] * 3]


async def test_a_stream_that_nobody_reads_holds_up_the_connection(connection: Connection) -> None:
    slow, quick = await connection.open(1), await connection.open(3)
    piece = b"x" * (BUFFER_BYTES_MAX // 2 + 1)
    for raw in (frames.data(1, piece), frames.data(1, piece), frames.data(3, b"later")):
        connection.wire.inbox.put_nowait(raw)
    for _ in range(20):
        await asyncio.sleep(0)
    assert quick.buffered == 0
    await slow.read()
    assert await asyncio.wait_for(quick.read(), SECONDS_MAX) == b"later"


async def test_what_is_discarded_holds_up_nothing(connection: Connection) -> None:
    stream = await connection.open()
    stream.discard()
    await connection.put(*[frames.data(1, b"x" * 100_000)] * 10, frames.ping(1))
    assert connection.wire.sent[-1] == Frame(frames.PING, 1)
    assert stream.buffered == 0


async def test_data_of_a_stream_that_is_over_is_dropped(connection: Connection) -> None:
    stream = await connection.open()
    await stream.reset()
    await connection.put(frames.data(1, b"late"), frames.data(99, b"never opened"), frames.ping(1))
    assert connection.wire.sent[-1] == Frame(frames.PING, 1)
