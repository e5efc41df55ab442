"""The one shape of a check: it looks at a pod's metadata and spec, and says what it would refuse the pod for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Fields = Mapping[str, Any]


class Violation(NamedTuple):
    """What a pod is refused for: in a few words, and what in this pod it is."""

    reason: str
    detail: str


# (metadata, spec) of a pod or of a template.
Look = Callable[[Fields, Fields], Violation | None]


class Check(NamedTuple):
    """A check of a level, as it looks since which minor version; the oldest comes first.

    `replaces` names the check of the baseline that need not be made where this one is.
    """

    id: str
    level: str
    versions: Sequence[tuple[int, Look]]
    replaces: str = ""


def containers(spec: Fields) -> Iterator[Fields]:
    """All containers of a pod, in the order in which they are told."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def security(of: Fields) -> Fields:
    """The security context of a container or of a pod's spec."""
    return of.get("securityContext") or {}


def names_of(found: Sequence[Fields], kind: str = "container") -> str:
    """`container "a"`, or `containers "a", "b"`."""
    return f"{plural(kind, found)} {quoted([one.get('name') or '' for one in found])}"


def setters(spec: Fields, sets: Callable[[Fields], bool]) -> str:
    """Whose security context sets something: `pod and container "a"`, empty if nobody's."""
    bad = [container for container in containers(spec) if sets(security(container))]
    told = ["pod"] if sets(security(spec)) else []
    if bad:
        told.append(names_of(bad))
    return " and ".join(told)


def plural(word: str, counted: Collection[object]) -> str:
    """A word for so many."""
    return word if len(counted) == 1 else f"{word}s"


def quoted(texts: Sequence[str]) -> str:
    """`"a", "b"`."""
    return ", ".join(f'"{text}"' for text in texts)


def is_windows(spec: Fields) -> bool:
    """Whether a pod says that it is of Windows, where much of what is asked for can't be set."""
    return (spec.get("os") or {}).get("name") == "windows"


def has_own_users(spec: Fields) -> bool:
    """Whether root in the pod is nobody on the node."""
    return spec.get("hostUsers") is False


def unless(exempt: Callable[[Fields], bool], look: Look) -> Look:
    """A look that leaves some pods alone."""

    def looks(metadata: Fields, spec: Fields) -> Violation | None:
        return None if exempt(spec) else look(metadata, spec)

    return looks
