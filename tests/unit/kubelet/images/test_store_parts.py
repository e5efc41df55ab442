"""What keeps a shared store right: who uses what, who holds what, and what goes when the disk fills up."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest

from kubelet.images import Image, ImageStore, usage
from kubelet.images import index as index_module
from kubelet.images import layers as layers_module
from kubelet.images.collector import Candidate, ImageCollector, Settings, choose, parse_duration
from kubelet.images.layers import Layers
from kubelet.images.store import ImageError
from kubelet.images.tar_split import Writer
from kubelet.images.tar_writer import pack
from kubelet.images.usage import ImageUsage
from tests.support.clock import ManualClock

CONFIG = b'{"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [%s]}, "x": "%s"}'


def make_layer(layers: Layers, name: str, size: int = 10) -> str:
    """A layer of one file."""
    with layers.incoming() as incoming:
        folder = incoming.path / "fs"
        folder.mkdir()
        (folder / name).write_bytes(b"x" * size)
        with (incoming.path / "split").open("wb") as file:
            made = pack(folder, Writer(file))
        with layers.held(made.diff_id) as is_there:
            if not is_there:
                layers.place(incoming, made)
    return made.diff_id


def add(store: ImageStore, name: str, *layers: str, size: int = 10) -> Image:
    """An image of such layers."""
    diff_ids = [make_layer(store.layers, layer, size) for layer in layers]
    config = CONFIG % (",".join(f'"{diff_id}"' for diff_id in diff_ids).encode(), name.encode())
    return store.add(config, [name])


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "store")


# Names and records.


def test_what_is_found_once_is_found_again_without_reading_until_the_index_changes(store: ImageStore) -> None:
    first = add(store, "app:1", "a")
    assert store.find("app:1") is store.find("app:1")
    other = ImageStore(store.root)
    second = add(other, "app:1", "b")
    found = store.find("app:1")
    assert found is not None and found.id == second.id != first.id
    assert store.find("none:1") is None and store.find(first.id) is not None


def test_a_name_is_taken_from_the_image_that_had_it_and_may_be_given_to_another(store: ImageStore) -> None:
    add(store, "one:1", "a")
    add(store, "two:1", "b")
    store.tag("two:1", "one:1")
    found = store.find("one:1")
    assert found is not None and found.names == ["docker.io/library/one:1", "docker.io/library/two:1"]
    assert store.remove("one:1") == ["docker.io/library/one:1"] and store.find("two:1") is not None
    for wrong in ("localhost/host", "x@sha256:" + "a" * 64):
        with pytest.raises(ImageError):
            store.tag("two:1", wrong)


def test_an_image_of_an_earlier_start_of_the_machine_whose_data_may_not_be_there_counts_as_absent(
    store: ImageStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    safe = add(store, "safe:1", "a")
    store.make_durable()
    unsafe = add(store, "unsafe:1", "b")
    for module in (index_module, layers_module):
        monkeypatch.setattr(module, "boot_id", lambda: "another")
    again = ImageStore(store.root)
    assert again.find("safe:1") is not None and again.find("unsafe:1") is None
    assert again.layers.has(safe.diff_ids[0]) and not again.layers.has(unsafe.diff_ids[0])
    # It can be made anew.
    assert add(again, "unsafe:1", "b").diff_ids == unsafe.diff_ids and again.layers.has(unsafe.diff_ids[0])


def test_the_first_version_of_the_index_is_read(store: ImageStore) -> None:
    image = add(store, "app:1", "a")
    path = store.root / "index.json"
    path.write_text(json.dumps(json.loads(path.read_text())["images"]))
    found = ImageStore(store.root).find("app:1")
    assert found is not None and found.id == image.id


def test_a_damaged_index_is_told_and_not_overwritten(store: ImageStore) -> None:
    (store.root / "index.json").write_text("{")
    with pytest.raises(ImageError, match="damaged"):
        store.find("app:1")
    with pytest.raises(ImageError):
        add(store, "app:1", "a")
    assert (store.root / "index.json").read_text() == "{"


# Layers.


def test_one_who_would_make_a_layer_waits_for_one_who_makes_it(tmp_path: Path) -> None:
    layers = Layers(tmp_path)
    diff_id = make_layer(Layers(tmp_path / "other"), "a")
    order: list[str] = []

    def second() -> None:
        with Layers(tmp_path).held(diff_id) as is_there:
            order.append(f"second sees it: {is_there}")

    with layers.held(diff_id) as is_there:
        assert not is_there
        waiting = threading.Thread(target=second)
        waiting.start()
        with layers.incoming() as incoming:
            (incoming.path / "fs").mkdir()
            (incoming.path / "fs" / "a").write_bytes(b"x" * 10)
            with (incoming.path / "split").open("wb") as file:
                layers.place(incoming, pack(incoming.path / "fs", Writer(file)))
        order.append("first is done")
    waiting.join(timeout=10)
    assert order == ["first is done", "second sees it: True"]


def test_what_somebody_holds_or_works_on_is_not_swept(store: ImageStore) -> None:
    held, loose = make_layer(store.layers, "a"), make_layer(store.layers, "b")
    with store.layers.held(held), store.layers.incoming() as incoming:
        dead = store.root / "incoming" / "dead"
        dead.mkdir()
        store.sweep()
        assert store.layers.has(held) and not store.layers.has(loose)
        assert incoming.path.exists() and not dead.exists()
    store.sweep()
    folders = [store.root / name for name in ("layers", "tar-split", "locks", "incoming")]
    assert [path for folder in folders for path in folder.iterdir()] == []


def test_layers_that_are_mounted_stay_whatever_the_index_says(store: ImageStore) -> None:
    diff_id = make_layer(store.layers, "a")
    name = store.layers.path(diff_id).name
    _, doomed = store.layers.sweep([], mounted={name})
    assert store.layers.has(diff_id) and doomed == []


# Use.


def use(store: ImageStore, owner: Path) -> ImageUsage:
    owner.mkdir(parents=True, exist_ok=True)
    return ImageUsage(store.root, owner)


def test_an_image_that_a_pod_uses_is_not_removed_until_the_pod_is_gone(store: ImageStore, tmp_path: Path) -> None:
    image = add(store, "app:1", "a")
    mine, theirs = use(store, tmp_path / "n1"), use(store, tmp_path / "n2")
    mine.use("pod-1", image.id)
    theirs.use("pod-2", image.id)
    for owner, pod in ((mine, "pod-1"), (theirs, "pod-2")):
        with pytest.raises(ImageError, match="is used by a running container"):
            store.remove("app:1")
        owner.release(pod)
    assert store.remove("app:1") == ["docker.io/library/app:1", image.id]


def test_the_pods_of_a_dead_agent_count_as_long_as_its_node_has_them(store: ImageStore, tmp_path: Path) -> None:
    image = add(store, "app:1", "a")
    owner = tmp_path / "n1"
    dead = use(store, owner)
    for uid in ("alive", "gone"):
        dead.use(uid, image.id)
    dead.close()
    (owner / "pods" / "alive").mkdir(parents=True)
    assert usage.in_use(store.root) == {image.id}
    again = use(store, owner)
    assert again.uses("alive", image.id)
    again.keep_only(["alive"])
    assert not again.uses("gone", image.id)
    again.close()
    (owner / "pods" / "alive").rmdir()
    assert usage.in_use(store.root) == set() and list((store.root / "users").iterdir()) == []


def test_a_line_that_a_crash_has_cut_off_counts_for_nothing(store: ImageStore, tmp_path: Path) -> None:
    mine = use(store, tmp_path / "n1")
    mine.use("pod-1", "sha256:1")
    [path] = (store.root / "users").iterdir()
    with path.open("a") as file:
        file.write("+pod-2 sha256:")
    assert usage.in_use(store.root) == {"sha256:1"}


def test_the_file_of_an_agent_stays_small(store: ImageStore, tmp_path: Path) -> None:
    mine = use(store, tmp_path / "n1")
    mine.use("stays", "sha256:1")
    for number in range(6000):
        mine.use(f"pod-{number}", "sha256:2")
        mine.release(f"pod-{number}")
    [path] = (store.root / "users").iterdir()
    assert path.stat().st_size < 400_000 and usage.in_use(store.root) == {"sha256:1"}
    held = os.open(path, os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(held)


def test_whoever_uses_an_image_while_it_is_removed_either_keeps_it_or_sees_that_it_is_gone(
    store: ImageStore, tmp_path: Path
) -> None:
    """Every interleaving of the two orders: use then look, unlist then look."""
    image = add(store, "app:1", "a")
    mine = use(store, tmp_path / "n1")
    real = usage.in_use

    def used_just_before(root: Path) -> set[str]:
        mine.use("pod", image.id)
        return real(root)

    usage.in_use = used_just_before  # the pod comes after the index was written, and before the files are read
    try:
        gone, _ = store.remove_images([image.id])
    finally:
        usage.in_use = real
    assert gone == [] and store.find("app:1") is not None and store.layers.has(image.diff_ids[0])
    mine.release("pod")
    gone, _ = store.remove_images([image.id])
    mine.use("late", image.id)
    assert gone == [image.id] and store.find("app:1") is None


# Garbage collection.


def candidate(name: str, last_used: float, *, added: float = 0.0, in_use: bool = False, **layers: int) -> Candidate:
    return Candidate(name, layers or {name: 10}, added, last_used, in_use)


def chosen(candidates: Iterable[Candidate], wanted: float, **settings: float) -> list[str]:
    return choose(list(candidates), Settings(**settings), bytes_to_free=wanted, now=1000.0)  # type: ignore[arg-type]


def test_the_images_that_were_unused_for_longest_go_until_enough_is_free() -> None:
    images = [
        candidate("new", 900),
        candidate("old", 100),
        candidate("middle", 500),
        candidate("used", 1, in_use=True),
    ]
    assert chosen(images, 15) == ["old", "middle"]
    assert chosen(images, 0) == []
    assert chosen(images, float("inf")) == ["old", "middle", "new"]


def test_an_image_that_came_just_now_stays() -> None:
    assert chosen([candidate("young", 0, added=950)], 10) == []


def test_layers_that_another_image_has_free_nothing() -> None:
    images = [candidate("a", 1, base=100, a=1), candidate("b", 2, base=100, b=1), candidate("c", 3, c=50)]
    assert chosen(images, 40) == ["a", "b"]
    images[1] = candidate("b", 2, in_use=True, base=100, b=1)
    assert chosen(images, 40) == ["a", "c"]


def test_what_is_too_old_goes_however_much_room_there_is() -> None:
    assert chosen([candidate("a", 100), candidate("b", 990)], 0, age_seconds_max=500.0) == ["a"]


@pytest.mark.parametrize(("text", "seconds"), [("2m", 120), ("1h30m", 5400), ("1.5s", 1.5), ("100ms", 0.1), ("0", 0)])
def test_durations_are_read_as_go_writes_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "2", "m", "2x", "2m x", "-1s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    "settings", [Settings(80, 80), Settings(101, 80), Settings(85, -1), Settings(85, 80, 60, 30)]
)
def test_thresholds_that_make_no_sense_are_refused(settings: Settings) -> None:
    with pytest.raises(ValueError):
        settings.check()


@pytest.fixture
def told() -> list[tuple[str, str, str]]:
    return []


def collector(
    store: ImageStore, told: list[tuple[str, str, str]], settings: Settings, used: ImageUsage
) -> ImageCollector:
    clock = ManualClock()
    clock.now = lambda: 4e9  # type: ignore[method-assign]
    return ImageCollector(
        store,
        settings,
        clock,
        tell=lambda *words: told.append(words),
        known_pods=lambda: ["pod"],
        keep_only=used.keep_only,
    )


async def test_a_full_disk_costs_unused_images_and_never_those_in_use(
    store: ImageStore, tmp_path: Path, told: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, lost = add(store, "kept:1", "a"), add(store, "lost:1", "b", size=100)
    used = use(store, tmp_path / "n1")
    used.use("pod", kept.id)
    used.use("vanished", lost.id)
    monkeypatch.setattr("kubelet.images.collector._disk", lambda _images: (1000, 150))
    await collector(store, told, Settings(), used).collect()
    assert store.find("kept:1") is not None and store.find("lost:1") is None and told == []
    await collector(store, told, Settings(), used).collect()
    assert told == [
        (
            "Warning",
            "FreeDiskSpaceFailed",
            "Failed to garbage collect required amount of images. Attempted to free 50 bytes, but only found 0 bytes"
            " eligible to free.",
        )
    ]


async def test_room_enough_costs_nothing(
    store: ImageStore, tmp_path: Path, told: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store, "app:1", "a")
    monkeypatch.setattr("kubelet.images.collector._disk", lambda _images: (1000, 160))
    await collector(store, told, Settings(), use(store, tmp_path / "n1")).collect()
    assert store.find("app:1") is not None and told == []


def test_the_node_agent_loads_nothing_that_only_pulls_and_builds_need() -> None:
    heavy = ("kubelet.images.http", "kubelet.images.pull", "kubelet.images.building", "tarfile", "zstandard")
    code = f"import sys, kubelet.agent; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
