"""Which pod ends first when a node is short of something: pure.

Of memory and disk: who uses more than it asked for, then who has the lower priority, then who uses the most beyond
what it asked for. Of process ids, for which nobody can ask: priority, then how many a pod has. What is not known
counts as too much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from apimachinery.meta import Object, uid
from kubelet.containers import resources


@dataclass(frozen=True, slots=True)
class Figures:
    """What one pod uses; memory is its working set, `storage_bytes` and `inodes` those of the disk in question.

    By container: the working set, and the bytes of what it has written and logged. A volume's bytes by its name.
    """

    memory_bytes: int = 0
    tasks: int = 0
    storage_bytes: int = 0
    inodes: int = 0
    container_memory: Mapping[str, int] = field(default_factory=dict)
    container_storage: Mapping[str, int] = field(default_factory=dict)
    volumes: Mapping[str, int] = field(default_factory=dict)

    def of(self, resource: str) -> int:
        """How much of memory, ephemeral-storage, inodes or pids."""
        used = {
            "memory": self.memory_bytes,
            "ephemeral-storage": self.storage_bytes,
            "inodes": self.inodes,
            "pids": self.tasks,
        }
        return used[resource]


def rank(pods: Sequence[Object], resource: str, figures: Mapping[str, Figures]) -> list[Object]:
    """The pods in the order in which they are to end."""

    def place(pod: Object) -> tuple[int, int, int]:
        known = figures.get(uid(pod))
        priority = pod["spec"].get("priority") or 0
        if known is None:
            return 0, priority, 0
        used = known.of(resource)
        if resource == "pids":
            return 1, priority, -used
        asked = resources.pod_requests(pod).get(resource, 0)
        return (1 if used > asked else 2), priority, asked - used

    return sorted(pods, key=place)
