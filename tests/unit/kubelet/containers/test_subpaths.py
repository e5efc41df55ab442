"""Parts of volumes: what is opened is the volume's, whatever containers do to it meanwhile."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from kubelet.containers.subpaths import OutsideVolume, open_part


def opened(volume: Path, part: str, *, make: bool = True) -> str:
    descriptor = open_part(volume, part, make=make)
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    finally:
        os.close(descriptor)


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    (folder / "dir").mkdir(parents=True)
    (folder / "dir" / "file").write_text("mine")
    (tmp_path / "outside").mkdir()
    return folder


def test_a_part_is_a_file_or_a_folder_of_the_volume(volume: Path) -> None:
    assert opened(volume, "dir/file") == str(volume / "dir/file")
    assert opened(volume, "./dir//") == str(volume / "dir")


def test_links_are_followed_as_long_as_they_stay_inside(volume: Path) -> None:
    (volume / "relative").symlink_to("dir/file")
    (volume / "back").symlink_to("dir/../dir")
    (volume / "absolute").symlink_to(volume / "dir")
    assert opened(volume, "relative") == str(volume / "dir/file")
    assert opened(volume, "back/file") == str(volume / "dir/file")
    assert opened(volume, "absolute/file") == str(volume / "dir/file")


@pytest.mark.parametrize("aim", ["/etc", "../outside", "dir/../../outside", "/proc/self/root/etc", "../volume-2"])
def test_no_link_leads_out_of_the_volume(volume: Path, tmp_path: Path, aim: str) -> None:
    (tmp_path / "volume-2").mkdir()
    (volume / "link").symlink_to(aim)
    for part in ("link", "link/deeper"):
        with pytest.raises((OutsideVolume, OSError)):
            opened(volume, part)
    assert list((tmp_path / "outside").iterdir()) == list((tmp_path / "volume-2").iterdir()) == []


@pytest.mark.parametrize("aim", ["/none/such", "../outside/none", "none"])
def test_nothing_is_made_where_a_link_leads(volume: Path, tmp_path: Path, aim: str) -> None:
    (volume / "link").symlink_to(aim)
    with pytest.raises((OutsideVolume, OSError)):
        opened(volume, "link/deeper")
    assert not Path("/none").exists() and not (tmp_path / "outside" / "none").exists()


@pytest.mark.parametrize("part", ["/etc", "../outside", "dir/../../outside"])
def test_what_can_not_be_a_part_is_refused_in_words(volume: Path, part: str) -> None:
    with pytest.raises(OutsideVolume, match="must not"):
        opened(volume, part)


def test_folders_that_are_missing_are_as_the_volume_itself(volume: Path) -> None:
    volume.chmod(0o2775)
    before = os.umask(0o077)
    try:
        opened(volume, "new/deeper")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((volume / path).stat().st_mode) for path in ("new", "new/deeper")] == [0o2775] * 2


def test_nothing_is_made_in_an_image(volume: Path) -> None:
    with pytest.raises(FileNotFoundError):
        opened(volume, "new/deeper", make=False)
    assert not (volume / "new").exists()


def test_a_link_that_is_swapped_meanwhile_never_leads_out(volume: Path, tmp_path: Path) -> None:
    done = threading.Event()
    (volume / "link").symlink_to("dir")

    def swap() -> None:
        while not done.is_set():
            for aim in (tmp_path / "outside", volume / "dir", "../outside", "dir"):
                (volume / "next").symlink_to(aim)
                (volume / "next").rename(volume / "link")

    swapping = threading.Thread(target=swap)
    swapping.start()
    reached = set()
    try:
        for number in range(300):
            try:
                reached.add(opened(volume, f"link/new-{number}"))
            except (OutsideVolume, OSError):
                pass  # it has led out just then
    finally:
        done.set()
        swapping.join()
    assert all(path.startswith(f"{volume}/dir/") for path in reached)
    assert list((tmp_path / "outside").iterdir()) == []
