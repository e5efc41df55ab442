"""Which ids a pod's own users are: nobody else's, and no two pods' the same."""

from pathlib import Path
from random import Random

import pytest

from kubelet.runtime import id_ranges
from kubelet.runtime.user_namespace import IDS


def slots(subuid: str = "", subgid: str = "") -> list[int]:
    return id_ranges.free_slots([id_ranges.parse(subuid), id_ranges.parse(subgid)])


def test_without_any_word_of_the_owner_all_but_the_nodes_own_ids_are_good() -> None:
    found = slots()
    assert found[0] == IDS and 0 not in found and len(found) > 30_000
    assert all(first % IDS == 0 for first in found)


def test_ids_that_others_were_given_are_left_to_them() -> None:
    found = slots("ada:100000:65536\nbob:300000:10\n", "ada:655360:1\n")
    assert IDS not in found and 2 * IDS not in found  # 100000 to 165535 lies in both
    assert 4 * IDS not in found and 10 * IDS not in found
    assert 3 * IDS in found


def test_ids_that_were_given_to_the_node_agent_are_the_only_ones_it_takes() -> None:
    given = f"ada:100000:65536\nkubelet:{2 * IDS}:{3 * IDS}\n"
    assert slots(given, given) == [2 * IDS, 3 * IDS, 4 * IDS]


def test_a_range_is_whole_and_good_for_users_and_groups_alike() -> None:
    assert slots(f"kubelet:{2 * IDS + 1}:{2 * IDS}", f"kubelet:{IDS}:{9 * IDS}") == [3 * IDS]
    assert slots(f"kubelet:{IDS}:{IDS - 1}", "") == []


def test_no_two_pods_get_the_same_and_the_last_is_told_why_there_is_none() -> None:
    files = [id_ranges.parse(f"kubelet:{IDS}:{3 * IDS}")] * 2
    taken: set[int] = set()
    for _ in range(3):
        taken.add(id_ranges.pick(id_ranges.free_slots(files), taken, Random(7)))
    assert taken == {IDS, 2 * IDS, 3 * IDS}
    with pytest.raises(id_ranges.NoRange, match="no range of 65536 user ids is left"):
        id_ranges.pick(id_ranges.free_slots(files), taken, Random(7))


def test_a_machine_without_such_files_is_good_too(tmp_path: Path) -> None:
    assert id_ranges.choose([0], Random(1), (tmp_path / "subuid", tmp_path / "subgid")) % IDS == 0


def test_what_is_no_range_is_passed_over() -> None:
    assert id_ranges.parse("# a remark\nada:x:1\nada:1\n\n") == {}
