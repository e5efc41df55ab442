"""Where the node agent keeps things below its root folder.

    ROOT/pods/UID/                                     the runtime's: supervisor, containers, exit codes
    ROOT/volumes/UID/NAME/                             a pod's volumes
    ROOT/local-volumes/VOLUME/data/                    persistent volumes whose data is on this node
    ROOT/files/UID/                                    /etc/hosts, resolv.conf, hostname, termination messages
    ROOT/logs/NAMESPACE_NAME_UID/CONTAINER/ATTEMPT.log container output, as CRI log lines
    ROOT/allocations/UID.json                          what a pod was given when it was last resized
    ROOT/network/                                      the addresses given to pods
    ROOT/seccomp/                                      profiles that pods may name (seccompProfile Localhost)

Each folder has one writer, so that each can be emptied without asking the others.
"""

from __future__ import annotations

from pathlib import Path

from apimachinery.meta import Object


def volumes_dir(root: Path) -> Path:
    """The volumes of all pods."""
    return root / "volumes"


def pod_volumes_dir(root: Path, pod_uid: str) -> Path:
    """The volumes of one pod."""
    return root / "volumes" / pod_uid


def local_volumes_dir(root: Path) -> Path:
    """The persistent volumes whose data is on this node; they outlive pods, and the node agent."""
    return root / "local-volumes"


def subpaths_dir(root: Path, pod_uid: str) -> Path:
    """Where parts of a pod's volumes are bound while a container starts; no volume can have this name."""
    return pod_volumes_dir(root, pod_uid) / "_subpaths"


def shared_volume(root: Path, pod_uid: str, name: str) -> Path:
    """Where a volume that other pods may use, too, is bound so that its mounts propagate; no volume has this name."""
    return pod_volumes_dir(root, pod_uid) / "_shared" / name


def files_dir(root: Path) -> Path:
    """The small files of all pods that the node agent writes itself."""
    return root / "files"


def pod_files_dir(root: Path, pod_uid: str) -> Path:
    """The small files of one pod."""
    return root / "files" / pod_uid


def termination_log(root: Path, pod_uid: str, container: str, attempt: int) -> Path:
    """What one run of a container finds at its terminationMessagePath."""
    return pod_files_dir(root, pod_uid) / "termination" / f"{container}.{attempt}"


def logs_dir(root: Path) -> Path:
    """The logs of all pods."""
    return root / "logs"


def pod_logs_dir(root: Path, pod: Object) -> Path:
    """The logs of one pod."""
    metadata = pod["metadata"]
    return root / "logs" / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


def container_log(root: Path, pod: Object, container: str, attempt: int) -> Path:
    """The log of one run of a container; `attempt` counts its restarts from 0."""
    return pod_logs_dir(root, pod) / container / f"{attempt}.log"


def allocations_dir(root: Path) -> Path:
    """What resized pods were given."""
    return root / "allocations"


def seccomp_dir(root: Path) -> Path:
    """The seccomp profiles that the node's owner has put there."""
    return root / "seccomp"
