"""Compressed streams are read whole, in pieces of a bounded size, and damage is told."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import random
from collections.abc import Callable

import pytest
import zstandard

from kubelet.images.decompress import PIECE_BYTES_MAX, CompressionError, Stream

DATA = random.Random(1).randbytes(3000) * 1000


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


PACKERS = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstd, "": bytes}


def unpack(packed: bytes, step: int = 1 << 16) -> tuple[str, list[bytes]]:
    source = io.BytesIO(packed)
    stream = Stream(lambda size: source.read(min(size, step) if size >= 0 else step))
    pieces = []
    while piece := stream.read():
        pieces.append(piece)
    return stream.kind, pieces


@pytest.mark.parametrize("kind", PACKERS)
@pytest.mark.parametrize("step", [1 << 10, 1 << 20])
def test_a_stream_is_what_it_was(kind: str, step: int) -> None:
    found, pieces = unpack(PACKERS[kind](DATA), step)
    assert found == kind and b"".join(pieces) == DATA


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_streams_that_follow_one_another_are_one(kind: str) -> None:
    packed = PACKERS[kind](DATA[:5000]) + PACKERS[kind](DATA[5000:])
    assert b"".join(unpack(packed)[1]) == DATA


def test_frames_that_are_to_be_skipped_are_skipped() -> None:
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00meta"
    assert b"".join(unpack(skipped + zstd(DATA) + skipped)[1]) == DATA


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd"])
def test_however_much_a_stream_swells_a_piece_is_small(kind: str) -> None:
    size = 64 << 20
    packed = PACKERS[kind](bytes(size))
    assert len(packed) < size // 500
    _, pieces = unpack(packed, 1 << 20)
    assert sum(map(len, pieces)) == size and max(map(len, pieces)) <= PIECE_BYTES_MAX


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: data[:100] + b"!!!!" + data[104:]])
def test_damaged_gzip_is_told(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(CompressionError, match="gzip data"):
        unpack(damage(gzip.compress(DATA)))


def test_a_stream_of_a_few_bytes_is_plain() -> None:
    assert unpack(b"") == ("", []) and unpack(b"ab", 1) == ("", [b"ab"])
