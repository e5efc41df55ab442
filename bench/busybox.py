"""The image that the benchmarks of runtimes share: one static busybox and its links, 2 MB, the same for everybody."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

IMAGE = "localhost/bench-busybox:1"
COMMANDS = ("sh", "sleep", "true", "cat", "sync")


def root(folder: Path) -> Path:
    """Make the root folder of the image. Raises SystemExit where busybox is not installed."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise SystemExit("busybox is not installed (Debian: apt install busybox-static)")
    made = folder / "busybox"
    (made / "bin").mkdir(parents=True)
    for name in ("dev", "etc", "proc", "sys", "tmp"):
        (made / name).mkdir()
    shutil.copy(busybox, made / "bin" / "busybox")
    for command in COMMANDS:
        (made / "bin" / command).symlink_to("busybox")
    return made


def archive(folder: Path, root_folder: Path) -> Path:
    """The same root as a tar file, which Podman imports as an image of one layer."""
    made = folder / "busybox.tar"
    subprocess.run(["tar", "-C", str(root_folder), "-cf", str(made), "."], check=True)
    return made


def build_context(root_folder: Path) -> Path:
    """A folder for `kctl image build` that makes an image of one layer out of the same root."""
    context = root_folder.parent / "context"
    context.mkdir()
    shutil.copytree(root_folder, context / "root", symlinks=True)
    (context / "Dockerfile").write_text("FROM scratch\nCOPY root /\n")
    return context
