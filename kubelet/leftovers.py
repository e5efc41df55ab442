"""Removes what pods have left on this node that nobody will come back to: after a crash, or a long absence."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

from apiclient.logs import kv
from kubelet import paths
from kubelet.volumes import VolumeFailure, VolumeManager

logger = logging.getLogger(__name__)

Uids = Callable[[], frozenset[str]]


async def remove(root: Path, uids: Uids, *, volumes: VolumeManager) -> None:
    """Remove volumes, files, logs and allocations of all pods but those that `uids` gives.

    A new pod has its worker before it has anything else, hence each folder is judged by who is known just then.
    """
    for folder in _folders(paths.volumes_dir(root)):
        if folder.name not in uids():
            try:
                await volumes.tear_down(folder.name)
            except VolumeFailure as failure:
                # One folder that can't be removed must not keep the others; the next start tries again.
                logger.warning(kv("volumes left behind", pod_uid=folder.name, error=failure.message))
    for folder in [*_folders(paths.files_dir(root)), *_folders(paths.logs_dir(root))]:
        if folder.name.rpartition("_")[2] not in uids():
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            logger.info(kv("removed what a pod has left", folder=folder))
    for allocation in paths.allocations_dir(root).glob("*.json"):
        if allocation.stem not in uids():
            allocation.unlink(missing_ok=True)


def _folders(parent: Path) -> list[Path]:
    try:
        return [path for path in parent.iterdir() if path.is_dir()]
    except FileNotFoundError:
        return []
