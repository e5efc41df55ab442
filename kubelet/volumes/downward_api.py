"""downwardAPI: fields of the pod as files; its labels and annotations follow their changes.

Source: https://kubernetes.io/docs/concepts/storage/volumes/#downwardapi
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubelet.containers.downward_api import UnknownField, field_value, resource_value
from kubelet.volumes import projection
from kubelet.volumes.atomic_writer import File
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Request


async def set_up(request: Request) -> Path:
    """Show the pod's fields."""
    payload = files(request, request.source, request.source.get("defaultMode"))
    return await projection.show(request, payload, in_memory=True)


def files(request: Request, source: Mapping[str, Any], default_mode: int | None) -> dict[str, File]:
    """The files that a source names; a projected volume has such sources too."""
    payload = {}
    for item in source.get("items") or ():
        text = _value(request, item)
        payload[item["path"]] = File(text.encode(), projection.mode_of(item, default_mode))
    return payload


def _value(request: Request, item: Mapping[str, Any]) -> str:
    try:
        if field_ref := item.get("fieldRef"):
            return field_value(request.pod, field_ref["fieldPath"])
        reference = item.get("resourceFieldRef") or {}
        return resource_value(request.pod, reference, container=None, allocatable=request.allocatable)
    except UnknownField as error:
        raise VolumeError(str(error)) from error
