"""Pulling from and pushing to a real registry, with every way of letting somebody in, beside the tools of others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubelet.images import Image, ImageError, ImageStore, registries
from kubelet.images.auth import Credential
from kubelet.images.pull import Offer, Puller
from kubelet.images.push import push
from kubelet.images.reference import parse
from kubelet.images.unpackers import Unpackers
from tests.support.certificates import Authority
from tests.support.layers import entry, image, index, oci_layout, tar
from tests.support.registry import (
    PASSWORD,
    USER,
    Registry,
    TokenServer,
    lying_registry,
    need,
    registry,
    run,
    tunnel_proxy,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers are unpacked in a chroot, owners kept")

LAYERS = (
    tar(entry("bin", None), entry("bin/app", b"one" * 5000, mode=0o4755), entry("etc/conf", b"low", uid=7, gid=8)),
    tar(entry("etc/.wh.conf"), entry("etc/new", b"high"), entry("bin/sh", link="app"), entry("hard", hard="etc/new")),
)
RUN = {"Cmd": ["/bin/app"], "Env": ["A=1"]}


def pull(store: ImageStore, name: str, *credentials: Credential, **options: Any) -> Image:
    with Unpackers() as unpackers:
        puller = Puller(store, unpackers, registries.load(store.root), **options)
        return puller.pull(parse(name), [Offer(credential) for credential in credentials]).image


def put(made: Any, folder: Path, where: Registry, name: str, *flags: str) -> None:
    """Have skopeo put an image into a registry."""
    need("skopeo")
    shutil.rmtree(folder, ignore_errors=True)
    oci_layout(folder, made, "image")
    verify = "--dest-tls-verify=false"
    source, target = f"oci:{folder}:image", f"docker://{where.host}/{name}"
    run("skopeo", "copy", "--quiet", "--all", verify, *flags, source, target)


def files(image: Image) -> dict[str, bytes]:
    """The regular files of an image, as its containers see them."""
    found: dict[str, bytes] = {}
    for layer in image.layers:
        for folder, _, names in os.walk(layer):
            for name in names:
                path = Path(folder) / name
                key = str(path.relative_to(layer))
                if key not in found:
                    found[key] = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
    return found


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Registry]:
    with registry(tmp_path / "registry") as running:
        history = [{"created_by": "one"}, {"created_by": "ENV", "empty_layer": True}, {"created_by": "two"}]
        put(image(LAYERS, run=RUN, history=history), tmp_path / "oci", running, "team/app:1")
        yield running


def test_an_image_is_pulled_with_its_layers_its_names_and_the_digest_that_others_know_it_by(
    store: ImageStore, plain: Registry
) -> None:
    name = f"{plain.host}/team/app:1"
    pulled = pull(store, name)
    about = json.loads(run("skopeo", "inspect", "--tls-verify=false", f"docker://{name}"))
    assert pulled.names == [name] and pulled.digests == [f"{plain.host}/team/app@{about['Digest']}"]
    assert pulled.config == RUN and store.find(pulled.digests[0]) == pulled == store.find(pulled.id)
    assert files(pulled)["etc/new"] == b"high" and files(pulled)["etc/conf"] == b""
    low = pulled.layers[1]
    assert (low / "bin/app").stat().st_mode & 0o7777 == 0o4755 and (low / "etc/conf").stat().st_uid == 7


def test_an_image_that_is_there_is_only_asked_for_its_digest_and_a_moved_tag_is_followed(
    store: ImageStore, plain: Registry, tmp_path: Path
) -> None:
    name = f"{plain.host}/team/app:1"
    first = pull(store, name)
    blobs = plain.requests("/blobs/")
    assert pull(store, name).id == first.id and plain.requests("/blobs/") == blobs
    put(image([LAYERS[0], tar(entry("other", b"x"))], run=RUN), tmp_path / "oci", plain, "team/app:1")
    blobs = plain.requests("GET /v2/team/app/blobs/")
    second = pull(store, name)
    # The configuration and the one layer that is new.
    assert second.id != first.id and plain.requests("GET /v2/team/app/blobs/") == blobs + 2
    assert second.layers[1] == first.layers[1]
    old = store.find(first.id)
    assert old is not None and old.names == [] and store.find(name) == second


def test_a_name_that_is_not_there_is_told_in_containerds_words(store: ImageStore, plain: Registry) -> None:
    name = f"{plain.host}/team/other:2"
    with pytest.raises(ImageError) as caught:
        pull(store, name)
    assert caught.value.reason == "ErrImagePull"
    told = f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": {name}: not found'
    assert caught.value.message == told


def test_a_registry_that_nobody_runs_is_told_so(store: ImageStore) -> None:
    with pytest.raises(ImageError, match=r"dial tcp 127\.0\.0\.1:1: connection refused"):
        pull(store, "127.0.0.1:1/a:1")


def test_a_registry_with_tls_is_trusted_by_the_authority_that_the_operator_names(
    store: ImageStore, tmp_path: Path
) -> None:
    authority = Authority()
    authority.issue(tmp_path / "tls", "server", "registry", address="127.0.0.1")
    crt, key, ca = (tmp_path / "tls" / name for name in ("server.crt", "server.key", "ca.crt"))
    with registry(tmp_path / "registry", tls=(crt, key, ca)) as running:
        put(image(LAYERS, run=RUN), tmp_path / "oci", running, "app:1")
        name = f"{running.host}/app:1"
        with pytest.raises(ImageError, match="failed to verify certificate"):
            pull(store, name)
        config = {"configs": {running.host: {"tls": {"ca_file": str(ca)}}}}
        (store.root / registries.FILE).write_text(json.dumps(config))
        assert files(pull(store, name))["etc/new"] == b"high"
        config = {"configs": {running.host: {"tls": {"insecure_skip_verify": True}}}}
        (store.root / registries.FILE).write_text(json.dumps(config))
        assert pull(store, name)


def test_basic_authentication_lets_in_who_has_the_password(store: ImageStore, tmp_path: Path) -> None:
    with registry(tmp_path / "registry", htpasswd=True) as running:
        put(image(LAYERS), tmp_path / "oci", running, "app:1", f"--dest-creds={USER}:{PASSWORD}")
        name = f"{running.host}/app:1"
        with pytest.raises(ImageError, match="no basic auth credentials"):
            pull(store, name)
        with pytest.raises(ImageError, match="pull access denied, repository does not exist or may require auth"):
            pull(store, name, Credential(USER, "wrong"))
        # One after the other, as Kubernetes tries them.
        assert pull(store, name, Credential(USER, "wrong"), Credential(USER, PASSWORD))
        (store.root / registries.FILE).write_text(
            json.dumps({"configs": {running.host: {"auth": {"username": USER, "password": PASSWORD}}}})
        )
        assert pull(store, name)


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """A registry that believes a token server, both made for the test."""
    import contextlib
    import threading

    stack = contextlib.ExitStack()

    def start(**options: Any) -> tuple[Registry, TokenServer]:
        authority = Authority()
        authority.issue(tmp_path / "token", "token", "signer")
        folder = tmp_path / "token"
        server = TokenServer(folder / "token.crt", folder / "token.key", **options)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        running = stack.enter_context(
            registry(tmp_path / "registry", token_server=server.url, token_bundle=folder / "ca.crt")
        )
        put(image(LAYERS), tmp_path / "oci", running, "team/app:1", f"--dest-creds={USER}:{PASSWORD}")
        return running, server

    with stack:
        yield start


def test_a_token_server_is_asked_for_the_very_repository_and_action(
    store: ImageStore, guarded: Callable[..., Any]
) -> None:
    running, server = guarded()
    name = f"{running.host}/team/app:1"
    server.scopes.clear()
    with pytest.raises(ImageError, match="failed to fetch anonymous token"):
        pull(store, name)
    with pytest.raises(ImageError, match="unauthorized: wrong password"):
        pull(store, name, Credential(USER, "wrong"))
    pulled = pull(store, name, Credential(USER, PASSWORD))
    assert server.scopes == ["repository:team/app:pull"]
    assert pull(store, name, Credential(identity_token="refresh-me")).id == pulled.id
    assert server.refreshed == 1
    target = parse(f"{running.host}/copies/app:2")
    push(store, registries.load(store.root), pulled, target, Credential(USER, PASSWORD))
    assert {"repository:copies/app:pull,push", "repository:team/app:pull"} <= set(server.scopes)


def test_a_token_that_has_run_out_is_followed_by_another(store: ImageStore, guarded: Callable[..., Any]) -> None:
    # Shorter than what is kept in reserve: each is used for a second at most.
    running, server = guarded(seconds=1)
    assert pull(store, f"{running.host}/team/app:1", Credential(USER, PASSWORD))
    assert server.scopes.count("repository:team/app:pull") >= 1


def test_of_an_index_the_image_of_this_machine_is_taken(store: ImageStore, plain: Registry, tmp_path: Path) -> None:
    arm = image([tar(entry("arm", b"arm"))], architecture="arm64")
    intel = image([tar(entry("intel", b"intel"))])
    made = index((arm, {"os": "linux", "architecture": "arm64"}), (intel, {"os": "linux", "architecture": "amd64"}))
    put(made, tmp_path / "oci", plain, "multi:1")
    from kubelet.images.manifest import Platform

    name = f"{plain.host}/multi:1"
    pulled = pull(store, name, wanted=[Platform("linux", "amd64")])
    # As in Kubernetes: what the name stands for is the index.
    assert pulled.digests == [f"{plain.host}/multi@{made.digest}"] and list(files(pulled)) == ["intel"]
    other = ImageStore(tmp_path / "other")
    assert list(files(pull(other, name, wanted=[Platform("linux", "arm64", "v8"), Platform("linux", "arm64")]))) == [
        "arm"
    ]
    with pytest.raises(
        ImageError, match="no match for platform linux/s390x in manifest: it has linux/amd64, linux/arm64"
    ):
        pull(ImageStore(tmp_path / "third"), name, wanted=[Platform("linux", "s390x")])


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_layers_are_read_however_they_are_compressed(
    store: ImageStore, plain: Registry, tmp_path: Path, compression: str
) -> None:
    flags = ("--dest-compress", f"--dest-compress-format={compression}")
    put(image(LAYERS, pack=bytes), tmp_path / "oci", plain, f"packed:{compression}", *flags)
    pulled = pull(store, f"{plain.host}/packed:{compression}")
    manifest = json.loads(store.blob(pulled.manifest))
    assert all(layer["mediaType"].endswith(compression) for layer in manifest["layers"])
    assert files(pulled)["etc/new"] == b"high"


def test_dockers_own_manifests_are_read_too(store: ImageStore, plain: Registry, tmp_path: Path) -> None:
    put(image(LAYERS, run=RUN), tmp_path / "oci", plain, "docker:1", "--format=v2s2")
    pulled = pull(store, f"{plain.host}/docker:1")
    assert pulled.config["Cmd"] == RUN["Cmd"] and files(pulled)["etc/new"] == b"high"


def test_a_mirror_is_asked_first_and_the_registry_itself_when_it_has_nothing(
    store: ImageStore, plain: Registry, tmp_path: Path
) -> None:
    with registry(tmp_path / "mirror") as mirror:
        put(image([tar(entry("mirrored", b"m"))]), tmp_path / "oci", mirror, "cached/team/lib:1")
        rewrite = {"^team/(.*)": "cached/team/$1"}
        config = {"mirrors": {plain.host: {"endpoint": [f"http://{mirror.host}"], "rewrite": rewrite}}}
        (store.root / registries.FILE).write_text(json.dumps(config))
        assert list(files(pull(store, f"{plain.host}/team/lib:1"))) == ["mirrored"]
        assert files(pull(store, f"{plain.host}/team/app:1"))["etc/new"] == b"high"
        assert mirror.requests("/v2/cached/team/app/manifests/1") > 0


def test_what_is_pushed_is_what_others_read_and_keeps_its_digest(
    store: ImageStore, plain: Registry, tmp_path: Path
) -> None:
    pulled = pull(store, f"{plain.host}/team/app:1")
    settings = registries.load(store.root)
    copied = push(store, settings, pulled, parse(f"{plain.host}/other/app:2"), Credential())
    assert pulled.digests == [f"{plain.host}/team/app@{copied}"]
    with registry(tmp_path / "second") as second:
        # Nothing of it is there: the layers are packed anew from the unpacked files.
        push(store, settings, pulled, parse(f"{second.host}/app:1"), Credential())
        about = json.loads(
            run("skopeo", "inspect", "--config", "--tls-verify=false", f"docker://{second.host}/app:1")
        )
        assert about["rootfs"]["diff_ids"] == list(pulled.diff_ids)
        run(
            "skopeo",
            "copy",
            "--quiet",
            "--src-tls-verify=false",
            f"docker://{second.host}/app:1",
            f"oci:{tmp_path}/o:x",
        )
    need("umoci")
    run("umoci", "unpack", "--image", f"{tmp_path}/o:x", tmp_path / "bundle")
    root = tmp_path / "bundle" / "rootfs"
    assert (root / "etc/new").read_bytes() == b"high" and not (root / "etc/conf").exists()
    assert (root / "bin/app").stat().st_mode & 0o7777 == 0o4755


def test_what_is_exported_is_read_by_others_as_the_same_image(
    store: ImageStore, plain: Registry, tmp_path: Path
) -> None:
    from kubelet.images.export import export_images

    pulled = pull(store, f"{plain.host}/team/app:1")
    with (tmp_path / "out.tar").open("wb") as file:
        export_images(store, [pulled], file)
    about = json.loads(run("skopeo", "inspect", "--config", f"docker-archive:{tmp_path}/out.tar"))
    assert about["rootfs"]["diff_ids"] == list(pulled.diff_ids)
    run("skopeo", "copy", "--quiet", f"oci-archive:{tmp_path}/out.tar", f"dir:{tmp_path}/dir")
    command = [sys.executable, "-m", "kubelet.images", "--image-dir", str(tmp_path / "again")]
    subprocess.run([*command, "import", str(tmp_path / "out.tar")], check=True, timeout=60)
    again = ImageStore(tmp_path / "again").find(f"{plain.host}/team/app:1")
    assert again is not None and again.id == pulled.id and files(again) == files(pulled)


def test_images_of_buildah_and_umoci_are_pulled_as_they_were_made(
    store: ImageStore, plain: Registry, tmp_path: Path
) -> None:
    need("buildah", "umoci", "skopeo")
    places = ("--root", str(tmp_path / "b"), "--runroot", str(tmp_path / "br"), "--storage-driver", "vfs")
    (tmp_path / "file").write_text("from buildah")
    name = run("buildah", *places, "from", "scratch").strip()
    run("buildah", *places, "copy", "--chown", "3:4", name, tmp_path / "file", "/data/file")
    run("buildah", *places, "config", "--user", "5", "--entrypoint", '["/x"]', name)
    target = f"docker://{plain.host}/buildah:1"
    run("buildah", *places, "commit", "--quiet", "--tls-verify=false", name, target)
    pulled = pull(store, f"{plain.host}/buildah:1")
    found = pulled.layers[0] / "data/file"
    assert found.read_text() == "from buildah" and (found.stat().st_uid, found.stat().st_gid) == (3, 4)
    assert pulled.config["User"] == "5" and pulled.config["Entrypoint"] == ["/x"]

    layout = f"{tmp_path}/u"
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", f"{layout}:a")
    run("umoci", "unpack", "--image", f"{layout}:a", tmp_path / "one")
    root = tmp_path / "one" / "rootfs"
    (root / "dir").mkdir()
    (root / "dir/gone").write_text("x")
    (root / "pipe").parent.mkdir(exist_ok=True)
    os.mkfifo(root / "pipe")
    run("umoci", "repack", "--image", f"{layout}:a", tmp_path / "one")
    run("umoci", "unpack", "--image", f"{layout}:a", tmp_path / "two")
    (tmp_path / "two/rootfs/dir/gone").unlink()
    run("umoci", "repack", "--image", f"{layout}:a", tmp_path / "two")
    run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", f"oci:{layout}:a", f"docker://{plain.host}/umoci:1")
    pulled = pull(store, f"{plain.host}/umoci:1")
    assert (pulled.layers[1] / "pipe").is_fifo() and files(pulled)["dir/gone"] == b""


@pytest.fixture
def podman(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Podman with a store of its own."""
    need("podman")
    with tempfile.TemporaryDirectory(prefix="podman-") as short:  # it takes a run root of 50 characters at most
        places = ("--root", str(tmp_path / "podman"), "--runroot", short, "--storage-driver", "vfs")
        yield lambda *words: run("podman", *places, *words)
        run("podman", *places, "rmi", "--all", "--force")


