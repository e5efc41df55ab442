"""Which ids of the node's users become a pod's own, for pods with `hostUsers: false`: pure but for two small files.

Ranges are never written down by themselves: each stands in the record of the sandbox that has it (sandbox.json),
from before anything is made with it until the sandbox is gone.

Source: https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/ and subuid(5).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import chain
from pathlib import Path
from random import Random

from kubelet.runtime.user_namespace import IDS

OWNER = "kubelet"
FILES = (Path("/etc/subuid"), Path("/etc/subgid"))
# Beyond it ids are negative to programs that keep them in a signed integer.
_LAST = 1 << 31

Given = dict[str, list[tuple[int, int]]]


class NoRange(Exception):
    """There is no range of ids for another pod."""


def choose(taken: Collection[int], random: Random, files: Sequence[Path] = FILES) -> int:
    """The first id of a range that no pod of this node has.

    Where the node's owner has given ranges to the user "kubelet" it is one of those, else any that was not given to
    somebody else. It is drawn by lot: several node agents may share a machine without knowing of each other.
    """
    given = [parse(path.read_text()) if path.exists() else {} for path in files]
    candidates = slots(given)
    start = random.randrange(len(candidates)) if candidates else 0
    for slot in chain(candidates[start:], candidates[:start]):
        if slot not in taken and all(is_free(slot, one) for one in given):
            return slot
    raise NoRange(f"no range of {IDS} user ids is left for another pod with hostUsers: false")


def parse(text: str) -> Given:
    """(first id, count) by owner, from the text of /etc/subuid or /etc/subgid."""
    found: Given = {}
    for line in text.splitlines():
        owner, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if first.isdigit() and count.strip().isdigit():
            found.setdefault(owner, []).append((int(first), int(count)))
    return found


def slots(files: Sequence[Given]) -> Sequence[int]:
    """Where ranges may begin, before it is looked whose they are."""
    for given in files:
        if OWNER in given:
            return [id_ for first, count in given[OWNER] for id_ in range(max(_up(first), IDS), first + count, IDS)]
    return range(IDS, _LAST, IDS)


def is_free(slot: int, given: Given) -> bool:
    """Whether a range is the node agent's by one of the files: within what it was given, else nobody else's."""
    end = slot + IDS
    if OWNER in given:
        return any(first <= slot and end <= first + count for first, count in given[OWNER])
    return not any(first < end and slot < first + count for ranges in given.values() for first, count in ranges)


def _up(first: int) -> int:
    """The next multiple of the size of a range."""
    return -(-first // IDS) * IDS
