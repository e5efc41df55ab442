"""What this server is: /version, in the form that clients compare their own version with."""

from __future__ import annotations

import platform
from functools import cache

import orjson

KUBERNETES_VERSION = "v1.35.0"


@cache
def document() -> bytes:
    """The body of /version: the Kubernetes version whose API this is, and Wherry's own after a plus sign."""
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    machine = platform.machine()
    architecture = {"x86_64": "amd64", "aarch64": "arm64"}.get(machine, machine)
    return orjson.dumps(
        {
            "major": major,
            "minor": minor,
            "emulationMajor": major,
            "emulationMinor": minor,
            "minCompatibilityMajor": major,
            "minCompatibilityMinor": str(int(minor) - 1),
            "gitVersion": git_version(),
            "gitCommit": "",
            "gitTreeState": "clean",
            "buildDate": "1970-01-01T00:00:00Z",
            "goVersion": "",
            "compiler": f"python{platform.python_version()}",
            "platform": f"{platform.system().lower()}/{architecture}",
        }
    )


@cache
def git_version() -> str:
    """`v1.35.0+wherry0.1.0`."""
    from importlib.metadata import PackageNotFoundError, version  # slow to import, and rarely needed

    try:
        return f"{KUBERNETES_VERSION}+wherry{version('wherry')}"
    except PackageNotFoundError:  # run from a checkout that was never installed
        return f"{KUBERNETES_VERSION}+wherry"
