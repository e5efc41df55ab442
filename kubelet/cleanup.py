"""Takes away what a node's pods have left, with no kubelet running: as if the machine had been switched off.

    python -m kubelet.cleanup --root-dir D --cgroup-root G

Kills every process in the node's cgroups, and removes the cgroups, all mounts below D and the pods' folders.
Volumes and logs stay, as they do on a machine that is switched off; a kubelet that comes up again removes those
that belong to no pod. Safe to repeat. Exits 1, with one line that says why, when something would not go or a
kubelet still runs.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from kubelet.runtime import cgroupfs, cgroups, disk


def clean_up(root: Path, cgroup_root: str) -> None:
    """Remove all that runs and is mounted. TimeoutError if a kubelet still runs, StillThere if something won't go."""
    cgroup_root = cgroup_root.strip("/")
    if not cgroup_root:
        raise disk.StillThere("the cgroup root must not be the root of the whole machine's cgroups")
    lock = -1
    if root.is_dir():
        disk.make_folders(root)
        lock = disk.lock(root)
    try:
        for folder in disk.sandbox_folders(root):
            record = disk.read_record(folder) or {}
            disk.kill_process(record.get("supervisor_pid", 0), record.get("supervisor_start_ticks", 0))
        directories = cgroups.present().directories(cgroup_root, cgroups.CONTROLLERS)
        disk.remove_cgroups(directories)
        cgroupfs.remove_empty_parents(directories, levels=cgroup_root.count("/"))
        if root.is_dir():
            disk.unmount_below(root)
            for folder in disk.sandbox_folders(root):
                disk.remove_tree(folder)
    finally:
        if lock >= 0:
            os.close(lock)


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m kubelet.cleanup", description=__doc__.partition("\n")[0])
    parser.add_argument("--root-dir", type=Path, required=True, help="the node's folder")
    parser.add_argument("--cgroup-root", required=True, help="the node's cgroup, below the root of each hierarchy")
    options = parser.parse_args(arguments)
    try:
        clean_up(options.root_dir, options.cgroup_root)
    except (disk.StillThere, TimeoutError, OSError) as error:
        print(f"cleanup of {options.root_dir}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
