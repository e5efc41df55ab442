"""Building images from Dockerfiles: what comes out, what is not done twice, and what is said when it goes wrong."""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kubelet.images import Image, ImageStore
from tests.support.layers import docker_archive, entry, tar
from tests.support.registry import need, registry, run

BUSYBOX = Path("/bin/busybox")

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: RUN steps are containers, and owners are kept"),
    pytest.mark.skipif(not BUSYBOX.exists(), reason="needs /bin/busybox (Debian: apt install busybox-static)"),
]
PASSWD = b"root:x:0:0:root:/root:/bin/sh\nworker:x:1234:2345::/home:/bin/sh\n"
GROUP = b"root:x:0:\nstaff:x:50:worker\n"
PROGRAMS = ("sh", "cat", "id", "ls", "mkdir", "rm", "touch", "env")


class Workshop:
    """A store with a small base image in it, and a folder to build from."""

    def __init__(self, folder: Path) -> None:
        self.store = ImageStore(folder / "store")
        self.context = folder / "context"
        self.context.mkdir()
        base = tar(
            entry("bin", None),
            entry("bin/busybox", BUSYBOX.read_bytes(), mode=0o755),
            *(entry(f"bin/{name}", link="busybox") for name in PROGRAMS),
            entry("etc", None),
            entry("etc/passwd", PASSWD),
            entry("etc/group", GROUP),
            entry("data", None, mode=0o750, uid=7),
            entry("data/old", b"old"),
            entry("lib", link="data"),
        )
        config = {"Env": ["PATH=/bin", "FROM_BASE=yes"], "Cmd": ["base"]}
        self.kctl("import", str(docker_archive(folder / "base.tar", [base], ["base:1"], run=config)))

    def kctl(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """`kctl image` on this store."""
        command = [sys.executable, "-m", "kctl", "image", "--image-dir", str(self.store.root), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def write(self, **files: str | bytes) -> None:
        """Files of the context; `__` in a name is a slash, `_dot_` a dot."""
        for name, text in files.items():
            path = self.context / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(text if isinstance(text, bytes) else text.encode())

    def build(self, dockerfile: str, *flags: str) -> Image:
        """Build; the image is called x:1."""
        self.write(Dockerfile=dockerfile)
        self.said = self.kctl("build", "-t", "x:1", *flags, str(self.context)).stderr
        image = self.store.find("x:1")
        assert image is not None
        return image

    def refuse(self, dockerfile: str, *flags: str) -> str:
        """Fail to build; returns the error."""
        self.write(Dockerfile=dockerfile)
        done = self.kctl("build", *flags, str(self.context), check=False)
        assert done.returncode == 1, done.stderr
        assert list((self.store.root / "incoming").iterdir()) == []
        return done.stderr.splitlines()[-1]

    def file(self, image: Image, path: str) -> Path:
        """A file of an image, from the highest layer that has it."""
        return next(layer / path for layer in image.layers if os.path.lexists(layer / path))


@pytest.fixture
def shop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_a_dockerfile_becomes_an_image_with_its_files_and_settings(shop: Workshop) -> None:
    shop.write(app__main_dot_sh="echo hi\n", app__lib__x="x", notes_dot_md="secret", _dot_dockerignore="*.md\n")
    image = shop.build(
        """
        FROM base:1
        ARG VERSION=1
        ENV APP=/srv/app RELEASE=$VERSION
        WORKDIR $APP
        COPY app/ .
        COPY . /all/
        RUN echo "$RELEASE $FROM_BASE $(id -u)" > result && rm /data/old
        USER worker
        EXPOSE 8080
        ENTRYPOINT ["/bin/sh", "main.sh"]
        """,
        *("--build-arg", "VERSION=2", "--label", "team=us"),
    )
    assert shop.file(image, "srv/app/result").read_text() == "2 yes 0\n"
    assert shop.file(image, "srv/app/lib/x").read_text() == "x"
    assert sorted(os.listdir(shop.file(image, "all"))) == [".dockerignore", "Dockerfile", "app"]
    gone = shop.file(image, "data/old").lstat()
    assert stat.S_ISCHR(gone.st_mode) and gone.st_rdev == 0
    assert image.config["Entrypoint"] == ["/bin/sh", "main.sh"] and "Cmd" not in image.config
    assert image.config["WorkingDir"] == "/srv/app" and image.config["Labels"] == {"team": "us"}
    assert image.config["Env"] == ["PATH=/bin", "FROM_BASE=yes", "APP=/srv/app", "RELEASE=2"]


def test_a_step_leaves_nothing_but_what_it_wrote(shop: Workshop) -> None:
    image = shop.build("FROM base:1\nRUN touch /made\n")
    # /proc, /dev, /etc/resolv.conf and the like were there while it ran, and are not of the image.
    assert [path.name for path in image.layers[0].rglob("*")] == ["made"]
    assert len(shop.build("FROM base:1\nRUN cat /etc/resolv.conf /etc/hosts > /dev/null\n").layers) == 1


def test_what_is_not_changed_is_not_done_again(shop: Workshop) -> None:
    shop.write(a="1", b="1")
    text = "FROM base:1\nCOPY a /a\nRUN cat /a > /ran\nCOPY b /b\nRUN cat /b > /ran-b\n"
    first = shop.build(text)
    assert shop.said.count("CACHED") == 0
    assert shop.build(text).id == first.id and shop.said.count("CACHED") == 4
    os.utime(shop.context / "a")
    assert shop.build(text).id == first.id  # a time is no content
    shop.write(b="2")
    second = shop.build(text)
    assert shop.said.count("CACHED") == 2 and shop.file(second, "ran-b").read_text() == "2"
    (shop.context / "a").chmod(0o600)
    shop.build(text)
    assert shop.said.count("CACHED") == 0
    shop.build(text, "--no-cache")
    assert shop.said.count("CACHED") == 0


def test_arguments_of_a_build_are_part_of_what_is_cached_and_proxies_are_not(shop: Workshop) -> None:
    text = "FROM base:1\nARG X\nRUN echo $X > /x\n"
    shop.build(text, "--build-arg", "X=1")
    assert shop.file(shop.build(text, "--build-arg", "X=2"), "x").read_text() == "2\n" and "CACHED" not in shop.said
    shop.build(text, "--build-arg", "X=1", "--build-arg", "HTTP_PROXY=http://elsewhere")
    assert "CACHED" in shop.said


def test_layers_that_the_cache_remembers_are_kept_until_it_is_pruned(shop: Workshop) -> None:
    text = "FROM base:1\nRUN echo 1 > /one\nRUN echo 2 > /two\n"
    shop.build(text)
    shop.kctl("rm", "x:1")
    shop.kctl("prune")
    shop.build(text)
    assert shop.said.count("CACHED") == 2
    shop.kctl("prune", "--all")
    assert list((shop.store.root / "layers").iterdir()) == []


def test_stages_are_built_if_they_are_needed_and_copied_from(shop: Workshop) -> None:
    text = """
FROM base:1 AS compile
RUN echo binary > /out && touch /out.debug
FROM base:1 AS unneeded
RUN exit 1
FROM scratch AS final
COPY --from=compile --chown=worker:staff /out* /bin/
COPY --from=base:1 /etc/passwd /etc/
"""
    assert "unable to find user worker" in shop.refuse(text)  # scratch has no /etc/passwd
    image = shop.build(text.replace("worker:staff", "1234:50"))
    assert sorted(os.listdir(shop.file(image, "bin"))) == ["out", "out.debug"]
    found = shop.file(image, "bin/out").stat()
    assert (found.st_uid, found.st_gid) == (1234, 50) and len(image.layers) == 2
    assert "unneeded" not in shop.said
    shop.build(text, "--target", "compile")


def test_owners_and_modes_are_those_that_are_asked_for(shop: Workshop) -> None:
    shop.write(f="x", d__inner="y")
    os.chown(shop.context / "f", 99, 99)
    image = shop.build(
        """FROM base:1
COPY f /plain
COPY --chown=worker f /named
COPY --chmod=4711 f /mode
COPY d /lib/
COPY d /lib/sub
"""
    )
    assert (shop.file(image, "plain").stat().st_uid, shop.file(image, "plain").stat().st_gid) == (0, 0)
    named = shop.file(image, "named").stat()
    assert (named.st_uid, named.st_gid) == (1234, 2345)
    assert shop.file(image, "mode").stat().st_mode & 0o7777 == 0o4711
    # /lib is a link to /data in the base image: what is copied there lands behind it, and /data stays as it is.
    inner = shop.file(image, "data/inner")
    assert inner.read_text() == "y" and (inner.parent.stat().st_mode & 0o777, inner.parent.stat().st_uid) == (
        0o750,
        7,
    )
    assert shop.file(image, "data/sub/inner").read_text() == "y" and shop.file(image, "lib").is_symlink()


def test_nothing_outside_of_the_context_can_be_copied(shop: Workshop, tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("secret")
    (shop.context / "link").symlink_to(tmp_path / "outside")
    (shop.context / "up").symlink_to("../outside")
    for source in ("link", "up", "../outside", str(tmp_path / "outside")):
        assert "not found" in shop.refuse(f"FROM base:1\nCOPY {source} /x\n")
    shop.write(d__x="x")
    (shop.context / "d" / "inner").symlink_to("/etc/shadow")
    image = shop.build("FROM base:1\nCOPY d /d\n")
    assert str(shop.file(image, "d/inner").readlink()) == "/etc/shadow"


def test_a_link_in_the_image_leads_nowhere_else(shop: Workshop, tmp_path: Path) -> None:
    evil = tmp_path / "evil"
    evil.mkdir()
    base = tar(entry("etc", link=str(evil)), entry("etc2", link="../../../../.." + str(evil)), entry("x", None))
    shop.kctl("import", str(docker_archive(tmp_path / "evil.tar", [base], ["evil:1"])))
    shop.write(f="x")
    shop.build("FROM evil:1\nCOPY f /x/f\nWORKDIR /x/y\n")
    shop.refuse("FROM evil:1\nCOPY f /etc/f\n")
    shop.refuse("FROM evil:1\nCOPY f /etc2/f\n")
    assert list(evil.iterdir()) == []


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "www"
    folder.mkdir()
    (folder / "file.txt").write_text("from afar")

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_add_unpacks_archives_and_fetches_urls(shop: Workshop, server: str) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        for info, data in (entry("deep/f", b"packed", uid=5), entry(".wh.kept", b"a name like any other")):
            archive.addfile(info, io.BytesIO(data))
    shop.write(a_dot_tar_dot_xz=out.getvalue(), b_dot_tar=b"not really")
    digest = hashlib.sha256(b"from afar").hexdigest()
    image = shop.build(
        f"""FROM base:1
ADD a.tar.xz b.tar /data/
ADD --checksum=sha256:{digest} {server}/file.txt /fetched/
ADD {server}/file.txt /renamed
COPY a.tar.xz /copied/
"""
    )
    unpacked = shop.file(image, "data/deep/f")
    assert unpacked.read_bytes() == b"packed" and unpacked.stat().st_uid == 5
    assert shop.file(image, "data/.wh.kept").read_bytes() == b"a name like any other"
    assert shop.file(image, "data/b.tar").read_bytes() == b"not really"
    assert shop.file(image, "fetched/file.txt").read_text() == "from afar" and shop.file(image, "renamed").is_file()
    assert shop.file(image, "copied/a.tar.xz").read_bytes() == out.getvalue()
    wrong = "0" * 64
    assert "digest mismatch" in shop.refuse(f"FROM base:1\nADD --checksum=sha256:{wrong} {server}/file.txt /x\n")
    assert "status 404" in shop.refuse(f"FROM base:1\nADD {server}/absent /x\n")


def test_here_documents_become_files_and_scripts(shop: Workshop) -> None:
    image = shop.build(
        """FROM base:1
ARG WHO=world
COPY <<one <<'two' /etc/d/
hello "$WHO"
one
as $it is
two
RUN <<EOF
set -e
echo first > /script
echo second >> /script
EOF
RUN cat <<EOF > /quoted
$WHO
EOF
"""
    )
    assert shop.file(image, "etc/d/one").read_text() == 'hello "world"\n'
    assert shop.file(image, "etc/d/two").read_text() == "as $it is\n"
    assert shop.file(image, "script").read_text() == "first\nsecond\n"
    assert shop.file(image, "quoted").read_text() == "world\n"


def test_mounts_of_a_step_are_there_and_not_in_the_image(shop: Workshop, tmp_path: Path) -> None:
    shop.write(src__f="bound")
    (tmp_path / "token").write_text("s3cret")
    text = """FROM base:1 AS other
RUN echo built > /thing
FROM base:1
RUN --mount=type=cache,target=/cache --mount=type=bind,source=src,target=/s,rw --mount=type=tmpfs,target=/t \\
    --mount=type=secret,id=tok --mount=type=bind,from=other,source=/thing,target=/thing \\
    cat /s/f /run/secrets/tok /thing > /seen && echo x >> /cache/log && touch /t/x /s/new && cat /cache/log > /log
"""
    secret = ("--secret", f"id=tok,src={tmp_path}/token")
    image = shop.build(text, *secret)
    assert shop.file(image, "seen").read_text() == "bounds3cretbuilt\n"
    assert not any(os.path.lexists(image.layers[0] / name) for name in ("cache", "s", "t", "run", "thing"))
    assert not (shop.context / "src" / "new").exists()
    image = shop.build(text, *secret, "--no-cache")
    assert shop.file(image, "log").read_text() == "x\nx\n"
    assert "secret tok: not found" in shop.refuse(text.replace("id=tok", "id=tok,required=true"))


def test_a_step_reaches_the_network_only_if_it_may(shop: Workshop, server: str) -> None:
    text = f"FROM base:1\nRUN /bin/busybox wget -q -O /got {server}/file.txt\n"
    assert "exit code: 1" in shop.refuse(text, "--network=none")
    assert "exit code: 1" in shop.refuse(text.replace("RUN ", "RUN --network=none "))
    assert shop.file(shop.build(text), "got").read_text() == "from afar"


def test_a_step_is_confined_as_a_container_is(shop: Workshop) -> None:
    for step in ("mount -t tmpfs x /data", "mknod /x b 8 0"):
        assert "did not complete successfully" in shop.refuse(f"FROM base:1\nRUN /bin/busybox {step}\n")


def test_triggers_of_the_base_image_are_carried_out(shop: Workshop) -> None:
    shop.write(f="x")
    shop.build("FROM base:1\nONBUILD COPY f /triggered\nONBUILD RUN cat /triggered > /ran\n")
    shop.kctl("tag", "x:1", "parent:1")
    image = shop.build("FROM parent:1\n")
    assert shop.file(image, "ran").read_text() == "x" and "OnBuild" not in image.config


@pytest.mark.parametrize(
    ("dockerfile", "told"),
    [
        (
            "FROM base:1\n\nRUN exit 7\n",
            ":3: RUN exit 7: process '/bin/sh -c exit 7' did not complete successfully: exit code: 7",
        ),
        ("FROM base:1\nCOPY absent /x\n", ':2: COPY absent /x: "/absent": not found'),
        ('FROM base:1\nRUN ["/none"]\n', ':2: RUN ["/none"]:'),
        ("FROM base:1\nCOPY a b /x\n", "must be a directory and end with a /"),
        ("FROM base:1\nCOPY --wrong=1 a /x\n", "unknown flag: --wrong"),
        ("FROM base:1\nUSER who\nRUN true\n", ":3: RUN true:"),
        ("FROM localhost/none:1\n", ":1: localhost/none:1: no such image in this store"),
        ("FROM base:1\nWRONG x\n", ":2: unknown instruction: WRONG"),
        ("FROM base:1\nRUN --mount=type=ssh true\n", "--mount=type=ssh"),
    ],
)
def test_what_went_wrong_is_told_with_file_and_line(shop: Workshop, dockerfile: str, told: str) -> None:
    shop.write(a="a", b="b")
    error = shop.refuse(dockerfile)
    assert error.startswith(f"error: {shop.context}/Dockerfile:") and told in error


def test_an_image_on_the_node_itself_has_its_programs_and_can_not_leave_it(shop: Workshop, tmp_path: Path) -> None:
    shop.write(app_dot_py="print('hi')")
    image = shop.build("FROM localhost/host\nCOPY app.py /srv/\nRUN ls /usr/bin > /list\nCMD python3 /srv/app.py\n")
    assert "env" in shop.file(image, "list").read_text().split()
    assert ("/usr", "/usr") in image.binds and image.layers[-1].name == "host" and len(image.diff_ids) == 2
    assert "read-only file system" in shop.refuse("FROM localhost/host\nCOPY app.py /usr/bin/\n").lower()
    for action in (("export", "x:1", "-o", str(tmp_path / "x.tar")), ("push", "x:1", "127.0.0.1:1/x:1")):
        done = shop.kctl(*action, check=False)
        assert done.returncode == 1 and "stands on this node's own files" in done.stderr
    shop.build("FROM localhost/host\nCMD only settings\n")
    shop.kctl("tag", "x:1", "settings:1")
    again = shop.build("FROM settings:1\nENV A=1\n")
    assert again.config["Cmd"][-1] == "only settings" and again.binds == image.binds and not again.is_node
    copied = shop.build("FROM scratch\nCOPY --from=localhost/host /usr/bin/env /env\n")
    assert not copied.binds and shop.file(copied, "env").read_bytes() == Path("/usr/bin/env").read_bytes()


def test_what_is_built_here_is_read_by_others_as_it_is(shop: Workshop, tmp_path: Path) -> None:
    need("skopeo", "umoci", "docker-registry")
    image = shop.build(
        "FROM base:1\nRUN echo x > /made && rm /data/old && mkdir -p /deep/er && touch /deep/er/ünïcode\n"
    )
    with registry(tmp_path / "registry") as running:
        name = f"docker://{running.host}/x:1"
        shop.kctl("push", "x:1", f"{running.host}/x:1")
        about = json.loads(run("skopeo", "inspect", "--config", "--tls-verify=false", name))
        assert about["rootfs"]["diff_ids"] == list(image.diff_ids)
        assert about["history"][-1]["created_by"].startswith("RUN echo x > /made")
        layers_told = sum(1 for entry in about["history"] if not entry.get("empty_layer"))
        assert layers_told == len(image.diff_ids)  # though the base image tells nothing of its own
        run("skopeo", "copy", "--quiet", "--src-tls-verify=false", name, f"oci:{tmp_path}/o:x")
    run("umoci", "unpack", "--image", f"{tmp_path}/o:x", tmp_path / "bundle")
    root = tmp_path / "bundle" / "rootfs"
    assert (root / "made").read_text() == "x\n" and not (root / "data/old").exists()
    assert (root / "deep/er/ünïcode").exists()


def test_an_interrupted_build_leaves_nothing_running(shop: Workshop) -> None:
    shop.write(Dockerfile="FROM base:1\nRUN echo begun; /bin/busybox sleep 1000\n")
    command = [
        sys.executable,
        "-m",
        "kubelet.images",
        "--image-dir",
        str(shop.store.root),
        "build",
        str(shop.context),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if "| begun" in line:
            break
    [folder] = [path for path in (shop.store.root / "incoming").iterdir() if (path / "node").exists()]
    groups = [path for path in Path("/sys/fs/cgroup").rglob(f"build-{folder.name}") if path.is_dir()]
    assert groups
    process.kill()
    process.wait(timeout=60)
    process.stderr.close()
    shop.kctl("prune")
    assert list((shop.store.root / "incoming").iterdir()) == [] and not any(group.exists() for group in groups)
    assert str(shop.store.root) not in Path("/proc/self/mountinfo").read_text()
