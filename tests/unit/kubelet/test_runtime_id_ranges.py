"""Which ids a pod's own users are: nobody else's, and no two pods' the same."""

from pathlib import Path
from random import Random

import pytest

from kubelet.runtime import id_ranges
from kubelet.runtime.user_namespace import IDS


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "subuid", tmp_path / "subgid"


def write(files: tuple[Path, Path], subuid: str, subgid: str | None = None) -> None:
    files[0].write_text(subuid)
    files[1].write_text(subuid if subgid is None else subgid)


def chosen(files: tuple[Path, Path], count: int) -> set[int]:
    """What so many pods get, one after the other; 0 stands for a pod with the node's users."""
    taken = {0}
    for number in range(count):
        taken.add(id_ranges.choose(taken, Random(number), files))
    return taken - {0}


def test_without_any_word_of_the_owner_all_but_the_nodes_own_ids_are_good(files: tuple[Path, Path]) -> None:
    found = chosen(files, 300)
    assert len(found) == 300 and all(first % IDS == 0 and IDS <= first < 1 << 31 for first in found)


def test_ids_that_others_were_given_are_left_to_them(files: tuple[Path, Path]) -> None:
    write(files, f"ada:{IDS + 34464}:65536\nbob:{4 * IDS}:10\n", f"ada:{10 * IDS}:{(1 << 31) - 10 * IDS}\n")
    assert chosen(files, 6) == {number * IDS for number in (3, 5, 6, 7, 8, 9)}


def test_ids_that_were_given_to_the_node_agent_are_the_only_ones_it_takes(files: tuple[Path, Path]) -> None:
    write(files, f"ada:100000:65536\nkubelet:{2 * IDS}:{3 * IDS}\n")
    assert chosen(files, 3) == {2 * IDS, 3 * IDS, 4 * IDS}
    with pytest.raises(id_ranges.NoRange, match="no range of 65536 user ids is left"):
        chosen(files, 4)


def test_a_range_is_whole_and_good_for_users_and_groups_alike(files: tuple[Path, Path]) -> None:
    write(files, f"kubelet:{2 * IDS + 1}:{2 * IDS}", f"kubelet:{IDS}:{9 * IDS}")
    assert chosen(files, 1) == {3 * IDS}
    write(files, f"kubelet:{IDS}:{IDS - 1}", "")
    with pytest.raises(id_ranges.NoRange):
        chosen(files, 1)


def test_the_nodes_own_ids_are_given_to_no_pod_whatever_the_files_say(files: tuple[Path, Path]) -> None:
    write(files, f"kubelet:0:{2 * IDS}")
    assert chosen(files, 1) == {IDS}


def test_what_is_no_range_is_passed_over() -> None:
    assert id_ranges.parse("# a remark\nada:x:1\nada:1\n\n") == {}
