"""secret: each key of a Secret as a file, in memory only, so that it never reaches a disk.

Source: https://kubernetes.io/docs/concepts/storage/volumes/#secret
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubelet.volumes import projection
from kubelet.volumes.atomic_writer import File
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Request


async def set_up(request: Request) -> Path:
    """Show the Secret."""
    source = {**request.source, "name": request.source.get("secretName")}
    payload = await files(request, source, request.source.get("defaultMode"))
    return await projection.show(request, payload, in_memory=True)


async def files(request: Request, source: Mapping[str, Any], default_mode: int | None) -> dict[str, File]:
    """The files that a source names; a projected volume has such sources too."""
    name = source.get("name") or ""
    secret = await request.objects.secret(request.namespace, name)
    if secret is None and not source.get("optional"):
        raise VolumeError(f'secret "{name}" not found')
    content = {key: base64.b64decode(value) for key, value in ((secret or {}).get("data") or {}).items()}
    return projection.select(content, source, default_mode, missing="references non-existent secret key")
