"""Which nodes have which images already, and how large these are.

Every name of an image has one integer, of which each bit is a row: five thousand nodes with fifty images each take
a few hundred bytes a name, and what the nodes say is kept nowhere twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from apimachinery.meta import Object, get_path
from scheduler.columns import BoolColumn


@dataclass(slots=True)
class _Image:
    """The size that was told of it first, and the rows that have it."""

    size_bytes: int
    rows: int = 0


class Images:
    """The images of all nodes, by each of their names. `version` grows whenever what they are worth may change."""

    def __init__(self) -> None:
        self.version = 0
        self._known: dict[str, _Image] = {}

    def __bool__(self) -> bool:
        return bool(self._known)

    def changed(self, row: int, old: Object | None, new: Object | None) -> bool:
        """A node is new, has changed or is gone; tells whether its images are others than before."""
        before, after = _images(old), _images(new)
        if old is None or new is None:
            # What an image is worth depends on how many nodes there are, too.
            self.version += bool(self._known or after)
        if before == after:
            return False
        bit = 1 << row
        for name, _ in _named(before):
            image = self._known.get(name)
            if image is not None:
                image.rows &= ~bit
        for name, size_bytes in _named(after):
            image = self._known.setdefault(name, _Image(size_bytes))
            image.rows |= bit
        for name, _ in _named(before):
            if name in self._known and not self._known[name].rows:
                del self._known[name]
        self.version += 1
        return True

    def find(self, name: str) -> tuple[int, int] | None:
        """The size of an image in bytes, and how many nodes have it; None if none has."""
        image = self._known.get(name)
        return None if image is None else (image.size_bytes, image.rows.bit_count())

    def has(self, name: str, height: int) -> BoolColumn:
        """Which of the first `height` rows have an image."""
        image = self._known.get(name)
        if image is None:
            return np.zeros(height, dtype=np.bool_)
        packed = np.frombuffer(image.rows.to_bytes((height + 7) // 8, "little"), dtype=np.uint8)
        return np.unpackbits(packed, count=height, bitorder="little").astype(np.bool_)


def _images(node: Object | None) -> list[Object]:
    return (get_path(node, "status", "images") or []) if node is not None else []


def _named(images: Iterable[Object]) -> Iterable[tuple[str, int]]:
    for image in images:
        for name in image.get("names") or ():
            yield name, image.get("sizeBytes") or 0
