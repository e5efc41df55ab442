"""Environment files: a strict subset of what a shell reads, and nothing but files of the volume."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubelet.containers import env_files
from kubelet.containers.env_files import InvalidFile, read, value_of

TEXT = """
# a comment
ONE='1 $(x) \\n "quoted"'
  TWO=''
MANY='first
# no comment

last' # a comment
EMPTY= 'is nothing to a shell'
DOTTED.name-1='any name'\r
ONE='never reached'
"""


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ONE", '1 $(x) \\n "quoted"'),
        ("TWO", ""),
        ("MANY", "first\n# no comment\n\nlast"),
        ("EMPTY", ""),
        ("DOTTED.name-1", "any name"),
        ("none", ""),
    ],
)
def test_values_are_taken_as_they_stand_between_quotes(key: str, value: str) -> None:
    assert value_of(TEXT, key) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("A='1'\nB", "at line 2: missing '='"),
        ("='x'", "at line 1: empty variable name"),
        ("A ='x'", "at line 1: whitespace before '=' is not allowed"),
        ("A=x", "at line 1: value must be enclosed in single quotes"),
        ('A="x"', "at line 1: value must be enclosed in single quotes"),
        ("A='x'y", "at line 1: unexpected content after closing quote"),
        ("A='x'\n\nB='y\nz", "starting at line 3: unclosed single quote"),
    ],
)
def test_what_is_no_such_file_is_refused_with_the_line(text: str, why: str) -> None:
    with pytest.raises(InvalidFile, match=f"invalid environment variable format {why}$"):
        value_of(text, "wanted")


def test_what_stands_behind_the_variable_is_not_looked_at() -> None:
    assert value_of("A='1'\nthis is nothing", "A") == "1"


def test_only_a_file_of_the_volume_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = tmp_path / "volume"
    (volume / "sub").mkdir(parents=True)
    (tmp_path / "secret").write_text("A='secret'")
    (volume / "env").write_bytes(b"A='\xff'")
    assert read(volume, "env") == "A='\udcff'"
    (volume / "sub" / "up").symlink_to("../../secret")
    (volume / "absolute").symlink_to(tmp_path / "secret")
    for path in ("sub/up", "absolute", "../secret", "none"):
        with pytest.raises(FileNotFoundError):
            read(volume, path)
    os.mkfifo(volume / "pipe")
    for path in ("pipe", "sub"):
        with pytest.raises((InvalidFile, IsADirectoryError)):
            read(volume, path)
    monkeypatch.setattr(env_files, "FILE_BYTES_MAX", 4)
    with pytest.raises(InvalidFile, match="more than 4 bytes"):
        read(volume, "env")
