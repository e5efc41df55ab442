"""Short image names stand for the same full names as everywhere else."""

import pytest

from kubelet.images.reference import InvalidReference, normalize

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("bitnami/redis:7.2", "docker.io/bitnami/redis:7.2"),
        ("localhost/host", "localhost/host:latest"),
        ("registry:5000/a/b:v1", "registry:5000/a/b:v1"),
        (f"quay.io/x/y:v1@{DIGEST}", f"quay.io/x/y@{DIGEST}"),
    ],
)
def test_a_short_name_stands_for_its_full_name(short: str, full: str) -> None:
    assert normalize(short) == full
    assert normalize(full) == full


@pytest.mark.parametrize("bad", ["", "Busybox", "a b", "x:", "x@sha256:12", "/x", "a//b", "x" * 300])
def test_what_is_no_image_name_is_refused(bad: str) -> None:
    with pytest.raises(InvalidReference):
        normalize(bad)
