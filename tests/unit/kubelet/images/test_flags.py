"""The node agent's flags about images are Kubernetes', and what makes no sense is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from kubelet import options
from kubelet.images.collector import Settings

NEEDED = (
    *("--kubeconfig", "k", "--node-name", "n", "--node-ip", "10.0.0.1"),
    *("--root-dir", "/r", "--cgroup-root", "g"),
)


def test_without_flags_the_thresholds_are_kubernetes_defaults() -> None:
    given = options.parse(NEEDED)
    assert given.image_gc == Settings(85, 80, 120.0, 0.0)
    assert given.image_credentials == Path("/r/images/config.json")


def test_flags_set_thresholds_ages_and_credentials() -> None:
    flags = ("--image-gc-high-threshold=70", "--image-gc-low-threshold=60", "--minimum-image-ttl-duration=1m30s")
    more = ("--image-maximum-gc-age=24h", "--image-credentials=/c", "--image-dir=/i")
    given = options.parse((*NEEDED, *flags, *more))
    assert given.image_gc == Settings(70, 60, 90.0, 86400.0) and given.image_credentials == Path("/c")


@pytest.mark.parametrize(
    "flag", ["--image-gc-low-threshold=90", "--image-gc-high-threshold=101", "--image-maximum-gc-age=x"]
)
def test_what_makes_no_sense_is_refused(flag: str) -> None:
    with pytest.raises(SystemExit):
        options.parse((*NEEDED, flag))
