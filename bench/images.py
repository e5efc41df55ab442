"""How fast images are pulled, imported and built, beside the tools of others in the same run.

    sudo .venv/bin/python -m bench.images [--megabytes 200] [--layers 5] [--runs 3]

The image is made of the files of this machine's /usr, compressed as registries have them, and served by Debian's
`docker-registry` on loopback. A pull ends when a container could be started: layers downloaded, checked and unpacked.
Its peers are `skopeo copy` to an OCI layout with `umoci unpack`, and `buildah pull`. All take turns. None waits for
the disk; imports and builds of ours do.

Needs root, and (Debian) docker-registry, skopeo, umoci; buildah is left out where it is absent.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from kubelet.images import ImageStore
from kubelet.runtime.disk import unmount_below
from tests.support.layers import image, oci_layout
from tests.support.registry import Registry, registry

MEGABYTE = 1 << 20


def main() -> None:
    """Make the image, and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=200, help="the size of the image's files (%(default)s)")
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="wherry-bench-", dir="/var/tmp") as text:
        folder = Path(text)
        layers = list(make_layers(args.megabytes * MEGABYTE, args.layers))
        files = sum(map(len, layers)) / MEGABYTE
        made = image(layers)
        packed = sum(map(len, made.blobs.values())) / MEGABYTE
        print(f"an image of {len(layers)} layers: {files:.0f} MiB, {packed:.0f} MiB compressed; runs: {args.runs}")
        oci_layout(folder / "oci", made, "i")
        try:
            measure(folder, args.runs)
        finally:
            unmount_below(folder)  # of buildah's storage


def measure(folder: Path, runs: int) -> None:
    """All figures."""
    with registry(folder / "registry") as running:
        target = f"docker://{running.host}/app:1"
        run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{folder}/oci:i", target)
        pulls(folder, running, runs)
    imports(folder, runs)
    builds(folder, runs)
    find(folder)


def make_layers(size: int, count: int) -> Iterator[bytes]:
    """Tars of files of /usr, all of about the same size."""
    paths = (Path(parent) / name for parent, _, names in os.walk("/usr") for name in sorted(names))
    for _ in range(count):
        with tempfile.TemporaryFile(dir="/var/tmp") as spool:
            with tarfile.open(fileobj=spool, mode="w") as archive:
                while spool.tell() < size // count:
                    path = next(paths)
                    if path.is_file() and not path.is_symlink() and path.stat().st_size < 8 * MEGABYTE:
                        archive.add(path, recursive=False)
            spool.seek(0)
            yield spool.read()


def pulls(folder: Path, where: Registry, runs: int) -> None:
    """Pull the image, each way in turn, into nothing."""
    name = f"{where.host}/app:1"
    ways: dict[str, Callable[[Path], None]] = {
        "kctl image pull": lambda place: ours(place, "pull", "-q", name),
        "skopeo copy + umoci unpack": lambda place: skopeo_and_umoci(place, name),
    }
    if shutil.which("buildah"):
        ways["buildah pull"] = lambda place: buildah(place, name)
    compare("pull and unpack", folder, ways, runs)
    ours(folder / "store", "pull", "-q", name)
    again = [seconds(lambda: ours(folder / "store", "pull", "-q", name)) for _ in range(runs)]
    print(f"  pull of what is there (Always asks for the digest): {statistics.median(again):.2f} s")


def imports(folder: Path, runs: int) -> None:
    """Import the image from a file, and wait for the disk."""
    run("skopeo", "copy", "--quiet", f"oci:{folder}/oci:i", f"docker-archive:{folder}/saved.tar:app:1")
    ways = {"kctl image import": lambda place: ours(place, "import", f"{folder}/saved.tar")}
    compare("import of a `docker save` file", folder, ways, runs)


def builds(folder: Path, runs: int) -> None:
    """Build a small Dockerfile, cold and with its cache."""
    context = folder / "context"
    context.mkdir()
    for number in range(200):
        (context / f"file{number}").write_text("x" * 5000)
    (context / "Dockerfile").write_text(
        "FROM localhost/host\nWORKDIR /app\nCOPY . .\nRUN echo one > one\nRUN cat one > two\n"
        'ENV A=1\nFROM localhost/host\nCOPY --from=0 /app /app\nCMD ["sh"]\n'
    )
    store = folder / "built"
    ours(store, "ls")
    cold, cached = [], []
    for _ in range(runs):
        shutil.rmtree(store / "build-cache", ignore_errors=True)
        cold.append(seconds(lambda: ours(store, "build", "-q", "-t", "b:1", str(context))))
        cached.append(seconds(lambda: ours(store, "build", "-q", "-t", "b:1", str(context))))
    print("build of a Dockerfile with two stages, two RUNs and two COPYs of 200 files")
    line("cold", cold)
    line("cached", cached)


def find(folder: Path) -> None:
    """What an image that is there costs the start of a container."""
    store = ImageStore(folder / "store")
    [found] = [one for one in store.images() if one.diff_ids]
    store.find(found.names[0])
    count = 20_000
    began = time.perf_counter()
    for _ in range(count):
        store.find(found.names[0])
    print(f"find of an image that is there: {(time.perf_counter() - began) / count * 1e6:.1f} µs")


def skopeo_and_umoci(place: Path, name: str) -> None:
    """What a user without an engine does."""
    place.mkdir()
    run("skopeo", "copy", "--quiet", "--src-tls-verify=false", f"docker://{name}", f"oci:{place}/copy:i")
    run("umoci", "unpack", "--image", f"{place}/copy:i", str(place / "bundle"))


def buildah(place: Path, name: str) -> None:
    """Into a storage of its own."""
    run("buildah", "--root", f"{place}/root", "--runroot", f"{place}/run", "pull", "-q", "--tls-verify=false", name)


def compare(what: str, folder: Path, ways: dict[str, Callable[[Path], None]], runs: int) -> None:
    """Measure each way in turn, so that all see the same machine.

    Each time in a folder that was never used: ext4 takes its time to make files just after as many were deleted.
    """
    samples: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(runs):
        for number, (name, way) in enumerate(ways.items()):
            place = Path(tempfile.mkdtemp(dir=folder)) / f"{turn}-{number}"
            os.sync()  # what one leaves to be written is not on the next one's account
            samples[name].append(seconds(lambda way=way, place=place: way(place)))  # type: ignore[misc]
    print(what)
    for name, found in samples.items():
        line(name, found)
    first, *others = samples.items()
    for name, found in others:
        print(f"  {name} / ours: {statistics.median(found) / statistics.median(first[1]):.1f} x")


def ours(store: Path, *words: str) -> None:
    """Run our own command."""
    run(sys.executable, "-m", "kubelet.images", "--image-dir", str(store), *words)


def run(*command: str, check: bool = True) -> None:
    """Run a program, and say what it said if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr.strip()}")


def seconds(way: Callable[[], None]) -> float:
    """How long something takes."""
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def line(name: str, found: list[float]) -> None:
    """Print the median and the extremes."""
    print(f"  {name:28} median {statistics.median(found):6.2f} s   ({min(found):.2f} to {max(found):.2f})")


if __name__ == "__main__":
    main()
