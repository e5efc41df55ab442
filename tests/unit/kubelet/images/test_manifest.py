"""Manifests and configurations are believed only as far as they make sense; the image that fits best is chosen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kubelet.images import manifest as manifests
from kubelet.images import platforms
from kubelet.images.manifest import Descriptor, Index, Manifest, ManifestError, Platform
from tests.support.layers import image, index, tar

DIGEST = "sha256:" + "a" * 64


def changed(**changes: Any) -> bytes:
    document = json.loads(image([tar()]).manifest)
    document.update(changes)
    return json.dumps(document).encode()


def test_a_manifest_and_an_index_are_told_apart() -> None:
    made = image([tar()])
    assert isinstance(manifests.parse(made.manifest), Manifest)
    assert isinstance(manifests.parse(index((made, {"os": "linux", "architecture": "amd64"})).manifest), Index)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"nonsense", "damaged manifest"),
        (b"[]", "no JSON object"),
        (b'{"schemaVersion": 1}', "schema 1"),
        (b'{"schemaVersion": 2, "mediaType": "text/html"}', "unsupported manifest media type"),
        (changed(config=None), "a descriptor is missing"),
        (changed(config={"digest": "md5:x", "size": 1}), "is no digest"),
        (changed(config={"digest": DIGEST, "size": -1}), "has the size"),
        (changed(config={"digest": DIGEST, "size": True}), "has the size"),
        (changed(layers={}), "layers must be a list"),
        (changed(layers=[{"digest": DIGEST, "size": 1}] * 401), "too many layers"),
        (changed(config={"digest": DIGEST, "size": 1, "mediaType": "application/x"}), "no container image"),
    ],
)
def test_what_is_no_manifest_is_refused_in_words(data: bytes, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        manifests.parse(data)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"rootfs": {"diff_ids": ["../../etc"]}}, "is no diff id"),
        ({"config": {"Cmd": "sh"}}, "Cmd must be a list of strings"),
        ({"config": {"Env": [1]}}, "Env must be a list of strings"),
        ({"config": {"User": 5}}, "User must be a string"),
        ({"config": []}, "config must be an object"),
    ],
)
def test_what_a_container_would_be_started_by_must_be_of_the_right_shape(document: Any, words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        manifests.parse_config(json.dumps(document).encode())


def offers(*names: str) -> list[Descriptor]:
    return [Descriptor("", DIGEST, 1, platforms.parse(name)) for name in names]


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "offered", "chosen"),
    [
        ("x86_64", "", ["linux/arm64", "linux/amd64"], "linux/amd64"),
        ("x86_64", "", ["linux/amd64/v2", "linux/amd64"], "linux/amd64"),
        (
            "x86_64",
            "flags : cx16 lahf_lm popcnt sse4_1 sse4_2 ssse3",
            ["linux/amd64", "linux/amd64/v2"],
            "linux/amd64/v2",
        ),
        ("aarch64", "", ["linux/amd64", "linux/arm64"], "linux/arm64"),
        ("aarch64", "", ["linux/arm64", "linux/arm64/v8"], "linux/arm64/v8"),
        ("armv7l", "", ["linux/arm/v6", "linux/arm/v5"], "linux/arm/v6"),
        ("armv7l", "", ["linux/arm/v6", "linux/arm/v7"], "linux/arm/v7"),
        ("armv6l", "", ["linux/arm/v7", "linux/arm/v6"], "linux/arm/v6"),
        ("riscv64", "", ["windows/amd64", "linux/riscv64"], "linux/riscv64"),
        ("x86_64", "", ["linux/arm64", "unknown/unknown"], None),
    ],
)
def test_the_image_that_fits_the_machine_best_is_chosen(
    machine: str, cpuinfo: str, offered: list[str], chosen: str | None
) -> None:
    found = platforms.choose(offers(*offered), platforms.candidates(machine, cpuinfo))
    assert (str(found.platform) if found else None) == chosen


def test_a_single_image_that_does_not_say_what_it_is_for_is_taken() -> None:
    plain = Descriptor("", DIGEST, 1)
    assert platforms.choose([plain], [Platform("linux", "amd64")]) == plain
    assert platforms.choose([plain, plain], [Platform("linux", "amd64")]) is None
