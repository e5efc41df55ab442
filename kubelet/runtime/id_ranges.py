"""Which ids of the node's users become a pod's own, for pods with `hostUsers: false`: pure but for two small files.

Ranges are never written down by themselves: each stands in the record of the sandbox that has it (sandbox.json),
from before anything is made with it until the sandbox is gone.

Source: https://kubernetes.io/docs/concepts/workloads/pods/user-namespaces/ and subuid(5).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from random import Random

from kubelet.runtime.user_namespace import IDS

OWNER = "kubelet"
FILES = (Path("/etc/subuid"), Path("/etc/subgid"))
# Beyond it ids are negative to programs that keep them in a signed integer.
_LAST = 1 << 31

Range = tuple[int, int]


class NoRange(Exception):
    """There is no range of ids for another pod."""


def choose(taken: Collection[int], random: Random, files: Sequence[Path] = FILES) -> int:
    """The first id of a range that no pod of this node has.

    Where the node's owner has given ranges to the user "kubelet" it is one of those, else any that was not given to
    somebody else. It is drawn by lot: several node agents may share a machine without knowing of each other.
    """
    texts = [path.read_text() if path.exists() else "" for path in files]
    return pick(free_slots([parse(text) for text in texts]), taken, random)


def parse(text: str) -> dict[str, list[Range]]:
    """(first id, count) by owner, from the text of /etc/subuid or /etc/subgid."""
    found: dict[str, list[Range]] = {}
    for line in text.splitlines():
        owner, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if first.isdigit() and count.strip().isdigit():
            found.setdefault(owner, []).append((int(first), int(count)))
    return found


def free_slots(files: Iterable[dict[str, list[Range]]]) -> list[int]:
    """Where ranges may begin, as users and as groups alike."""
    found: set[int] = set()
    for number, given in enumerate(files):
        if OWNER in given:
            starts = {id_ for first, count in given[OWNER] for id_ in range(_up(first), first + count - IDS + 1, IDS)}
        else:
            others = [taken for ranges in given.values() for taken in ranges]
            starts = {
                id_
                for id_ in range(IDS, _LAST, IDS)
                if not any(first < id_ + IDS and id_ < first + count for first, count in others)
            }
        found = starts if number == 0 else found & starts
    return sorted(found - {0})


def pick(slots: Sequence[int], taken: Collection[int], random: Random) -> int:
    """One of these that is not taken. Raises NoRange."""
    start = random.randrange(len(slots)) if slots else 0
    for slot in (*slots[start:], *slots[:start]):
        if slot not in taken:
            return slot
    raise NoRange(f"no range of {IDS} user ids is left for a pod with hostUsers: false ({len(slots)} are in use)")


def _up(first: int) -> int:
    """The next multiple of the size of a range."""
    return -(-first // IDS) * IDS