def test_podman_reads_our_images_and_we_read_what_podman_makes_of_them(
    store: ImageStore, plain: Registry, tmp_path: Path, podman: Callable[..., str]
) -> None:
    from kubelet.images.export import export_images

    ours = pull(store, f"{plain.host}/team/app:1")
    with (tmp_path / "ours.tar").open("wb") as file:
        export_images(store, [ours], file)
    podman("load", "--quiet", "--input", tmp_path / "ours.tar")
    about = json.loads(podman("inspect", f"{plain.host}/team/app:1"))[0]
    assert about["RootFS"]["Layers"] == list(ours.diff_ids) and about["Config"]["Cmd"] == ["/bin/app"]

    (tmp_path / "Containerfile").write_text(f"FROM {plain.host}/team/app:1\nCOPY file /data/\nUSER 6\n")
    (tmp_path / "file").write_text("from podman")
    name = f"{plain.host}/podman:1"
    podman("build", "--quiet", "--pull=never", "--format", "docker", "--tag", name, tmp_path)
    podman("push", "--quiet", "--tls-verify=false", name)
    theirs = pull(store, name)
    assert theirs.config["User"] == "6" and files(theirs)["data/file"] == b"from podman"
    assert {path: data for path, data in files(theirs).items() if path != "data/file"} == files(ours)


