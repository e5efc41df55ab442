"""How long an OCI runtime's command line takes to run a container to its end: runc, crun and ours on one bundle.

    sudo .venv/bin/python -m bench.oci_runtime [--runs 50]

`run` is create, start, wait and delete in one; `create` and `start` are what engines call; `state` is the least that
a command can do. All take turns, so that they see the same machine. crun is left out where it refuses this machine's
cgroups. An interpreter's start is in each of our figures, and is shown for itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.bundles import OURS, Bundle, OCIRuntime, make_root

# What an engine may be given instead: the same without site, which looks through what is installed at each start.
_BARE = """#!{python} -IS
import sys
sys.path += [{repository!r}, {packages!r}]
from kubelet.runtime.oci_command.main import main
sys.exit(main())
"""
# Installed packages are compiled; so is this one then, by the first run.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
# A console script's first line starts Python just so; -m would look for the module besides.
_SCRIPT = """#!{python}
import sys
sys.path.append({repository!r})
from kubelet.runtime.oci_command.main import main
sys.exit(main())
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="runs of each kind")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-oci-runtime-"))
    try:
        root = make_root(folder / "root")
        group = f"/wherry-bench/{uuid.uuid4().hex[:8]}"
        runtimes = {
            name: runtime for name, runtime in _runtimes(folder).items() if _works(runtime, folder, root, group)
        }
        _measure(runtimes, Bundle(folder / "bundle", root, group), options.runs)
    finally:
        shutil.rmtree(folder)


def _runtimes(folder: Path) -> dict[str, OCIRuntime]:
    places = {
        "python": OURS[0],
        "repository": str(Path(__file__).resolve().parents[1]),
        "packages": sysconfig.get_path("purelib"),
    }
    found = {}
    for name, text in (("ours", _BARE), ("ours, as pip installs it", _SCRIPT)):
        script = folder / name.replace(", ", "-").replace(" ", "-")
        script.write_text(text.format(**places))
        script.chmod(0o755)
        found[name] = OCIRuntime([str(script)], folder / f"state-{script.name}")
    for name in ("runc", "crun"):
        if path := shutil.which(name):
            found[name] = OCIRuntime([path], folder / f"state-{name}")
    return found


def _works(runtime: OCIRuntime, folder: Path, root: Path, group: str) -> bool:
    name = Path(runtime.command[0]).name
    done = runtime.call("run", "try", bundle=Bundle(folder / f"try-{name}", root, f"{group}-try"))
    if done.returncode:
        print(f"{name} is left out: {done.stderr.strip().splitlines()[-1]}")
    return done.returncode == 0


def _measure(runtimes: Mapping[str, OCIRuntime], bundle: Bundle, runs: int) -> None:
    took: dict[str, dict[str, list[float]]] = {}
    bundle.write()
    for number in range(-3, runs):  # the first ones warm everything up
        for name, runtime in runtimes.items():
            for step, seconds in _one(runtime, bundle).items():
                if number >= 0:
                    took.setdefault(step, {}).setdefault(name, []).append(seconds)
        seconds = _timed([sys.executable, "-I", "-S", "-c", "pass"])
        if number >= 0:
            took.setdefault("start of an interpreter alone", {}).setdefault("ours", []).append(seconds)
    print(f"{runs} times /bin/true on the same bundle, in turn, in ms")
    for step, by_name in took.items():
        print(step)
        ours = statistics.median(by_name["ours"])
        for name, all_seconds in by_name.items():
            ratio = "" if name == "ours" else f"   {statistics.median(all_seconds) / ours:5.2f} x ours"
            print(_line(name, all_seconds) + ratio)


def _one(runtime: OCIRuntime, bundle: Bundle) -> dict[str, float]:
    """One container by `run`, and one step by step."""
    place = ["--bundle", str(bundle.folder), "box"]
    took = {"run": _timed([*runtime.command, "run", *place])}
    took["create"] = _timed([*runtime.command, "create", *place])
    took["state"] = _timed([*runtime.command, "state", "box"])
    took["start"] = _timed([*runtime.command, "start", "box"])
    took["delete"] = _timed([*runtime.command, "delete", "--force", "box"])
    return took


def _timed(command: Sequence[str]) -> float:
    began = time.perf_counter()
    null = subprocess.DEVNULL
    subprocess.run(command, check=True, stdin=null, stdout=null, stderr=null, env=ENVIRONMENT)
    return time.perf_counter() - began


def _line(name: str, seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"  {name:26} p50 {statistics.median(ordered) * 1000:6.1f}   p99 {p99 * 1000:6.1f}"


if __name__ == "__main__":
    main()
