"""Importing image archives: what lands in the store, and what hostile or damaged archives can't do."""

import gzip
import hashlib
import io
import json
import os
import stat
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from kubelet.images import Image, ImageError, ImageStore
from kubelet.images.archive import ArchiveError
from kubelet.images.importing import import_archive
from kubelet.images.unpackers import Unpackers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to enter a chroot and make device nodes")


def tar(*entries: tuple[str, bytes | None], **attributes: object) -> bytes:
    """A tar file; an entry without content is a folder, a name that ends in -> is a link to its content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in entries:
            info = tarfile.TarInfo(name.removesuffix("->"))
            info.mode = 0o755
            if name.endswith("->"):
                assert content is not None
                info.type, info.linkname = tarfile.SYMTYPE, content.decode()
                archive.addfile(info)
            elif content is None:
                info.type = tarfile.DIRTYPE
                archive.addfile(info)
            else:
                info.size = len(content)
                for key, value in attributes.items():
                    setattr(info, key, value)
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def docker_archive(path: Path, layers: list[bytes], tags: list[str], diff_ids: list[str] | None = None) -> Path:
    """What `docker save` writes."""
    config = {
        "config": {"Cmd": ["/bin/app"], "Env": ["A=1"]},
        "rootfs": {"diff_ids": diff_ids or [f"sha256:{digest(layer)}" for layer in layers]},
    }
    names = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = [{"Config": "config.json", "RepoTags": tags, "Layers": names}]
    files = [("manifest.json", json.dumps(manifest).encode()), ("config.json", json.dumps(config).encode())]
    path.write_bytes(tar(*files, *zip(names, layers, strict=True)))
    return path


def oci_layout(folder: Path, layers: list[bytes], name: str) -> Path:
    """An OCI image layout with gzip layers."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)

    def put(data: bytes) -> dict[str, object]:
        (blobs / digest(data)).write_bytes(data)
        return {"digest": f"sha256:{digest(data)}", "size": len(data)}

    config = put(json.dumps({"rootfs": {"diff_ids": [f"sha256:{digest(layer)}" for layer in layers]}}).encode())
    config["mediaType"] = "application/vnd.oci.image.config.v1+json"
    manifest = {"config": config, "layers": [put(gzip.compress(layer)) for layer in layers]}
    entry = put(json.dumps(manifest).encode())
    entry["annotations"] = {"org.opencontainers.image.ref.name": name}
    (folder / "index.json").write_text(json.dumps({"manifests": [entry]}))
    return folder


def take_in(store: ImageStore, archive: Path, tag: str | None = None) -> list[Image]:
    with Unpackers() as unpackers:
        return import_archive(store, unpackers, archive, tag=tag)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def test_an_imported_image_is_found_by_all_its_names_with_its_layers_top_first(
    store: ImageStore, tmp_path: Path
) -> None:
    layers = [tar(("bin", None), ("bin/app", b"one")), tar(("etc/conf", b"two"))]
    take_in(store, docker_archive(tmp_path / "a.tar", layers, ["app:v1", "localhost:5000/app:v1"]))
    image = store.find("app:v1")
    other = store.find("localhost:5000/app:v1")
    assert image is not None and other is not None and image == store.find(image.id)
    assert image.names[0] == "docker.io/library/app:v1" and other.names[0] == "localhost:5000/app:v1"
    assert replace(other, names=image.names) == image
    assert [(layer / "etc/conf").exists() for layer in image.layers] == [True, False]
    assert (image.layers[1] / "bin/app").read_bytes() == b"one"
    assert image.config == {"Cmd": ["/bin/app"], "Env": ["A=1"]}
    assert ImageStore(store.root).find("app:v1") == image


def test_an_oci_layout_is_imported_and_its_manifest_digest_is_a_name(store: ImageStore, tmp_path: Path) -> None:
    [image] = take_in(store, oci_layout(tmp_path / "oci", [tar(("x", b"x"))], "quay.io/a/b:v2"))
    assert image.names == ["quay.io/a/b:v2"]
    assert store.find(image.digests[0]) == image


def test_deletions_in_a_layer_become_overlay_whiteouts(store: ImageStore, tmp_path: Path) -> None:
    layer = tar(("etc/.wh.gone", b""), ("var/.wh..wh..opq", b""))
    [image] = take_in(store, docker_archive(tmp_path / "a.tar", [layer], ["w"]))
    gone = (image.layers[0] / "etc/gone").lstat()
    assert stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0
    assert os.getxattr(image.layers[0] / "var", "trusted.overlay.opaque") == b"y"


def test_a_hostile_layer_writes_nothing_outside_of_its_folder(store: ImageStore, tmp_path: Path) -> None:
    target = tmp_path / "outside"
    target.mkdir()
    layer = tar(("../../escaped", b"x"), ("link->", str(target).encode()), ("link/file", b"x"), ("/abs", b"x"))
    with pytest.raises(ArchiveError):
        take_in(store, docker_archive(tmp_path / "a.tar", [layer], ["evil"]))
    assert list(target.iterdir()) == []
    assert not (store.root / "escaped").exists() and not Path("/abs").exists()
    assert [path.name for path in (store.root / "layers").iterdir()] == []


def test_a_layer_that_is_not_what_its_digest_says_is_refused_and_leaves_nothing(
    store: ImageStore, tmp_path: Path
) -> None:
    wrong = docker_archive(tmp_path / "a.tar", [tar(("x", b"x"))], ["a"], diff_ids=["sha256:" + "0" * 64])
    with pytest.raises(ArchiveError, match="has the digest"):
        take_in(store, wrong)
    assert store.find("a") is None
    assert list((store.root / "layers").iterdir()) == []


def test_what_is_no_archive_is_a_clear_error(store: ImageStore, tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"junk" * 1000)
    with pytest.raises(ArchiveError, match="not a tar archive"):
        take_in(store, tmp_path / "junk")
    (tmp_path / "other.tar").write_bytes(tar(("README", b"hi")))
    with pytest.raises(ArchiveError, match="neither a `docker save` archive nor an OCI layout"):
        take_in(store, tmp_path / "other.tar")


def test_removing_the_last_name_removes_the_layers_that_no_other_image_uses(
    store: ImageStore, tmp_path: Path
) -> None:
    shared, own = tar(("shared", b"s")), tar(("own", b"o"))
    take_in(store, docker_archive(tmp_path / "a.tar", [shared], ["a"]))
    take_in(store, docker_archive(tmp_path / "b.tar", [shared, own], ["b", "c"]))
    assert store.remove("b") == ["docker.io/library/b:latest"]
    assert store.find("c") is not None
    store.remove("c")
    remaining = [path.name for path in (store.root / "layers").iterdir()]
    assert remaining == [f"sha256-{digest(shared)}"]
    assert store.find("a") is not None


def test_the_node_itself_is_an_image_without_its_secrets(store: ImageStore) -> None:
    image = store.find("localhost/host")
    assert image is not None
    files = {path.name for path in (image.layers[0] / "etc").iterdir()}
    assert "shadow" not in files and {"passwd", "group", "hosts"} <= files
    assert ("/usr", "/usr") in image.binds
    with pytest.raises(ImageError, match="is the node itself"):
        store.remove("localhost/host")
