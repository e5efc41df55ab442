"""What a container gets unless its pod says otherwise, as an OCI runtime-spec config.

Shape: https://github.com/opencontainers/runtime-spec/blob/main/config.md and config-linux.md. The values are
those that Docker and containerd agree on.
"""

from __future__ import annotations

import os
import stat
from copy import deepcopy
from pathlib import Path
from typing import Any

from kubelet.runtime import capabilities, seccomp

OCI_VERSION = "1.2.0"

# Files of /proc and /sys that tell about the whole node, or reach its hardware.
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
# Files of /proc that tune the whole node.
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")

_NODE_TERMINALS = ("/dev/console", "/dev/ptmx", "/dev/tty")

_MOUNTS: tuple[dict[str, Any], ...] = (
    {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
    {
        "destination": "/dev",
        "type": "tmpfs",
        "source": "tmpfs",
        "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
        "destination": "/dev/pts",
        "type": "devpts",
        "source": "devpts",
        "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    {
        "destination": "/sys/fs/cgroup",
        "type": "cgroup",
        "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"],
    },
    # The runtime puts the pod's own shared memory here.
    {"destination": "/dev/shm", "type": "bind", "source": "shm", "options": ["rbind", "nosuid", "noexec", "nodev"]},
)


def default_spec() -> dict[str, Any]:
    """A config that only lacks its command: root user, default capabilities, seccomp's RuntimeDefault."""
    spec: dict[str, Any] = {
        "ociVersion": OCI_VERSION,
        "process": {
            "terminal": False,
            "user": {"uid": 0, "gid": 0, "additionalGids": []},
            "args": [],
            "env": [],
            "cwd": "/",
            "noNewPrivileges": False,
            "rlimits": [],
        },
        "root": {"path": "rootfs", "readonly": False},
        "mounts": deepcopy(list(_MOUNTS)),
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "resources": {},
            "devices": [],
            "maskedPaths": list(MASKED_PATHS),
            "readonlyPaths": list(READONLY_PATHS),
        },
    }
    set_capabilities(spec, capabilities.DEFAULT)
    set_runtime_default_seccomp(spec)
    return spec


def set_capabilities(spec: dict[str, Any], names: tuple[str, ...] | list[str]) -> None:
    """Give the first process these capabilities, and let it and its children have no other.

    None is inheritable or ambient: a user other than root holds none after execve(2), as in Docker.
    """
    wanted = sorted(names)
    spec["process"]["capabilities"] = {
        "bounding": wanted,
        "effective": wanted,
        "permitted": wanted,
        "inheritable": [],
        "ambient": [],
    }


def set_runtime_default_seccomp(spec: dict[str, Any]) -> None:
    """Pods' seccompProfile RuntimeDefault, for the capabilities that the config has by now."""
    bounding = spec["process"]["capabilities"]["bounding"]
    spec["linux"]["seccomp"] = seccomp.default_profile(tuple(sorted(bounding)))


def set_privileged(spec: dict[str, Any]) -> None:
    """A container that may do what root may on the node: pods' securityContext.privileged."""
    set_capabilities(spec, capabilities.NAMES)
    linux = spec["linux"]
    linux.pop("seccomp", None)
    linux["maskedPaths"], linux["readonlyPaths"] = [], []
    linux["resources"] = {**linux["resources"], "devices": [{"allow": True, "access": "rwm"}]}
    linux["devices"] = [*linux["devices"], *node_devices()]
    for mount in spec["mounts"]:
        if mount["type"] in ("sysfs", "cgroup"):
            mount["options"] = [option for option in mount["options"] if option != "ro"]


def node_devices() -> list[dict[str, Any]]:
    """Every device node in the node's /dev, but for terminals, as OCI `linux.devices`."""
    found = []
    for folder, folders, files in os.walk("/dev"):
        folders[:] = [name for name in folders if name not in ("pts", "shm", "mqueue", "fd")]
        for name in files:
            path = Path(folder) / name
            status = path.lstat()
            kind = "c" if stat.S_ISCHR(status.st_mode) else "b" if stat.S_ISBLK(status.st_mode) else ""
            if kind and str(path) not in _NODE_TERMINALS:
                numbers = {"major": os.major(status.st_rdev), "minor": os.minor(status.st_rdev)}
                mode = {"fileMode": stat.S_IMODE(status.st_mode), "uid": status.st_uid, "gid": status.st_gid}
                found.append({"path": str(path), "type": kind, **numbers, **mode})
    return found
