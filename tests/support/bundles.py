"""OCI bundles for tests: a root of busybox, a config to change, and runtimes that run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS_MAX = 60
OURS = (sys.executable, "-m", "kubelet.runtime.oci_command")
CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["true"],
        "env": ["PATH=/bin"],
        "cwd": "/",
        "capabilities": {},
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}],
    },
    "root": {"path": "rootfs", "readonly": False},
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
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
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
    },
}


def make_root(path: Path) -> Path:
    """A root file system: busybox, and a few files to be seen."""
    busybox = shutil.which("busybox")
    assert busybox is not None, "apt install busybox-static"
    for name in ("bin", "etc", "tmp", "data"):
        (path / name).mkdir(parents=True)
    (path / "tmp").chmod(0o1777)
    shutil.copy(busybox, path / "bin" / "busybox")
    listed = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True)
    for name in listed.stdout.split():
        if name != "busybox":
            (path / "bin" / name).symlink_to("busybox")
    (path / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000:web:/home/web:/bin/sh\n")
    return path


class Bundle:
    """A bundle folder: its `config` is written anew before each run."""

    def __init__(self, folder: Path, root: Path, cgroup: str) -> None:
        self.folder = folder
        self.config = deepcopy(CONFIG)
        self.config["root"]["path"] = str(root)
        self.config["linux"]["cgroupsPath"] = cgroup
        folder.mkdir()

    def script(self, text: str) -> None:
        """Have the container run a shell script."""
        self.config["process"]["args"] = ["sh", "-c", text]

    def write(self) -> None:
        """Write config.json."""
        (self.folder / "config.json").write_text(json.dumps(self.config))


class OCIRuntime:
    """A runtime's command line, with a folder of its own for its state."""

    def __init__(self, command: Sequence[str], root: Path) -> None:
        self.command = [*command, "--root", str(root)]
        self.root = root

    def call(
        self,
        *arguments: str,
        bundle: Bundle | None = None,
        environment: Mapping[str, str] | None = None,
        **more: Any,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; of a bundle that is given, config.json is written before."""
        if bundle is not None:
            bundle.write()
            name, *rest = arguments
            arguments = (name, "--bundle", str(bundle.folder), *rest)
        streams: dict[str, Any] = more or {"stdin": subprocess.DEVNULL, "capture_output": True}
        return subprocess.run(
            [*self.command, *arguments],
            text=True,
            timeout=SECONDS_MAX,
            check=False,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), **(environment or {})},
            **streams,
        )

    def status(self, container_id: str) -> str:
        """A container's status; "" when there is none."""
        done = self.call("state", container_id)
        return str(json.loads(done.stdout)["status"]) if done.returncode == 0 else ""
