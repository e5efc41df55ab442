"""Which files of a folder count, and what one with a mistake in it does."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from kubelet.static_pods.folder import ManifestFolder
from tests.support.clock import ManualClock


def write(path: Path, name: str = "web", image: str = "web:1") -> None:
    spec = {"containers": [{"name": "c", "image": image}]}
    path.write_text(json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}))


def folder(path: Path) -> ManifestFolder:
    return ManifestFolder(path, "n", ManualClock())


def names(found: ManifestFolder) -> list[str]:
    return sorted(pod["metadata"]["name"] for pod in found.scan())


def test_files_are_pods_but_for_hidden_ones_and_folders(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "a")
    write(tmp_path / "b", "b")
    write(tmp_path / ".hidden.json", "c")
    (tmp_path / "folder.json").mkdir()
    assert names(folder(tmp_path)) == ["a-n", "b-n"]


def test_a_single_file_may_be_named_instead(tmp_path: Path) -> None:
    write(tmp_path / "a.json", "a")
    write(tmp_path / "b.json", "b")
    assert names(folder(tmp_path / "b.json")) == ["b-n"]


def test_a_mistake_is_told_once_and_ends_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = folder(tmp_path)
    write(tmp_path / "a.json", image="web:1")
    write(tmp_path / "b.json", "b")
    before = files.scan()
    (tmp_path / "a.json").write_text('{"apiVersion": "v1", "kind": "Pod"')
    with caplog.at_level(logging.ERROR):
        assert files.scan() == before
        assert files.scan() == before
    assert len(caplog.records) == 1 and "a.json" in caplog.text and "neither JSON nor YAML" in caplog.text
    write(tmp_path / "a.json", image="web:2")
    assert [pod["spec"]["containers"][0]["image"] for pod in files.scan()] == ["web:2", "web:1"]
    (tmp_path / "a.json").unlink()
    assert names(files) == ["b-n"]


def test_of_two_files_with_one_name_the_first_counts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path / "a.json", image="web:1")
    write(tmp_path / "b.json", image="web:2")
    (pod,) = folder(tmp_path).scan()
    assert pod["spec"]["containers"][0]["image"] == "web:1" and "same name" in caplog.text


def test_a_folder_that_is_not_there_is_told_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    files = folder(tmp_path / "absent")
    assert files.scan() == [] and files.scan() == []
    assert len(caplog.records) == 1
