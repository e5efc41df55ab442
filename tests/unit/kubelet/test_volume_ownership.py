"""Giving volumes that outlive their pods to a group."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kubelet.volumes.ownership import give_to_group

GROUP = 4321

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to any group")


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "volume"
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "a" / "b" / "file").write_text("x")
    (folder / "a" / "b" / "file").chmod(0o400)
    (tmp_path / "outside").write_text("x")
    (tmp_path / "outside").chmod(0o600)
    (folder / "link").symlink_to(tmp_path / "outside")
    return folder


def owned(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_gid, stat.S_IMODE(found.st_mode)


def test_all_of_a_volume_becomes_the_groups_and_nothing_else(volume: Path, tmp_path: Path) -> None:
    give_to_group(volume, GROUP)
    assert owned(volume) == owned(volume / "a" / "b") == (GROUP, 0o2775)
    assert owned(volume / "a" / "b" / "file") == (GROUP, 0o660)
    assert (volume / "link").lstat().st_gid == GROUP
    assert owned(tmp_path / "outside") == (0, 0o600)


def test_what_nobody_may_write_the_group_may_read(volume: Path) -> None:
    give_to_group(volume, GROUP, read_only=True)
    assert owned(volume / "a" / "b" / "file") == (GROUP, 0o440)
    assert owned(volume) == (GROUP, 0o2755)


def test_a_volume_whose_top_is_right_is_left_alone_if_that_is_the_policy(volume: Path) -> None:
    volume.chmod(0o2770)
    os.chown(volume, -1, GROUP)
    volume.chmod(0o2770)
    give_to_group(volume, GROUP, policy="OnRootMismatch")
    assert owned(volume / "a")[0] == 0
    give_to_group(volume, GROUP, policy="Always")
    assert owned(volume / "a")[0] == GROUP


@pytest.mark.parametrize(("group", "mode"), [(0, 0o2770), (GROUP, 0o770), (GROUP, 0o2750)])
def test_a_top_that_is_not_quite_right_has_all_changed(volume: Path, group: int, mode: int) -> None:
    os.chown(volume, -1, group)
    volume.chmod(mode)
    give_to_group(volume, GROUP, policy="OnRootMismatch")
    assert owned(volume / "a")[0] == GROUP