def test_the_commands_of_kctl_do_all_of_it(plain: Registry, tmp_path: Path) -> None:
    def kctl(*words: str) -> str:
        return run(sys.executable, "-m", "kctl", "image", "--image-dir", tmp_path / "s", *words)

    name = f"{plain.host}/team/app:1"
    [image_id] = kctl("pull", "-q", name).splitlines()
    assert name in kctl("ls") and image_id in kctl("ls", "-q")
    kctl("tag", name, f"{plain.host}/new:2")
    assert f"{plain.host}/new@sha256:" in kctl("push", "-q", f"{plain.host}/new:2")
    assert json.loads(kctl("inspect", name))[0]["config"] == RUN
    kctl("export", name, "-o", str(tmp_path / "a.tar"))
    kctl("rm", name, f"{plain.host}/new:2")
    assert name not in kctl("ls")
    assert "imported" in kctl("import", str(tmp_path / "a.tar"))
    assert image_id in kctl("prune", "--all")
    assert [line.split()[0] for line in kctl("ls").splitlines()] == ["IMAGE", "localhost/host:latest"]
    assert list((tmp_path / "s" / "layers").iterdir()) == []


def test_a_proxy_of_the_environment_is_on_the_way(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once in plain HTTP, asked by whole URLs, and once with TLS, through a tunnel."""
    authority = Authority()
    authority.issue(tmp_path / "tls", "server", "registry", address="127.0.0.1", names=("registry.example",))
    crt, key, ca = (tmp_path / "tls" / name for name in ("server.crt", "server.key", "ca.crt"))
    with lying_registry() as plain, registry(tmp_path / "registry", tls=(crt, key, ca)) as behind:
        made = image(LAYERS, run=RUN)
        plain.add("app:1", made)
        put(made, tmp_path / "oci", behind, "app:1")
        with tunnel_proxy(behind.host) as (proxy, connected):
            monkeypatch.setenv("HTTP_PROXY", f"http://me:pw@{plain.host}")
            monkeypatch.setenv("HTTPS_PROXY", f"http://{proxy}")
            config = {
                "mirrors": {"plain.example": {"endpoint": ["http://plain.example"]}},
                "configs": {"registry.example": {"tls": {"ca_file": str(ca)}}},
            }
            (store.root / registries.FILE).write_text(json.dumps(config))
            first = pull(store, "plain.example/app:1")
            asked = plain.asked[0]
            assert asked.path == "http://plain.example/v2/app/manifests/1"
            assert (
                asked.headers["Proxy-Authorization"].startswith("Basic ") and asked.headers["Host"] == "plain.example"
            )
            assert pull(store, "registry.example/app:1").id == first.id
            assert connected and set(connected) == {b"CONNECT registry.example:443 HTTP/1.1"}
            monkeypatch.setenv("NO_PROXY", "registry.example")
            with pytest.raises(ImageError, match="dial tcp registry.example:443: no such host"):
                pull(store, "registry.example/app:1")
