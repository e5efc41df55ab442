"""Gets the images that a container mounts as volumes, when it starts: their failures hold up nobody else.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/image-volumes/
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from apimachinery.meta import Object
from kubelet.containers.container_config import ConfigFailure
from kubelet.images import Image
from kubelet.pods.pod_spec import Container
from kubelet.volumes import image as image_volume
from kubelet.volumes.blocking import run_blocking


class Puller(Protocol):
    """Where images come from."""

    async def get(self, pod: Object, reference: str, policy: str, *, container: str = "") -> Image:
        """An image for a pod. Raises StartFailure."""


class ImageVolumes:
    """The image volumes of all pods; `puller` keeps the images for as long as their pods are there."""

    def __init__(self, puller: Puller) -> None:
        self._puller = puller
        self._mounting = asyncio.Lock()

    async def provide(self, pod: Object, container: Container, volumes: Mapping[str, Path]) -> None:
        """Have all images that a container mounts shown in their volumes. Raises StartFailure, ConfigFailure."""
        sources = {entry["name"]: entry["image"] for entry in pod["spec"].get("volumes") or () if entry.get("image")}
        mounted = {entry["name"] for entry in container.get("volumeMounts") or ()} & sources.keys() & volumes.keys()
        for name in sorted(mounted):
            policy = sources[name].get("pullPolicy") or "IfNotPresent"
            reference = sources[name].get("reference") or ""
            image = await self._puller.get(pod, reference, policy, container=container["name"])
            try:
                # Two containers of a pod that start together must not both mount.
                async with self._mounting:
                    await run_blocking(image_volume.mount, volumes[name], image)
            except OSError as error:
                raise ConfigFailure("CreateContainerError", f"ImageVolumeMountFailed: {error}") from error
