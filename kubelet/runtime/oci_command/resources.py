"""pause, resume, update, events: what a container may use, while it runs.

Sources: Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst and cgroup-v2.rst, runc-update(8), runc-events(8)
"""

from __future__ import annotations

import json
import os
import sys
import time

from kubelet.runtime import cgroupfs
from kubelet.runtime.oci_command.state import Failed, Record, is_frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from kubelet.runtime.oci_command.arguments import Arguments

FREEZE_SECONDS_MAX = 2.0
FREEZE_PAUSE_SECONDS = 0.001
EVENTS_SECONDS = 5.0
# Options of `update`: where in OCI `linux.resources` each goes.
_OPTIONS = {
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-share": ("cpu", "shares"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "pids-limit": ("pids", "limit"),
}
_WORDS = ("cpuset-cpus", "cpuset-mems")


def pause(root: str, given: Arguments) -> int:
    """Stop all processes of a container where they are."""
    record = Record.load(root, given.container_id)
    status = record.status()
    if status != "running":
        raise Failed(f"container not running or created: {status}")
    freeze(record, frozen=True)
    return 0


def resume(root: str, given: Arguments) -> int:
    """Let them go on."""
    record = Record.load(root, given.container_id)
    if record.status() != "paused":
        raise Failed("container not paused")
    freeze(record, frozen=False)
    return 0


def freeze(record: Record, *, frozen: bool) -> None:
    """Set the state of the container's freezer, and wait for it. Raises Failed where there is none."""
    folder = record.data["freezer"]
    if os.path.exists(f"{folder}/freezer.state"):
        file, value = "freezer.state", "FROZEN" if frozen else "THAWED"
    elif os.path.exists(f"{folder}/cgroup.freeze"):
        file, value = "cgroup.freeze", str(int(frozen))
    elif frozen:
        raise Failed("this machine has no freezer for containers")
    else:
        return
    deadline = time.monotonic() + FREEZE_SECONDS_MAX
    # A process that forks may slip through: it is asked for again, as the kernel's documentation has it.
    cgroupfs.write(f"{folder}/{file}", value)
    while is_frozen(folder) != frozen:
        if time.monotonic() > deadline:
            cgroupfs.write(f"{folder}/{file}", "THAWED" if file == "freezer.state" else "0")
            raise Failed("unable to freeze the container")
        time.sleep(FREEZE_PAUSE_SECONDS)
        cgroupfs.write(f"{folder}/{file}", value)


def update(root: str, given: Arguments) -> int:
    """Change limits in place: from --resources FILE (- is standard input), or from options."""
    from kubelet.runtime import cgroups

    record = Record.load(root, given.container_id)
    if record.status() == "stopped":
        raise Failed("container not running")
    resources = wanted(given)
    hierarchies = cgroups.present()
    path = group_path(record, hierarchies.directories(""))
    changes, optional = cgroups.limits(hierarchies, path, resources)
    cgroupfs.change([*changes, *(entry for entry in optional if os.path.exists(entry[0]))])
    return 0


def wanted(given: Arguments) -> dict[str, Any]:
    """OCI `linux.resources` as the command line has them. Raises Failed."""
    file = given.value("resources")
    if file:
        try:
            if file == "-":
                found: dict[str, Any] = json.load(sys.stdin)
            else:
                with open(file, "rb") as text:
                    found = json.load(text)
        except ValueError as error:
            raise Failed(f"{file}: {error}") from error
        return found
    resources: dict[str, Any] = {}
    for option, (group, key) in _OPTIONS.items():
        if given.value(option):
            value = given.value(option) if option in _WORDS else given.number(option)
            resources.setdefault(group, {})[key] = value
    return resources


def group_path(record: Record, roots: list[str]) -> str:
    """The container's cgroup below the root of a hierarchy."""
    directory: str = record.data["cgroup"]["directories"][0]
    root = max((root for root in roots if directory.startswith(root)), key=len)
    return directory[len(root) :]


def events(root: str, given: Arguments) -> int:
    """Print what the container uses: once with --stats, otherwise until it has ended."""
    record = Record.load(root, given.container_id)
    while True:
        if record.status() == "stopped":
            if given.flag("stats"):
                raise Failed("container not running")
            return 0
        print(json.dumps({"type": "stats", "id": record.id, "data": stats(record)}), flush=True)
        if given.flag("stats"):
            return 0
        time.sleep(EVENTS_SECONDS)


def stats(record: Record) -> dict[str, Any]:
    """Processor, memory and processes of a container's cgroup, in the shape that runc gives them."""
    files = _Files(record.data["cgroup"]["directories"])
    usage = files.number("cpuacct.usage") or files.keyed("cpu.stat").get("usage_usec", 0) * 1000
    memory = files.number("memory.usage_in_bytes") or files.number("memory.current")
    return {
        "cpu": {"usage": {"total": usage}, "throttling": {}},
        "memory": {
            "usage": {
                "usage": memory,
                "max": files.number("memory.max_usage_in_bytes"),
                "limit": files.number("memory.limit_in_bytes") or files.number("memory.max"),
            },
            "raw": files.keyed("memory.stat"),
        },
        "pids": {"current": files.number("pids.current"), "limit": files.number("pids.max")},
    }


class _Files:
    """The files of one group, in whichever hierarchy they are."""

    def __init__(self, directories: list[str]) -> None:
        self._directories = directories

    def text(self, name: str) -> str:
        """A file's text, "" if there is none."""
        return next((text for folder in self._directories if (text := cgroupfs.read(f"{folder}/{name}"))), "")

    def number(self, name: str) -> int:
        """A file's number; 0 for none, and for no limit."""
        text = self.text(name).strip()
        return int(text) if text.isdigit() else 0

    def keyed(self, name: str) -> dict[str, int]:
        """A file of lines with a name and a number each."""
        pairs = (line.split() for line in self.text(name).splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


COMMANDS: dict[str, Callable[[str, Arguments], int]] = {
    "pause": pause,
    "resume": resume,
    "update": update,
    "events": events,
}
