"""state, list, ps, features, spec: what only tells. Sources: runc-state(8) and its kin, runtime-spec features.md"""

from __future__ import annotations

import json
import os

from kubelet.runtime.oci_command.arguments import COMMANDS as KNOWN
from kubelet.runtime.oci_command.state import Failed, Record, every

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kubelet.runtime.oci_command.arguments import Arguments


def usage() -> str:
    """What the command can do, for who gives none."""
    return f"usage: wherry-runtime [GLOBAL OPTION…] COMMAND [OPTION…] [ID] [ARGUMENT…]\ncommands: {', '.join(KNOWN)}"


def state(root: str, given: Arguments) -> int:
    """Print a container's state as JSON."""
    print(json.dumps(Record.load(root, given.container_id).shown(), indent=2))
    return 0


def list_(root: str, given: Arguments) -> int:
    """Print all containers."""
    shown = [record.shown() for record in every(root)]
    if given.flag("quiet"):
        for entry in shown:
            print(entry["id"])
        return 0
    form = given.value("format", "table")
    if form == "json":
        print(json.dumps(shown or None))
        return 0
    if form != "table":
        raise Failed("invalid format option")
    rows = [("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")]
    rows += [
        (entry["id"], str(entry["pid"]), entry["status"], entry["bundle"], entry["created"], "root")
        for entry in shown
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def ps(root: str, given: Arguments) -> int:
    """Print a container's processes: as JSON their numbers, as a table what ps(1) says of them."""
    from kubelet.runtime import cgroupfs

    record = Record.load(root, given.container_id)
    pids = cgroupfs.processes(record.data["cgroup"]["processes"])
    form = given.value("format", "table")
    if form == "json":
        print(json.dumps(pids))
        return 0
    if form != "table":
        raise Failed("invalid format option")
    import subprocess

    listed = subprocess.run(["ps", *(given.rest[1:] or ["-ef"])], stdout=subprocess.PIPE, check=True, text=True)
    heading, *lines = listed.stdout.splitlines()
    if "PID" not in heading.split():
        raise Failed("couldn't find PID field in ps output")
    column = heading.split().index("PID")
    print(heading)
    for line in lines:
        if int(line.split(None, column + 1)[column]) in pids:
            print(line)
    return 0


def features(_root: str, _given: Arguments) -> int:
    """Print what this runtime can do."""
    from kubelet.runtime import capabilities, plan, seccomp
    from kubelet.runtime.oci import OCI_VERSION
    from kubelet.runtime.oci_command import bundle

    found: dict[str, Any] = {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": OCI_VERSION,
        "hooks": list(bundle.HOOKS),
        "mountOptions": sorted(set(plan.MOUNT_OPTIONS)),
        "linux": {
            "namespaces": ["cgroup", "ipc", "mount", "network", "pid", "uts"],
            "capabilities": list(capabilities.NAMES),
            "cgroup": {"v1": True, "v2": True, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {"enabled": True, **seccomp.SUPPORTED},
            "apparmor": {"enabled": False},
            "selinux": {"enabled": False},
            "intelRdt": {"enabled": False},
            "mountExtensions": {"idmap": {"enabled": False}},
        },
        "annotations": {},
    }
    print(json.dumps(found, indent=2))
    return 0


def spec(_root: str, given: Arguments) -> int:
    """Write a config.json to begin with."""
    from kubelet.runtime import oci

    path = os.path.join(given.value("bundle", "."), "config.json")
    config = oci.default_spec()
    config["process"].update(args=["sh"], terminal=True, env=["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"])
    config["mounts"] = [entry for entry in config["mounts"] if entry["destination"] != "/dev/shm"]
    shm = {"destination": "/dev/shm", "type": "tmpfs", "source": "shm"}
    config["mounts"].append({**shm, "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]})
    config["hostname"] = "wherry"
    try:
        with open(path, "x") as file:
            json.dump(config, file, indent="\t")
    except FileExistsError:
        raise Failed(f"file {path} exists. Remove it first") from None
    return 0


COMMANDS: dict[str, Callable[[str, Arguments], int]] = {
    "state": state,
    "list": list_,
    "ps": ps,
    "features": features,
    "spec": spec,
}
