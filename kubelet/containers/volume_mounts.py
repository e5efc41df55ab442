"""The mounts of a container that its `volumeMounts` ask for, made from the volumes of its pod.

Sources: https://kubernetes.io/docs/concepts/storage/volumes/#using-subpath, #mount-propagation and
#read-only-mounts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from apiclient.logs import kv
from apimachinery.meta import Object, namespaced_key
from kubelet import paths
from kubelet.containers import subpaths
from kubelet.containers.container_config import ConfigFailure, Mount
from kubelet.containers.environment import expand
from kubelet.containers.subpaths import OutsideVolume
from kubelet.pods.pod_spec import Container
from kubelet.volumes import VolumeError, is_read_only, propagation

logger = logging.getLogger(__name__)

CONFIG_ERROR, CREATE_ERROR = "CreateContainerConfigError", "CreateContainerError"
_VARIABLE = re.compile(r"\$(?:\$|\(([^)]*)\))")

Variables = Sequence[tuple[str, str]]


def volume_mounts(
    pod: Object,
    container: Container,
    *,
    volumes: Mapping[str, Path],
    environment: Variables,
    root: Path,
    held: ExitStack,
) -> list[Mount]:
    """What to mount; parts of volumes are bound in the node agent's folder `root` until `held` is closed.

    Raises ConfigFailure, OSError.
    """
    pod_uid = pod["metadata"]["uid"]
    described = {volume["name"]: volume for volume in pod["spec"].get("volumes") or ()}
    _refuse_devices(container)
    found = []
    for number, entry in enumerate(container.get("volumeMounts") or ()):
        name = entry["name"]
        path = volumes.get(name)
        if path is None:
            words = f'cannot find volume "{name}" to mount into container "{container["name"]}"'
            raise ConfigFailure(CONFIG_ERROR, words)
        mode = entry.get("mountPropagation") or propagation.NONE
        try:
            path = propagation.prepare(path, mode, root=root, shared=paths.shared_volume(root, pod_uid, name))
        except VolumeError as error:
            raise ConfigFailure(CREATE_ERROR, f"failed to generate container spec: {error}") from error
        if part := part_of(entry, environment):
            place = paths.subpaths_dir(root, pod_uid) / container["name"] / str(number)
            is_image = described[name].get("image") is not None
            path = _part(pod, container, entry, path=path, part=part, place=place, is_image=is_image, held=held)
        mount_path = entry["mountPath"]
        found.append(
            Mount(
                str(path),
                mount_path if mount_path.startswith("/") else f"/{mount_path}",
                read_only=bool(entry.get("readOnly")) or is_read_only(described[name]),
                recursively=is_recursively_read_only(entry),
                propagation=mode,
            )
        )
    return found


def part_of(entry: Mapping[str, Any], environment: Variables) -> str:
    """Which part of its volume a mount shows, "" for all of it. Raises ConfigFailure."""
    expression = entry.get("subPathExpr")
    if not expression:
        return entry.get("subPath") or ""
    known = dict(environment)
    for match in _VARIABLE.finditer(expression):
        if match[1] is not None and match[1] not in known:
            raise ConfigFailure(CONFIG_ERROR, f'missing value for "{match[1]}"')
    return expand([expression], environment)[0]


def is_recursively_read_only(entry: Mapping[str, Any]) -> bool:
    """Whether mounts below a mount are read-only with it; this node always can. Raises ConfigFailure."""
    wanted, name = entry.get("recursiveReadOnly") or "Disabled", entry["name"]
    if wanted == "Disabled":
        return False
    asked = f'volume "{name}" requested recursive read-only mode, but it is not'
    mode = entry.get("mountPropagation") or propagation.NONE
    if not entry.get("readOnly"):
        raise ConfigFailure(CONFIG_ERROR, f"failed to resolve recursive read-only mode: {asked} read-only")
    if mode != propagation.NONE:
        words = f'{asked} compatible with propagation "{mode}"'
        raise ConfigFailure(CONFIG_ERROR, f"failed to resolve recursive read-only mode: {words}")
    return True


def _refuse_devices(container: Container) -> None:
    """Volumes of this node are file systems; none can be handed on as a device."""
    for device in container.get("volumeDevices") or ():
        words = f'cannot find volume "{device["name"]}" to pass into container "{container["name"]}"'
        raise ConfigFailure(CONFIG_ERROR, words)


def _part(
    pod: Object,
    container: Container,
    entry: Mapping[str, Any],
    *,
    path: Path,
    part: str,
    place: Path,
    is_image: bool,
    held: ExitStack,
) -> Path:
    try:
        return held.enter_context(subpaths.bound_part(path, part, place, make=not is_image))
    except (OSError, OutsideVolume) as error:
        # What exactly is wrong could tell of the node's files, and is for its owner alone.
        words = kv("part of a volume not mounted", pod=namespaced_key(pod), volume=entry["name"], error=str(error))
        logger.warning(words)
        if is_image:
            raise ConfigFailure(CREATE_ERROR, f'ImageVolumeMountFailed: no "{part}" in the image') from error
        if isinstance(error, OutsideVolume) and not str(error).startswith("subPath"):
            raise ConfigFailure(CONFIG_ERROR, str(error)) from error
        whose = f'for volumeMount "{entry["name"]}" of container "{container["name"]}"'
        raise ConfigFailure(CONFIG_ERROR, f"failed to prepare subPath {whose}") from error
