"""Where mounts of a pod lie within a volume that containers can't write to: a folder has to be there for each."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from apimachinery.meta import Object
from kubelet.pods import pod_spec


def places(pod: Object, volume_name: str) -> set[str]:
    """The folders that are needed, as paths within the volume; what lies within another mount is left to that."""
    listed = [*pod_spec.all_containers(pod), *pod_spec.ephemeral_containers(pod)]
    return {place for container in listed for place in _within(container, volume_name)}


def _within(container: Mapping[str, Any], volume_name: str) -> set[str]:
    entries = [(posixpath.normpath(entry["mountPath"]), entry) for entry in container.get("volumeMounts") or ()]
    found: set[str] = set()
    for outer, entry in entries:
        if entry["name"] != volume_name or entry.get("subPath") or entry.get("subPathExpr"):
            continue
        inner = [path.removeprefix(f"{outer}/") for path, _ in entries if path.startswith(f"{outer}/")]
        found.update(path for path in inner if not any(path.startswith(f"{other}/") for other in inner))
    return found
