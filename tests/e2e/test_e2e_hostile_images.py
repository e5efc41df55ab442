"""Registries and layers that mean harm: what they can't do, and that nothing of them stays."""

from __future__ import annotations

import gzip
import json
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from kubelet.images import Image, ImageError, ImageStore, registries
from kubelet.images import registry as registry_module
from kubelet.images import unpack as unpack_module
from kubelet.images.auth import Credential
from kubelet.images.importing import import_archive
from kubelet.images.pull import Offer, Puller
from kubelet.images.reference import parse
from kubelet.images.unpackers import Unpackers
from tests.support.layers import digest, docker_archive, entry, image, tar
from tests.support.registry import LyingRegistry, answer, lying_registry

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers are unpacked in a chroot, owners kept")

GOOD = tar(entry("file", b"content" * 20_000))


def pull(store: ImageStore, name: str, credential: Credential | None = None) -> Image:
    with Unpackers() as unpackers:
        puller = Puller(store, unpackers, registries.load(store.root))
        return puller.pull(parse(name), [Offer(credential)] if credential else []).image


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tries follow one another at once."""
    monkeypatch.setattr(registry_module, "_backoff", lambda _failures: 0.0)


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


@pytest.fixture
def liar() -> Iterator[LyingRegistry]:
    with lying_registry() as running:
        running.add("app:1", image([GOOD]))
        yield running


def nothing_is_left(store: ImageStore) -> bool:
    folders = [store.root / name for name in ("layers", "incoming", "tar-split")]
    return not any(list(folder.iterdir()) for folder in folders) and store.find("file") is None


# Registries.


def test_a_blob_that_is_not_what_its_digest_says_is_refused(store: ImageStore, liar: LyingRegistry) -> None:
    made = image([GOOD])
    layer = json.loads(made.manifest)["layers"][0]["digest"]
    wrong = bytearray(liar.blobs[layer])
    wrong[-20] ^= 1
    liar.blobs[layer] = bytes(wrong)
    with pytest.raises(ImageError, match="its content has the digest|damaged"):
        pull(store, f"{liar.host}/app:1")
    assert nothing_is_left(store)


def test_a_layer_that_is_right_by_its_blob_and_wrong_by_its_diff_id_is_refused(
    store: ImageStore, liar: LyingRegistry
) -> None:
    liar.add("app:1", image([GOOD], diff_ids=[digest(b"another")]))
    with pytest.raises(ImageError, match="its content has the digest"):
        pull(store, f"{liar.host}/app:1")
    assert nothing_is_left(store)


def test_a_manifest_that_is_not_what_was_asked_for_is_refused(store: ImageStore, liar: LyingRegistry) -> None:
    wanted = image([tar(entry("wanted"))]).digest
    liar.manifests[f"app/{wanted}"] = liar.manifests["app/1"]
    with pytest.raises(ImageError, match="its content is not what"):
        pull(store, f"{liar.host}/app@{wanted}")


def cut(length: int, times: int) -> Callable[[LyingRegistry, BaseHTTPRequestHandler], bool]:
    """A hook that ends the connection within a blob, so many times."""
    left = [times]

    def hook(state: LyingRegistry, handler: BaseHTTPRequestHandler) -> bool:
        name = handler.path.rpartition("/")[2]
        data = state.blobs.get(name, b"")
        if "/blobs/" not in handler.path or len(data) < 300 or not left[0]:
            return False
        left[0] -= 1
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        handler.wfile.write(data[start : start + length])
        handler.close_connection = True
        return True

    return hook


def test_a_blob_goes_on_from_where_it_broke_off(store: ImageStore, liar: LyingRegistry) -> None:
    liar.hook = cut(100, times=3)
    pulled = pull(store, f"{liar.host}/app:1")
    assert (pulled.layers[0] / "file").read_bytes() == b"content" * 20_000
    ranges = [asked.headers["Range"] for asked in liar.asked if "Range" in asked.headers]
    assert ranges == ["bytes=100-", "bytes=200-", "bytes=300-"]


def test_a_server_without_ranges_begins_at_the_beginning(store: ImageStore, liar: LyingRegistry) -> None:
    breaks = cut(100, times=1)

    def hook(state: LyingRegistry, handler: BaseHTTPRequestHandler) -> bool:
        if "Range" in handler.headers:
            return answer(handler, 200, state.blobs[handler.path.rpartition("/")[2]])
        return breaks(state, handler)

    liar.hook = hook
    assert pull(store, f"{liar.host}/app:1")


def test_a_blob_that_never_comes_whole_is_given_up(store: ImageStore, liar: LyingRegistry) -> None:
    def hook(_state: LyingRegistry, handler: BaseHTTPRequestHandler) -> bool:
        if "/blobs/" not in handler.path:
            return False
        handler.close_connection = True
        return True

    liar.hook = hook
    with pytest.raises(ImageError, match="failed to copy blob"):
        pull(store, f"{liar.host}/app:1")
    # The client sends a request that was not answered at all once more, on a new connection.
    assert len(liar.paths("/blobs/")) >= registry_module.ATTEMPTS_MAX
    assert nothing_is_left(store)


def test_a_blob_without_an_end_is_cut_where_its_size_says(store: ImageStore, liar: LyingRegistry) -> None:
    def hook(state: LyingRegistry, handler: BaseHTTPRequestHandler) -> bool:
        data = state.blobs.get(handler.path.rpartition("/")[2], b"")
        if len(data) < 300:
            return False
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(b"10000\r\n" + bytes(0x10000) + b"\r\n")
        except OSError:
            handler.close_connection = True
        return True

    liar.hook = hook
    with pytest.raises(ImageError, match="there is more of it than|damaged|no tar|checksum"):
        pull(store, f"{liar.host}/app:1")
    assert nothing_is_left(store)


def test_a_manifest_without_an_end_is_not_read_to_it(store: ImageStore, liar: LyingRegistry) -> None:
    liar.manifests["app/1"] = (b" " * (5 << 20), "application/vnd.oci.image.manifest.v1+json")
    with pytest.raises(ImageError, match="larger than"):
        pull(store, f"{liar.host}/app:1")


def test_a_redirect_gets_no_password_along(store: ImageStore, liar: LyingRegistry) -> None:
    with lying_registry() as other:
        other.blobs = liar.blobs

        def hook(_state: LyingRegistry, handler: BaseHTTPRequestHandler) -> bool:
            if "Authorization" not in handler.headers:
                return answer(handler, 401, WWW_Authenticate='Basic realm="test"')
            if "/blobs/" in handler.path:
                return answer(handler, 307, Location=f"http://{other.host}{handler.path}")
            return False

        liar.hook = hook
        assert pull(store, f"{liar.host}/app:1", Credential("user", "password"))
        assert other.asked and not any("Authorization" in asked.headers for asked in other.asked)
        assert any("Authorization" in asked.headers for asked in liar.asked)


@pytest.mark.parametrize(
    ("place", "words"),
    [("file:///etc/passwd", "not safe"), ("gopher://x/", "not safe"), ("/v2/again", "redirects in circles")],
)
def test_a_redirect_to_what_is_no_server_or_without_an_end_is_refused(
    store: ImageStore, liar: LyingRegistry, place: str, words: str
) -> None:
    liar.hook = lambda _state, handler: answer(handler, 302, Location=place)
    with pytest.raises(ImageError, match=words):
        pull(store, f"{liar.host}/app:1")


def test_a_registry_elsewhere_can_not_send_us_to_this_machine_itself() -> None:
    for target in ("http://127.0.0.1:2379/", "http://localhost/", "http://[::1]/"):
        with pytest.raises(registry_module.RegistryError, match="this machine itself"):
            registry_module._check_redirect("http://registry.example/v2/", target)
    with pytest.raises(registry_module.RegistryError, match="not safe"):
        registry_module._check_redirect("https://registry.example/v2/", "http://cdn.example/blob")


def test_a_registry_that_is_busy_is_asked_again(store: ImageStore, liar: LyingRegistry) -> None:
    left = [2]

    def hook(_state: LyingRegistry, handler: BaseHTTPRequestHandler) -> bool:
        left[0] -= 1
        return left[0] >= 0 and answer(handler, 503 if left[0] else 429)

    liar.hook = hook
    assert pull(store, f"{liar.host}/app:1")


def test_what_is_no_container_image_is_refused_by_name(store: ImageStore, liar: LyingRegistry) -> None:
    made = image([GOOD])
    document = json.loads(made.manifest)
    document["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
    made.manifest = json.dumps(document).encode()
    liar.add("chart:1", made)
    with pytest.raises(
        ImageError, match="no container image: its configuration is of type 'application/vnd.cncf.helm"
    ):
        pull(store, f"{liar.host}/chart:1")


# Layers.


def take_in(store: ImageStore, tmp_path: Path, *layers: bytes) -> Image:
    with Unpackers() as unpackers:
        [made] = import_archive(store, unpackers, docker_archive(tmp_path / "a.tar", layers, ["x:1"]))
        return made


def refused(store: ImageStore, tmp_path: Path, layer: bytes, words: str = ".") -> None:
    from kubelet.images.archive import ArchiveError

    with pytest.raises(ArchiveError, match=words):
        take_in(store, tmp_path, layer)
    assert [path.name for path in (store.root / "layers").iterdir()] == []
    assert list((store.root / "incoming").iterdir()) == []


@pytest.mark.parametrize("name", ["../../escaped", "/abs", "a/../../../escaped", "./../escaped"])
def test_no_name_leads_out_of_the_layer(store: ImageStore, tmp_path: Path, name: str) -> None:
    made = take_in(store, tmp_path, tar(entry(name, b"x")))
    [file] = [path for path in made.layers[0].rglob("*") if path.is_file()]
    assert file.is_relative_to(store.root / "layers")
    assert not Path("/abs").exists() and not Path("/escaped").exists()
    assert not any(path.name == "escaped" for path in tmp_path.iterdir())


def test_no_link_leads_out_of_the_layer(store: ImageStore, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("mine")
    for tricks in (
        [entry("link", link=str(outside)), entry("link/file", b"x")],
        [entry("link", link="../" * 20 + str(outside).lstrip("/")), entry("link/file", b"x")],
        [entry("hard", hard=f"../../..{outside}/secret"), entry("hard", b"overwritten")],
        [entry("hard", hard=str(outside / "secret"))],
    ):
        refused(store, tmp_path, tar(*tricks))
    made = take_in(store, tmp_path, tar(entry("link", link="/"), entry("link/file", b"x"), entry("d", None)))
    assert (made.layers[0] / "file").read_bytes() == b"x"
    assert [path.name for path in outside.iterdir()] == ["secret"] and (outside / "secret").read_text() == "mine"


def test_an_entry_does_not_write_through_a_link_in_its_own_place(store: ImageStore, tmp_path: Path) -> None:
    layer = tar(entry("etc", None), entry("etc/passwd", b"old"), entry("l", link="etc/passwd"), entry("l", b"new"))
    made = take_in(store, tmp_path, layer)
    assert (made.layers[0] / "etc/passwd").read_bytes() == b"old" and (made.layers[0] / "l").read_bytes() == b"new"
    assert b"".join(store.layers.tar(made.diff_ids[0])) == layer


def test_attributes_that_mean_something_to_overlayfs_are_not_taken_over(store: ImageStore, tmp_path: Path) -> None:
    headers = {
        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
        "SCHILY.xattr.trusted.overlay.opaque": "y",
        "SCHILY.xattr.security.selinux": "x",
        "SCHILY.xattr.user.kept": "yes",
    }
    made = take_in(store, tmp_path, tar(entry("dir", None, pax_headers=headers)))
    assert os.listxattr(made.layers[0] / "dir") == ["user.kept"]


def test_a_file_capability_is_kept(store: ImageStore, tmp_path: Path) -> None:
    # cap_net_raw+ep, as setcap(8) writes it.
    value = bytes.fromhex("0100000200200000000000000000000000000000")
    headers = {"SCHILY.xattr.security.capability": value.decode("latin-1")}
    layer = tar(entry("ping", b"x", pax_headers=headers))
    made = take_in(store, tmp_path, layer)
    assert os.getxattr(made.layers[0] / "ping", "security.capability") == value


def test_devices_are_only_files_and_deletions_only_by_name(store: ImageStore, tmp_path: Path) -> None:
    made = take_in(
        store,
        tmp_path,
        tar(
            entry("disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0, mode=0o666),
            entry("white", type=tarfile.CHRTYPE, devmajor=0, devminor=0),
            entry("pipe", type=tarfile.FIFOTYPE),
        ),
    )
    assert stat.S_ISBLK((made.layers[0] / "disk").lstat().st_mode) and not (made.layers[0] / "white").exists()
    # Whoever is not root does not get anywhere near it.
    assert stat.S_IMODE((store.root / "layers").stat().st_mode) == 0o700


def test_a_bomb_ends_before_the_disk_is_full(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = os.statvfs(tmp_path)
    monkeypatch.setattr(unpack_module, "FREE_BYTES_MIN", free.f_bavail * free.f_frsize - (64 << 20))
    monkeypatch.setattr(unpack_module, "_CHECK_BYTES", 1 << 20)
    liar_image = image([tar(entry("zeros", bytes(256 << 20)))])
    assert sum(map(len, liar_image.blobs.values())) < 1 << 20
    with lying_registry() as liar:
        liar.add("bomb:1", liar_image)
        with pytest.raises(ImageError, match="no space left on device"):
            pull(store, f"{liar.host}/bomb:1")
    assert nothing_is_left(store)


def test_a_layer_of_too_many_bytes_or_entries_is_refused(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpack_module, "LAYER_BYTES_MAX", 1000)
    refused(store, tmp_path, tar(entry("a", bytes(600)), entry("b", bytes(600))), "larger than 1000 bytes")
    monkeypatch.setattr(unpack_module, "ENTRIES_MAX", 5)
    refused(store, tmp_path, tar(*(entry(f"f{number}") for number in range(6))), "more than 5 entries")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:700], "ends too early"),
        (lambda data: b"\x00" * 100 + data[100:], "checksum"),
        (lambda data: data[:124] + b"99999999999\x00" + data[136:], "checksum|malformed"),
        (lambda data: b"no tar at all" * 100, "checksum|malformed"),
        (lambda data: gzip.compress(data)[:-30], "ends too early|damaged"),
        (lambda data: b"\x28\xb5\x2f\xfd" + bytes(50), "zstd|has the digest"),
    ],
)
def test_a_damaged_layer_is_told_in_words(
    store: ImageStore, tmp_path: Path, damage: Callable[[bytes], bytes], words: str
) -> None:
    refused(store, tmp_path, damage(tar(entry("file", b"x" * 2000))), words)


def test_what_a_layer_says_twice_is_there_as_it_was_said_last_and_its_tar_is_still_whole(
    store: ImageStore, tmp_path: Path
) -> None:
    layer = tar(
        entry("f", b"one"),
        entry("f", b"two"),
        entry("d", None),
        entry("d/inner", b"inner"),
        entry("d", b"a file now"),
        entry("h", hard="f"),
        entry("f", None),
    )
    made = take_in(store, tmp_path, layer)
    root = made.layers[0]
    assert root.joinpath("d").read_bytes() == b"a file now" and root.joinpath("h").read_bytes() == b"two"
    assert root.joinpath("f").is_dir()
    assert b"".join(store.layers.tar(made.diff_ids[0])) == layer


def whiteout(path: Path) -> bool:
    found = path.lstat()
    return stat.S_ISCHR(found.st_mode) and found.st_rdev == 0


def test_deletions_hide_what_lies_below_and_nothing_of_their_own_layer(store: ImageStore, tmp_path: Path) -> None:
    made = take_in(
        store,
        tmp_path,
        tar(
            entry("etc/.wh.gone"),
            entry("var/.wh..wh..opq"),
            entry("own", b"x"),
            entry(".wh.own"),
            entry("again/.wh.dir"),
            entry("again/dir", None),
            entry(".wh..wh.plnk", None),
        ),
    )
    root = made.layers[0]
    assert whiteout(root / "etc/gone") and os.getxattr(root / "var", "trusted.overlay.opaque") == b"y"
    assert (root / "own").read_bytes() == b"x"
    assert os.getxattr(root / "again/dir", "trusted.overlay.opaque") == b"y"
    assert not any(path.name.startswith(".wh.") for path in root.rglob("*"))


def test_sparse_files_and_long_names_of_every_dialect_are_read(store: ImageStore, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    deep = folder / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    (deep / "ünïcode").write_text("x")
    with (folder / "sparse").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"middle")
        file.truncate(8 << 20)
    import subprocess

    for number, flags in enumerate(
        (
            ["--format=gnu"],
            ["--format=pax"],
            ["--format=pax", "--sparse-version=0.1"],
            ["--format=pax", "--sparse-version=0.0"],
        )
    ):
        path = tmp_path / f"{number}.tar"
        subprocess.run(["tar", *flags, "-S", "-C", str(folder), "-cf", str(path), "."], check=True)
        layer = path.read_bytes()
        assert len(layer) < 1 << 20
        made = take_in(store, tmp_path, layer)
        found = made.layers[0] / "sparse"
        assert found.read_bytes() == (folder / "sparse").read_bytes() and found.stat().st_blocks < 1000
        assert list(made.layers[0].rglob("ünïcode")) and b"".join(store.layers.tar(made.diff_ids[0])) == layer


def test_nobody_is_let_in_whose_names_hold_what_no_name_can(store: ImageStore, tmp_path: Path) -> None:
    header: Any = tarfile.TarInfo("x")
    header.pax_headers = {"path": "a\0b"}
    refused(store, tmp_path, tar((header, b"")), "NUL")
    refused(store, tmp_path, tar(entry("x", uid=1 << 40)), "out of range")
