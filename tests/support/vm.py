"""A small virtual machine that runs a command on this machine's own files, read-only, under another kernel.

It boots Debian's kernel for clouds in software emulation, sees this machine's root through virtiofs (the repository
too, wherever it lies), and has memory file systems where something has to be written. Everything is torn down with
the command. Needs (Debian): qemu-system-x86, linux-image-cloud-amd64, busybox-static.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
MEMORY_MEGABYTES = 1536
MODULES = ("virtio_pci", "virtiofs", "overlay", "veth", "bridge")
_VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")
_DONE = "the machine's command ended with "
_INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module; done
/bin/busybox mount -t virtiofs -o ro root /root || /bin/busybox poweroff -f
/bin/busybox mount -t proc proc /root/proc
/bin/busybox mount -t sysfs sysfs /root/sys
/bin/busybox mount -t devtmpfs dev /root/dev
/bin/busybox mkdir -p /root/dev/pts /root/dev/shm
/bin/busybox mount -t devpts devpts /root/dev/pts
/bin/busybox mount -t tmpfs shm /root/dev/shm
/bin/busybox mkdir /repository && /bin/busybox mount --bind /root{repository} /repository
for folder in /tmp /run /var/tmp; do /bin/busybox mount -t tmpfs tmpfs /root$folder; done
[ -d /root{repository} ] || /bin/busybox mkdir -p /root{repository}
/bin/busybox mount --bind /repository /root{repository}
/bin/busybox mount -t cgroup2 cgroup /root/sys/fs/cgroup
/bin/busybox ip link set lo up
exec /bin/busybox switch_root /root /bin/sh -c {script}
"""
_SCRIPT = """{command}
echo "{done}$?"
{busybox} poweroff -f
"""


class Unavailable(Exception):
    """This machine lacks something that it takes; the message names it."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a command printed, and how it ended."""

    exit_code: int
    output: str


def find_kernel() -> tuple[Path, Path]:
    """The newest cloud kernel and its modules."""
    for kernel in sorted(Path("/boot").glob("vmlinuz-*-cloud-*"), reverse=True):
        modules = Path("/lib/modules") / kernel.name.removeprefix("vmlinuz-")
        if list(modules.rglob("virtiofs.ko")):
            return kernel, modules
    raise Unavailable("no cloud kernel with virtiofs below /boot (Debian: apt install linux-image-cloud-amd64)")


def find_programs() -> tuple[str, str, str]:
    """qemu, virtiofsd and a static busybox."""
    qemu = shutil.which("qemu-system-x86_64")
    virtiofsd = next((path for path in _VIRTIOFSD if os.access(path, os.X_OK)), None)
    busybox = shutil.which("busybox")
    for found, name in ((qemu, "qemu-system-x86"), (virtiofsd, "virtiofsd"), (busybox, "busybox-static")):
        if found is None:
            raise Unavailable(f"{name} is not installed")
    assert qemu and virtiofsd and busybox
    return qemu, virtiofsd, busybox


def run(command: list[str], folder: Path, *, seconds_max: float) -> Result:
    """Run a command in a machine, with `folder` for sockets and the like. Unavailable, or TimeoutError."""
    kernel, modules = find_kernel()
    qemu, virtiofsd, busybox = find_programs()
    initramfs = folder / "initramfs"
    make_initramfs(initramfs, busybox, modules, command)
    socket = folder / "virtiofs"
    files = subprocess.Popen(
        [virtiofsd, f"--socket-path={socket}", "-o", "source=/", "-o", "cache=always", "-o", "sandbox=chroot"],
        stdout=subprocess.DEVNULL,
        stderr=(folder / "virtiofsd.log").open("wb"),
    )
    try:
        deadline = time.monotonic() + seconds_max
        while not socket.exists():
            if files.poll() is not None or time.monotonic() > deadline:
                raise Unavailable(f"virtiofsd: {(folder / 'virtiofsd.log').read_text().strip()}")
            time.sleep(0.01)
        return boot(qemu, kernel, initramfs, socket, deadline - time.monotonic())
    finally:
        files.kill()
        files.wait()


def boot(qemu: str, kernel: Path, initramfs: Path, socket: Path, seconds_max: float) -> Result:
    """Boot, and read the serial line to the end."""
    memory = f"memory-backend-memfd,id=memory,size={MEMORY_MEGABYTES}M,share=on"
    arguments = [qemu, "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "1", "-m", f"{MEMORY_MEGABYTES}M"]
    arguments += ["-nodefaults", "-no-reboot", "-nographic", "-serial", "stdio"]
    arguments += ["-object", memory, "-numa", "node,memdev=memory"]
    arguments += ["-chardev", f"socket,id=files,path={socket}", "-device", "vhost-user-fs-pci,chardev=files,tag=root"]
    arguments += ["-kernel", str(kernel), "-initrd", str(initramfs)]
    arguments += ["-append", "console=ttyS0 quiet panic=-1 random.trust_cpu=on mitigations=off"]
    try:
        done = subprocess.run(
            arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds_max, check=False
        )
    except subprocess.TimeoutExpired as error:
        output = (error.stdout or b"").decode(errors="replace")
        raise TimeoutError(f"the machine did not end in time; its last words:\n{output[-4000:]}") from None
    output = done.stdout.decode(errors="replace").replace("\r\n", "\n")
    text, found, code = output.rpartition(_DONE)
    if not found:
        raise RuntimeError(f"the machine did not get to the command's end: {output[-4000:]} {done.stderr.decode()}")
    return Result(int(code.split()[0]), text)


def with_dependencies(modules: Path, names: Sequence[str]) -> list[Path]:
    """The files of kernel modules in the order in which they have to be loaded (modules.dep(5))."""
    needs: dict[str, list[str]] = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, _, needed = line.partition(":")
        needs[file] = needed.split()
    order: list[str] = []
    for name in names:
        for file in (path for path in needs if Path(path).name == f"{name}.ko"):
            # The file lists what it needs directly and indirectly, the nearest first.
            order += [path for path in [*reversed(needs[file]), file] if path not in order]
    return [modules / path for path in order]


def make_initramfs(path: Path, busybox: str, modules: Path, command: list[str]) -> None:
    """The machine's first file system: busybox, the modules, and the script that leads to the command."""
    root = path.with_suffix(".d")
    for name in ("bin", "proc", "sys", "dev", "root", "modules"):
        (root / name).mkdir(parents=True)
    shutil.copy(busybox, root / "bin" / "busybox")
    files = with_dependencies(modules, MODULES)
    for file in files:
        shutil.copy(file, root / "modules" / file.name)
    script = _SCRIPT.format(command=shlex.join(command), done=_DONE, busybox=busybox)
    names = " ".join(file.name for file in files)
    init = _INIT.format(modules=names, script=shlex.quote(script), repository=shlex.quote(str(REPOSITORY)))
    (root / "init").write_text(init)
    (root / "init").chmod(0o755)
    packed = "\n".join(str(file.relative_to(root)) for file in sorted(root.rglob("*")))
    pack = [busybox, "cpio", "-o", "-H", "newc"]
    with path.open("wb") as archive:
        subprocess.run(pack, input=packed.encode(), stdout=archive, stderr=subprocess.DEVNULL, cwd=root, check=True)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        result = run(sys.argv[1:], Path(scratch), seconds_max=1500)
        print(result.output)
        sys.exit(result.exit_code)
