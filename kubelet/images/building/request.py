"""What a build is asked for, and what it works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kubelet.images.manifest import Platform
from kubelet.images.store import Image, ImageStore
from kubelet.images.unpackers import Unpackers


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the build was asked for, beyond the Dockerfile and its context."""

    names: Sequence[str] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    use_cache: bool = True
    reaches_network: bool = True
    labels: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a build works with. `base` finds or pulls an image by its name; `told` shows a line to people."""

    store: ImageStore
    unpackers: Unpackers
    context: Path
    platform: Platform
    base: Callable[[str, str], Image]
    told: Callable[[str], None]
