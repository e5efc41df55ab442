"""Tars are read as Python's own tarfile reads them, and every byte of them is accounted for."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubelet.images.tar_reader import Entry, TarError, TarReader
from kubelet.images.tar_writer import END, Header, padding
from tests.support.layers import entry, tar

names = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=140).filter(
    lambda name: name not in (".", "..")
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


def read(data: bytes, step: int = 1 << 18) -> tuple[list[Entry], list[bytes], bytes]:
    """Entries, their contents, and what was no content, of a tar that arrives in pieces."""
    source, raw = io.BytesIO(data), bytearray()
    reader = TarReader(lambda size: source.read(min(size, step)), raw=raw.extend)
    entries, contents = [], []
    for found in reader:
        entries.append(found)
        contents.append(b"".join(bytes(piece) for piece in reader.content()))
    return entries, contents, bytes(raw)


@settings(max_examples=60, deadline=None)
@given(
    files=st.lists(st.tuples(paths, st.binary(max_size=1500)), max_size=5),
    dialect=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    step=st.sampled_from([1, 511, 513, 1 << 18]),
)
def test_what_python_writes_is_read_as_it_was(files: Any, dialect: int, step: int) -> None:
    data = tar(*(entry(name, content, uid=5, mtime=7) for name, content in files), format=dialect)
    entries, contents, raw = read(data, step)
    assert contents == [content for _, content in files]
    assert [found.path for found in entries] == [name for name, _ in files]
    assert all((found.uid, found.mtime_ns, found.kind) == (5, 7_000_000_000, "file") for found in entries)
    assert len(raw) + sum(map(len, contents)) == len(data)


@settings(max_examples=60, deadline=None)
@given(
    path=paths,
    link=paths,
    size=st.integers(0, 3000),
    uid=st.sampled_from([0, 1000, 0o7777777, 0o10000000, 0xFFFFFFFE]),
    mtime=st.integers(-1000, 1 << 40),
    value=st.binary(max_size=200),
)
def test_what_is_written_here_is_read_by_python(
    path: str, link: str, size: int, uid: int, mtime: int, value: bytes
) -> None:
    headers = (
        Header(path, "file", mode=0o4755, uid=uid, gid=uid, size=size, mtime=mtime, xattrs={"user.x": value}),
        Header(f"{path}-link", "symlink", link=link),
        Header(f"{path}-dir/", "dir", mode=0o1777),
    )
    body = b"x" * size + padding(size)
    data = headers[0].encode() + body + headers[1].encode() + headers[2].encode() + END
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        file, symlink, folder = archive.getmembers()
    assert (file.name, file.mode, file.uid, file.gid, file.size) == (path, 0o4755, uid, uid, size)
    assert int(file.mtime) == mtime and symlink.linkname == link and folder.isdir()
    [first, *_], _, _ = read(data)
    assert first.xattrs == {"user.x": value} and first.mtime_ns == mtime * 10**9 and first.path == path


@pytest.mark.parametrize(
    ("name", "path"),
    [("a//b/./c", "a/b/c"), ("../x", "x"), ("/x/../../y", "y"), ("./", ""), ("a/..", "")],
)
def test_names_are_clean_and_below_the_root(name: str, path: str) -> None:
    # By hand: Python's tarfile cleans some of them up itself.
    [found], _, _ = read(Header(name, "dir").encode() + END)
    assert found.path == path


def test_times_keep_their_nanoseconds() -> None:
    [found], _, _ = read(tar(entry("x", pax_headers={"mtime": "1700000000.123456789"})))
    assert found.mtime_ns == 1_700_000_000_123_456_789


def test_headers_for_all_that_follows_hold_for_all_that_follows() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", pax_headers={"uid": "77"}) as archive:
        for name in ("a", "b"):
            archive.addfile(tarfile.TarInfo(name))
    entries, _, _ = read(out.getvalue())
    assert [found.uid for found in entries] == [77, 77]


def test_an_empty_stream_and_one_without_an_end_mark_are_tars_without_more() -> None:
    assert read(b"") == ([], [], b"")
    whole = tar(entry("x", b"1"))
    entries, contents, _ = read(whole[:1024])
    assert [found.path for found in entries] == ["x"] and contents == [b"1"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=3000))
def test_noise_is_refused_and_never_anything_else(noise: bytes) -> None:
    try:
        read(noise)
    except TarError:
        pass


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2047), st.integers(0, 255))
def test_a_changed_byte_is_noticed_or_harmless(position: int, value: int) -> None:
    data = bytearray(tar(entry("dir", None), entry("dir/file", b"x" * 600), format=tarfile.GNU_FORMAT))
    data[position] = value
    try:
        _, contents, raw = read(bytes(data))
    except TarError:
        return
    assert len(raw) + sum(map(len, contents)) == len(data)
