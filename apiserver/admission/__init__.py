"""The table of admission plugins, in the order in which they run."""

from __future__ import annotations

from dataclasses import dataclass

from apiserver.admission.plugin import (
    CONNECT,
    CREATE,
    DELETE,
    UPDATE,
    Attributes,
    Cluster,
    Plugin,
    mutate,
    validate,
)

__all__ = [
    "CONNECT",
    "CREATE",
    "DELETE",
    "UPDATE",
    "Attributes",
    "Cluster",
    "Plugin",
    "Settings",
    "mutate",
    "plugins",
    "validate",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can set. A pod leaves a lost node after these seconds unless it says otherwise."""

    default_not_ready_toleration_seconds: int = 5
    default_unreachable_toleration_seconds: int = 5


def plugins(settings: Settings) -> tuple[Plugin, ...]:
    """All plugins."""
    return ()
