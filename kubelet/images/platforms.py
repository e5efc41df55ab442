"""Which of an index's images runs best on this machine.

An older variant of the same architecture runs too: on an ARM v7 machine an image for v6 does, on x86-64-v3 one for
v2. The machine's own variant comes first, then older ones.

Source: https://github.com/opencontainers/image-spec/blob/main/image-index.md (variants) and containerd's `platforms`.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

from kubelet.images.manifest import Descriptor, Platform

_ARCHITECTURES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "armv6l": "arm",
    "i686": "386",
    "ppc64le": "ppc64le",
    "riscv64": "riscv64",
    "s390x": "s390x",
}
# What /proc/cpuinfo lists for each level of x86-64 above the first (the psABI's table, its telling entries).
_AMD64_LEVELS = (
    ("v2", {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}),
    ("v3", {"avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}),
    ("v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}),
)


def candidates(machine: str = "", cpuinfo: str | None = None) -> list[Platform]:
    """What this machine runs, the best first; the arguments stand in for `uname -m` and /proc/cpuinfo."""
    machine = machine or platform.machine()
    architecture = _ARCHITECTURES.get(machine, machine)
    if architecture == "amd64":
        return [Platform("linux", "amd64", variant) for variant in _amd64_variants(cpuinfo)]
    if architecture == "arm64":
        return [Platform("linux", "arm64", variant) for variant in ("v8", "")]
    if architecture == "arm":
        variants = ["v7", "v6", "v5"] if machine == "armv7l" else ["v6", "v5"]
        return [Platform("linux", "arm", variant) for variant in (variants[0], "", *variants[1:])]
    return [Platform("linux", architecture)]


def parse(text: str) -> Platform:
    """`linux/arm/v7`. Raises ValueError."""
    parts = text.split("/")
    if not 2 <= len(parts) <= 3 or not all(parts):
        raise ValueError(f"{text!r} is no platform, such as linux/arm64 or linux/arm/v7")
    return Platform(*parts)


def choose(manifests: Sequence[Descriptor], wanted: Sequence[Platform]) -> Descriptor | None:
    """The entry of an index for the first platform that it has; one without a platform is taken as a last resort."""
    for platform_ in wanted:
        for entry in manifests:
            if entry.platform == platform_:
                return entry
    plain = [entry for entry in manifests if entry.platform is None]
    return plain[0] if len(plain) == 1 and len(manifests) == 1 else None


def _amd64_variants(cpuinfo: str | None) -> list[str]:
    """The levels that this processor reaches, then what runs on every x86-64 (no variant, as almost all images)."""
    if cpuinfo is None:
        try:
            cpuinfo = Path("/proc/cpuinfo").read_text()
        except OSError:
            cpuinfo = ""
    line = next((line for line in cpuinfo.splitlines() if line.startswith("flags")), "")
    flags = set(line.partition(":")[2].split())
    levels = []
    for variant, needed in _AMD64_LEVELS:
        if not needed <= flags:
            break
        levels.append(variant)
    return [*reversed(levels), "", "v1"]
