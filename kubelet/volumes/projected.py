"""projected: several sources in one folder.

Source: https://kubernetes.io/docs/concepts/storage/projected-volumes/
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubelet.volumes import config_map, downward_api, projection, secret, service_account_token
from kubelet.volumes.atomic_writer import File
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Request


async def set_up(request: Request) -> Path:
    """Show all sources; what is wrong with any of them is told together."""
    default_mode = request.source.get("defaultMode")
    payload: dict[str, File] = {}
    problems = []
    for source in request.source.get("sources") or ():
        try:
            payload.update(await _files(request, source, default_mode))
        except VolumeError as error:
            problems.append(str(error))
    if problems:
        raise VolumeError(problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]")
    return await projection.show(request, payload, in_memory=True)


async def _files(request: Request, source: Mapping[str, Any], default_mode: int | None) -> dict[str, File]:
    kind, wanted = next(((kind, wanted) for kind, wanted in source.items() if wanted is not None), ("", {}))
    match kind:
        case "secret":
            return await secret.files(request, wanted, default_mode)
        case "configMap":
            return await config_map.files(request, wanted, default_mode)
        case "downwardAPI":
            return downward_api.files(request, wanted, default_mode)
        case "serviceAccountToken":
            return await service_account_token.files(request, wanted, default_mode)
        case "":
            return {}
    raise VolumeError(f"projected volumes of this node can't show {kind}")
