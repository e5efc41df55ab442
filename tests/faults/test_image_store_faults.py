"""Stores whose users are killed, or fill them all at once: what is there is whole, and the next one goes on."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from kubelet.images import ImageStore
from kubelet.images.usage import ImageUsage
from tests.support.layers import entry, image, tar
from tests.support.registry import LyingRegistry, lying_registry

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: layers are unpacked in a chroot, owners kept"),
    pytest.mark.timeout(400),
]
SECONDS_MAX = 60.0
RANDOM = random.Random(7)
LAYERS = [tar(*(entry(f"layer{number}/file{i}", RANDOM.randbytes(3000)) for i in range(60))) for number in range(4)]


def command(store: ImageStore, *words: str) -> list[str]:
    return [sys.executable, "-m", "kubelet.images", "--image-dir", str(store.root), *words]


def start(store: ImageStore, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command(store, *words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def check(store: ImageStore, *, names: int) -> None:
    """Every image in the index has all of its layers, each the one that its digest says, and nothing else is left."""
    images = [image for image in store.images() if not image.binds]
    assert len([name for image in images for name in image.names]) == names
    for found in images:
        for diff_id in found.diff_ids:
            digest = hashlib.sha256()
            for piece in store.layers.tar(diff_id):
                digest.update(piece)
            assert f"sha256:{digest.hexdigest()}" == diff_id
    store.sweep()
    used = {store.layers.path(diff_id).name for image in images for diff_id in image.diff_ids}
    assert {path.name for path in (store.root / "layers").iterdir()} == used
    assert list((store.root / "incoming").iterdir()) == []
    splits = {path.name.partition(".")[0] for path in (store.root / "tar-split").iterdir()}
    assert splits == used


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


def slow(state: LyingRegistry, handler: BaseHTTPRequestHandler) -> bool:
    """A hook under which a layer takes a while."""
    data = state.blobs.get(handler.path.rpartition("/")[2], b"")
    if len(data) < 5000:
        return False
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    try:
        for start_ in range(0, len(data), 20_000):
            handler.wfile.write(data[start_ : start_ + 20_000])
            time.sleep(0.01)
    except OSError:
        handler.close_connection = True
    return True


def test_a_pull_that_is_killed_at_any_moment_leaves_a_store_that_the_next_one_completes(store: ImageStore) -> None:
    with lying_registry() as registry:
        registry.add("app:1", image(LAYERS))
        registry.hook = slow
        rng = random.Random(3)
        for _ in range(12):
            pulling = start(store, "pull", "-q", f"{registry.host}/app:1")
            time.sleep(rng.uniform(0.1, 0.9))
            pulling.send_signal(signal.SIGKILL)
            pulling.wait(timeout=20)
            assert pulling.stderr is not None
            pulling.stderr.close()
        subprocess.run(command(store, "pull", "-q", f"{registry.host}/app:1"), check=True, timeout=60)
    deadline = time.monotonic() + SECONDS_MAX
    while list((store.root / "incoming").iterdir()) and time.monotonic() < deadline:
        store.sweep()  # the processes behind a killed one take a moment to end
    check(store, names=1)


def test_many_pulls_at_once_download_each_layer_once(store: ImageStore) -> None:
    with lying_registry() as registry:
        for number in range(4):
            registry.add(f"app{number}:1", image([*LAYERS[:3], tar(entry("own", str(number).encode()))]))
        registry.hook = slow
        pulls = [start(store, "pull", "-q", f"{registry.host}/app{number % 4}:1") for number in range(8)]
        for pull in pulls:
            _, words = pull.communicate(timeout=SECONDS_MAX)
            assert pull.returncode == 0, words.decode()
        layers = json.loads(image(LAYERS[:3]).manifest)["layers"]
        for layer in layers:
            asked = [one for one in registry.asked if layer["digest"] in one.path and one.method == "GET"]
            assert len(asked) == 1
    check(store, names=4)


def test_a_full_disk_is_told_and_leaves_no_half_of_an_image(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "small", str(place)], check=False)
    if done.returncode:
        pytest.skip("can't mount a small file system here")
    try:
        store = ImageStore(place / "store")
        with lying_registry() as registry:
            registry.add("app:1", image([tar(entry("zeros", bytes(80 << 20)))]))
            done = subprocess.run(
                command(store, "pull", "-q", f"{registry.host}/app:1"),
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        assert done.returncode == 1 and "no space left on device" in done.stderr
        check(store, names=0)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_pods_that_come_and_go_while_images_are_removed_never_lose_theirs(store: ImageStore, tmp_path: Path) -> None:
    """Two node agents use an image again and again while a third process removes whatever nobody uses."""
    with lying_registry() as registry:
        registry.add("app:1", image(LAYERS[:1]))
        name = f"{registry.host}/app:1"
        removing = threading.Event()
        lost: list[str] = []

        def agent(number: int) -> None:
            mine = ImageStore(store.root)
            (tmp_path / f"node-{number}").mkdir()
            usage = ImageUsage(store.root, tmp_path / f"node-{number}")
            for turn in range(10):
                found = mine.find(name)
                if found is None:
                    pull = command(mine, "pull", "-q", name)
                    done = subprocess.run(pull, capture_output=True, text=True, timeout=60, check=False)
                    if done.returncode:
                        lost.append(f"agent {number}, turn {turn}: {done.stderr}")
                    continue
                usage.use(f"pod-{turn}", found.id)
                if mine.find(found.id) is not None:
                    time.sleep(0.005)
                    if not (found.layers[0] / "layer0/file0").exists():
                        lost.append(f"agent {number}, turn {turn}")
                usage.release(f"pod-{turn}")
            usage.close()

        def remover() -> None:
            mine = ImageStore(store.root)
            while not removing.is_set():
                mine.remove_images([found.id for found in mine.images() if found.diff_ids])
                time.sleep(0.002)

        agents = [threading.Thread(target=agent, args=(number,)) for number in range(2)]
        third = threading.Thread(target=remover)
        for thread in (*agents, third):
            thread.start()
        for thread in agents:
            thread.join(timeout=SECONDS_MAX)
        removing.set()
        third.join(timeout=SECONDS_MAX)
        assert lost == [] and not any(thread.is_alive() for thread in agents)


def test_what_a_store_has_lost_is_had_again(store: ImageStore) -> None:
    with lying_registry() as registry:
        registry.add("app:1", image(LAYERS))
        name = f"{registry.host}/app:1"
        subprocess.run(command(store, "pull", "-q", name), check=True, timeout=60)
        # Somebody has cleaned up by hand.
        shutil.rmtree(store.root / "layers")
        shutil.rmtree(store.root / "incoming")
        (store.root / "index.json").unlink()
        again = ImageStore(store.root)
        assert again.find(name) is None
        subprocess.run(command(store, "pull", "-q", name), check=True, timeout=60)
    check(again, names=1)
