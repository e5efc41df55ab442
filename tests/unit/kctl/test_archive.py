"""Copies as tar streams: what is packed is unpacked, and nothing gets out of the folder that it is meant for."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from kctl import archive
from kctl.commands.cp import Place, place
from kctl.errors import CommandError


def stream(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    made.seek(0)
    return made


def entry(
    name: str, content: bytes = b"", *, kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o640
    return info, content


def test_a_folder_is_packed_and_unpacked(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "file").write_bytes(b"content")
    (source / "deep" / "file").chmod(0o750)
    (source / "empty").mkdir()
    packed = io.BytesIO()
    archive.pack(source, "there", packed)
    packed.seek(0)
    assert archive.unpack(packed, "there", tmp_path / "target") == []
    assert (tmp_path / "target" / "deep" / "file").read_bytes() == b"content"
    assert (tmp_path / "target" / "deep" / "file").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "target" / "empty").is_dir()


def test_a_single_file_gets_the_name_that_is_asked_for(tmp_path: Path) -> None:
    archive.unpack(stream(entry("var/log/app.log", b"line")), "var/log/app.log", tmp_path / "mine")
    assert (tmp_path / "mine").read_bytes() == b"line"


@pytest.mark.parametrize("name", ["srv/../../outside", "../outside", "/etc/outside", "other/outside"])
def test_nothing_gets_outside(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    warnings = archive.unpack(stream(entry(name, b"evil"), entry("srv/good", b"good")), "srv", target)
    assert len(warnings) == 1 and "outside target destination" in warnings[0]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["good"]


def test_links_are_neither_made_nor_followed(tmp_path: Path) -> None:
    target, elsewhere = tmp_path / "target", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "file").write_bytes(b"mine")
    target.mkdir()
    os.symlink(elsewhere, target / "folder")
    os.symlink(elsewhere / "file", target / "link")
    link = entry("srv/new", kind=tarfile.SYMTYPE, link=str(elsewhere))
    warnings = archive.unpack(
        stream(link, entry("srv/folder/file", b"evil"), entry("srv/link", b"evil")), "srv", target
    )
    assert len(warnings) == 2
    assert (elsewhere / "file").read_bytes() == b"mine"
    assert (target / "link").read_bytes() == b"evil" and not (target / "link").is_symlink()
    assert not (target / "new").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("./file", Place("./file")),
        ("/a:b", Place("/a:b")),
        ("file", Place("file")),
        ("web:/srv", Place("/srv", "web", "default")),
        ("team/web:srv", Place("srv", "web", "team")),
    ],
)
def test_a_place_is_here_or_in_a_pod(text: str, expected: Place) -> None:
    assert place(text, "default") == expected


@pytest.mark.parametrize("text", ["web:", ":/srv", "a/b/c:/srv"])
def test_anything_else_is_no_place(text: str) -> None:
    with pytest.raises(CommandError):
        place(text, "default")
