"""configMap: each key of a ConfigMap as a file.

Source: https://kubernetes.io/docs/concepts/storage/volumes/#configmap
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apimachinery.meta import Object
from kubelet.volumes import projection
from kubelet.volumes.atomic_writer import File
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Request


async def set_up(request: Request) -> Path:
    """Show the ConfigMap on the node's disk: it holds nothing secret."""
    payload = await files(request, request.source, request.source.get("defaultMode"))
    return await projection.show(request, payload, in_memory=False)


async def files(request: Request, source: Mapping[str, Any], default_mode: int | None) -> dict[str, File]:
    """The files that a source names; a projected volume has such sources too."""
    name = source.get("name") or ""
    config_map = await request.objects.config_map(request.namespace, name)
    if config_map is None and not source.get("optional"):
        raise VolumeError(f'configmap "{name}" not found')
    return projection.select(
        content(config_map or {}), source, default_mode, missing="configmap references non-existent config key"
    )


def content(config_map: Object) -> dict[str, bytes]:
    """What stands under each key, text or binary."""
    found = {key: value.encode() for key, value in (config_map.get("data") or {}).items()}
    found.update({key: base64.b64decode(value) for key, value in (config_map.get("binaryData") or {}).items()})
    return found
