"""nfs: a folder of a file server, mounted by mount(8) as the node's own mounts are.

Source: https://kubernetes.io/docs/concepts/storage/volumes/#nfs and nfs(5).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kubelet.volumes.blocking import run_blocking
from kubelet.volumes.failure import VolumeError
from kubelet.volumes.kind import Request

MOUNT_SECONDS_MAX = 120.0


async def set_up(request: Request) -> Path:
    """Mount the folder; one that is mounted already is left as it is."""
    await run_blocking(_mount, request.directory, request.source)
    return request.directory


def mount_command(source: Mapping[str, Any], directory: Path) -> list[str]:
    """What is run."""
    server = source["server"]
    shown = f"[{server}]" if ":" in server and not server.startswith("[") else server
    options = ["-o", "ro"] if source.get("readOnly") else []
    return ["mount", "-t", "nfs", *options, f"{shown}:{source['path']}", str(directory)]


def _mount(directory: Path, source: Mapping[str, Any]) -> None:
    directory.mkdir(mode=0o750, exist_ok=True)
    if os.path.ismount(directory):
        return
    command = mount_command(source, directory)
    try:
        done = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=MOUNT_SECONDS_MAX,
        )
    except subprocess.TimeoutExpired as error:
        raise VolumeError(f"mount failed: {' '.join(command)} took longer than {MOUNT_SECONDS_MAX:.0f} s") from error
    if done.returncode:
        words = f"Mounting command: mount\nMounting arguments: {' '.join(command[1:])}"
        output = done.stdout.decode(errors="replace")
        raise VolumeError(f"mount failed: exit status {done.returncode}\n{words}\nOutput: {output}")
