"""Reading a file of an image from its layers, as a container would see it, and nothing of the node's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kubelet.containers import image_files

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make device nodes and trusted attributes")


def layer(folder: Path, name: str, **files: str) -> Path:
    (folder / name / "etc").mkdir(parents=True)
    for file, text in files.items():
        (folder / name / "etc" / file).write_text(text)
    return folder / name


def test_the_top_layer_that_has_a_file_counts(tmp_path: Path) -> None:
    layers = [layer(tmp_path, "top"), layer(tmp_path, "middle", passwd="m"), layer(tmp_path, "low", passwd="l")]
    assert image_files.read(layers, "/etc/passwd") == "m"
    assert image_files.read(layers, "/etc/group") == ""


def test_no_link_leads_out_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("the node's")
    top = layer(tmp_path, "top")
    (top / "etc" / "passwd").symlink_to(tmp_path / "secret")
    (top / "etc" / "group").symlink_to("../../secret")
    assert image_files.read([top], "/etc/passwd") == ""
    assert image_files.read([top], "/etc/group") == ""


@root_only
def test_a_file_that_an_upper_layer_removed_is_not_there(tmp_path: Path) -> None:
    top, low = layer(tmp_path, "top"), layer(tmp_path, "low", passwd="l")
    os.mknod(top / "etc" / "passwd", 0o020000, 0)
    assert image_files.read([top, low], "/etc/passwd") == ""


@root_only
def test_an_opaque_folder_hides_those_below(tmp_path: Path) -> None:
    top, low = layer(tmp_path, "top"), layer(tmp_path, "low", passwd="l")
    os.setxattr(top / "etc", "trusted.overlay.opaque", b"y")
    assert image_files.read([top, low], "/etc/passwd") == ""


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    top = layer(tmp_path, "top")
    os.mkfifo(top / "etc" / "passwd")
    assert image_files.read([top], "/etc/passwd") == ""
