"""What a container gets unless its pod says otherwise, as an OCI runtime-spec config.

Shape: https://github.com/opencontainers/runtime-spec/blob/main/config.md and config-linux.md. The values are
those that Docker and containerd agree on.
"""

from __future__ import annotations

from copy import deepcopy
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
    for mount in spec["mounts"]:
        if mount["type"] in ("sysfs", "cgroup"):
            mount["options"] = [option for option in mount["options"] if option != "ro"]
