"""What steps of Dockerfiles have come to before: by all that a step depends on, the layer that it made.

    DIR/build-cache/steps/KEY.json    {"layer": DIFF_ID, or "" for a step that changed nothing, "created": time}
    DIR/build-cache/mounts/NAME/      what RUN --mount=type=cache keeps between builds

A file's time is that of its last use. Layers that are named here stay in the store.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from pathlib import Path

import orjson

UNUSED_SECONDS_MAX = 14 * 24 * 3600.0


def get(root: Path, key: str) -> tuple[str, str] | None:
    """The layer ("" for none) and time of a step, None if it is not known."""
    path = _steps(root) / f"{key}.json"
    try:
        known = orjson.loads(path.read_bytes())
        os.utime(path)
        return str(known["layer"]), str(known["created"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def put(root: Path, key: str, layer: str, created: str) -> None:
    """Remember a step."""
    folder = _steps(root)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = folder / f".{key}.{os.getpid()}"
    temporary.write_bytes(orjson.dumps({"layer": layer, "created": created}))
    temporary.rename(folder / f"{key}.json")


def layers(root: Path) -> set[str]:
    """The layers that are known here."""
    found = set()
    for path in _steps(root).glob("*.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found.add(str(orjson.loads(path.read_bytes())["layer"]))
    return found - {""}


def mount(root: Path, name: str) -> Path:
    """The folder of a cache mount."""
    folder = root / "build-cache" / "mounts" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.utime(folder)
    return folder


def prune(root: Path, *, unused_seconds: float = UNUSED_SECONDS_MAX) -> None:
    """Forget what was not used for so long; its layers go with the store's next sweep."""
    oldest = time.time() - unused_seconds
    for folder in (_steps(root), root / "build-cache" / "mounts"):
        for path in folder.iterdir() if folder.is_dir() else ():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime > oldest:
                    continue
                if path.is_dir():
                    shutil.rmtree(path)
                else:
                    path.unlink()


def _steps(root: Path) -> Path:
    return root / "build-cache" / "steps"
