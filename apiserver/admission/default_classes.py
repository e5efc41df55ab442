"""Classes that objects are of if they don't say: the marked one, or of several the one that was made last."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from apimachinery.meta import Object, name


def newest(classes: Iterable[Object], is_default: Callable[[Object], bool]) -> Object | None:
    """The default class; of two of the same second the one whose name comes first."""
    marked = [one for one in classes if is_default(one)]
    latest = max((_made(one) for one in marked), default="")
    return min((one for one in marked if _made(one) == latest), key=name, default=None)


def _made(one: Object) -> str:
    return one["metadata"].get("creationTimestamp") or ""
