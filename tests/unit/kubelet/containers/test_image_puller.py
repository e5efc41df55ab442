"""What a pod's pull policy, its secrets and earlier failures come to: policies, events and waiting reasons."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from apimachinery import errors
from kubelet.containers.failures import StartFailure
from kubelet.containers.image_puller import ImagePuller
from kubelet.images import Image, ImageError
from kubelet.images.keyring import Key
from kubelet.images.pulls import ImagePulls, PullResult
from tests.support.clock import ManualClock

NAME = "r.example/team/app:1"


class Recorder:
    """Keeps what is told of pods."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def normal(self, pod: Any, reason: str, message: str, *, container: str = "") -> None:
        self.told.append((reason, message))

    warning = normal


class World:
    """A store, a registry and an API server, as far as the puller sees them."""

    def __init__(self) -> None:
        self.images: dict[str, Image] = {}
        self.offered: dict[str, Image] = {}
        self.secrets: dict[str, Any] = {}
        self.asked: list[tuple[str, list[str]]] = []
        self.used: set[tuple[str, str]] = set()
        self.failure: ImageError | None = None
        self.api_failure: errors.ApiError | None = None

    def find(self, reference: str) -> Image | None:
        if " " in reference:
            raise ImageError("InvalidImageName", "no name")
        found = self.images.get(reference)
        return found or next((image for image in self.images.values() if image.id == reference), None)

    def note_used(self, image_id: str) -> None:
        pass

    async def pull(self, reference: str, keys: Sequence[Key]) -> PullResult:
        self.asked.append((reference, [key.username for key in keys]))
        if self.failure is not None:
            raise self.failure
        self.images[reference] = self.offered[reference]
        return PullResult(self.offered[reference].id, 1.5, None)

    async def secret(self, namespace: str, name: str) -> Any:
        if self.api_failure is not None:
            raise self.api_failure
        return self.secrets.get(name)

    async def config_map(self, namespace: str, name: str) -> Any:
        return None

    def use(self, pod_uid: str, image_id: str) -> None:
        self.used.add((pod_uid, image_id))

    def release(self, pod_uid: str) -> None:
        self.used = {pair for pair in self.used if pair[0] != pod_uid}


def made(name: str = NAME, **fields: Any) -> Image:
    return Image(f"sha256:{name}", [name], [], [], {}, 1000, "", diff_ids=["sha256:1"], **fields)


def secret(host: str, username: str, uid: str = "u1") -> dict[str, Any]:
    data = json.dumps({"auths": {host: {"username": username, "password": "p"}}}).encode()
    metadata = {"name": "s", "namespace": "default", "uid": uid}
    text = base64.b64encode(data).decode()
    return {"metadata": metadata, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": text}}


def pod(*secrets: str, uid: str = "pod") -> dict[str, Any]:
    spec = {"imagePullSecrets": [{"name": name} for name in secrets]}
    return {"metadata": {"uid": uid, "namespace": "default", "name": "web"}, "spec": spec}


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def puller(world: World, recorder: Recorder, clock: ManualClock, tmp_path: Path) -> ImagePuller:
    parts: Any = recorder
    return ImagePuller(
        world, parts, clock, pulls=world, objects=world, usage=world, credentials_file=tmp_path / "config.json"
    )


async def get(puller: ImagePuller, policy: str, *secrets: str, name: str = NAME) -> Image:
    return await puller.ensure(pod(*secrets), {"name": "c", "image": name, "imagePullPolicy": policy})


async def reason(puller: ImagePuller, policy: str, *secrets: str, name: str = NAME) -> str:
    with pytest.raises(StartFailure) as caught:
        await get(puller, policy, *secrets, name=name)
    return caught.value.reason


@pytest.mark.parametrize(
    ("policy", "is_here", "outcome"),
    [
        ("Always", True, "pulled"),
        ("Always", False, "pulled"),
        ("IfNotPresent", True, "here"),
        ("IfNotPresent", False, "pulled"),
        ("Never", True, "here"),
        ("Never", False, "ErrImageNeverPull"),
    ],
)
async def test_the_pull_policy_says_whether_a_registry_is_asked(
    puller: ImagePuller, world: World, recorder: Recorder, policy: str, is_here: bool, outcome: str
) -> None:
    world.offered[NAME] = made()
    if is_here:
        world.images[NAME] = made()
    if outcome == "ErrImageNeverPull":
        assert await reason(puller, policy) == outcome and world.asked == []
        message = f'Container image "{NAME}" is not present with pull policy of Never'
        assert recorder.told == [("ErrImageNeverPull", message), ("Failed", "Error: ErrImageNeverPull")]
        return
    assert (await get(puller, policy)).id == made().id
    assert world.used == {("pod", made().id)}
    if outcome == "here":
        words = "already present on machine and can be accessed by the pod"
        assert world.asked == [] and recorder.told == [("Pulled", f'Container image "{NAME}" {words}')]
    else:
        message = f'Successfully pulled image "{NAME}" in 1.5s (0ms including waiting). Image size: 1000 bytes.'
        assert recorder.told == [("Pulling", f'Pulling image "{NAME}"'), ("Pulled", message)]


async def test_secrets_come_before_what_the_node_has_and_only_those_that_fit(
    puller: ImagePuller, world: World, tmp_path: Path
) -> None:
    world.offered[NAME] = made()
    world.secrets = {
        "a": secret("r.example/team", "a"),
        "b": secret("other.example", "b"),
        "c": secret("r.example", "c"),
    }
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"r.example": {"username": "node", "password": "p"}}}))
    await get(puller, "Always", "c", "b", "a")
    assert world.asked == [(NAME, ["a", "c", "node"])]


async def test_a_secret_that_is_not_there_is_told_and_one_that_makes_no_sense_fails(
    puller: ImagePuller, world: World, recorder: Recorder
) -> None:
    world.offered[NAME] = made()
    await get(puller, "Always", "absent", "gone")
    words = "Unable to retrieve some image pull secrets (absent, gone); attempting to pull the image may not succeed."
    assert ("FailedToRetrieveImagePullSecret", words) in recorder.told
    world.secrets["bad"] = {**secret("r", "x"), "data": {".dockerconfigjson": "%"}}
    assert await reason(puller, "Always", "bad") == "ErrImagePull"
    world.api_failure = errors.timeout("the API server is away")
    assert await reason(puller, "Always", "absent", name="r.example/x:1") == "ErrImagePull"


@pytest.mark.parametrize(
    ("pulled", "may"),
    [
        ({}, True),
        ({"r.example/team/app": {"node": True, "secrets": []}}, True),
        ({"r.example/team/app": {"secrets": [["u1", "default", "s", "another hash"]]}}, True),
        ({"r.example/team/app": {"secrets": [["u9", "elsewhere", "t", "SAME"]]}}, True),
        ({"r.example/team/app": {"secrets": [["u9", "elsewhere", "t", "hash"]]}}, False),
        ({"other.example/app": {"node": True}}, False),
    ],
)
async def test_an_image_that_is_here_is_a_pods_if_it_could_have_pulled_it(
    puller: ImagePuller, world: World, pulled: Any, may: bool
) -> None:
    world.secrets["s"] = secret("r.example", "me")
    same = Key("r.example", "me", "p").hash
    pulled = json.loads(json.dumps(pulled).replace("SAME", same))
    world.images[NAME] = world.offered[NAME] = made(pulled=pulled)
    if may:
        await get(puller, "IfNotPresent", "s")
        assert world.asked == []
        await get(puller, "Never", "s")
    else:
        assert await reason(puller, "Never", "s") == "ErrImageNeverPull"
        await get(puller, "IfNotPresent", "s")
        assert world.asked == [(NAME, ["me"])]


async def test_a_failure_shows_as_what_it_is_and_then_as_backing_off(
    puller: ImagePuller, world: World, recorder: Recorder, clock: ManualClock
) -> None:
    world.failure = ImageError("ErrImagePull", "the registry is on fire")
    with pytest.raises(StartFailure) as first:
        await get(puller, "Always")
    assert (first.value.reason, first.value.message) == ("ErrImagePull", "the registry is on fire")
    assert recorder.told[-2:] == [
        ("Failed", f'Failed to pull image "{NAME}": the registry is on fire'),
        ("Failed", "Error: ErrImagePull"),
    ]
    with pytest.raises(StartFailure) as second:
        await get(puller, "Always")
    assert second.value.reason == "ImagePullBackOff"
    assert second.value.message == f'Back-off pulling image "{NAME}": ErrImagePull: the registry is on fire'
    assert recorder.told[-2:] == [
        ("BackOff", f'Back-off pulling image "{NAME}"'),
        ("Failed", "Error: ImagePullBackOff"),
    ]
    assert second.value.retry_at == pytest.approx(clock.now() + 10) and len(world.asked) == 1
    await clock.advance(10)
    assert await reason(puller, "Always") == "ErrImagePull"
    await clock.advance(10)
    assert await reason(puller, "Always") == "ImagePullBackOff"  # it is 20 s now
    await clock.advance(10)
    world.failure, world.offered[NAME] = None, made()
    assert await get(puller, "Always")


async def test_names_of_this_nodes_own_are_never_asked_for(puller: ImagePuller, world: World) -> None:
    world.images["localhost/own:latest"] = made("localhost/own:latest")
    assert await get(puller, "Always", name="localhost/own:latest") and world.asked == []
    assert await reason(puller, "Always", name="localhost/absent:latest") == "ErrImagePull" and world.asked == []


async def test_what_is_no_name_is_said_to_be_none(puller: ImagePuller, recorder: Recorder) -> None:
    assert await reason(puller, "Always", name="no name") == "InvalidImageName"
    assert recorder.told[0][0] == "InspectFailed"


async def test_a_pod_that_is_gone_uses_nothing_any_more(puller: ImagePuller, world: World) -> None:
    world.images[NAME] = made()
    await get(puller, "Never")
    puller.forget("pod")
    assert world.used == set()


# Pulls that several wait for.


class Script(ImagePulls):
    """Pulls that end when the test says so."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__(tmp_path, parallel_max=2)
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.may_end = asyncio.Event()

    async def _ask(self, reference: str, keys: Sequence[Key]) -> dict[str, Any]:
        self.begun.append(reference)
        try:
            await self.may_end.wait()
            return {"id": f"sha256:{reference}", "offer": 0}
        finally:
            self.ended.append(reference)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_one_pull_serves_all_who_want_the_same_with_the_same_credentials(tmp_path: Path) -> None:
    pulls = Script(tmp_path)
    waiting = [asyncio.ensure_future(pulls.pull("a", [])) for _ in range(3)]
    waiting.append(asyncio.ensure_future(pulls.pull("a", [Key("r", "u", "p")])))
    await settle()
    assert pulls.begun == ["a", "a"]
    pulls.may_end.set()
    assert {result.image_id for result in await asyncio.gather(*waiting)} == {"sha256:a"}


async def test_a_pull_goes_on_until_the_last_who_waits_has_gone(tmp_path: Path) -> None:
    pulls = Script(tmp_path)
    first, second = (asyncio.ensure_future(pulls.pull("a", [])) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    assert pulls.ended == [] and first.cancelled()
    second.cancel()
    await settle()
    assert pulls.ended == ["a"] and second.cancelled()
    pulls.may_end.set()
    assert (await pulls.pull("a", [])).image_id == "sha256:a" and pulls.begun == ["a", "a"]


async def test_no_more_than_a_few_pulls_run_at_once(tmp_path: Path) -> None:
    pulls = Script(tmp_path)
    waiting = [asyncio.ensure_future(pulls.pull(name, [])) for name in "abc"]
    await settle()
    assert pulls.begun == ["a", "b"]
    pulls.may_end.set()
    await asyncio.gather(*waiting)
    assert pulls.begun == ["a", "b", "c"]


async def test_a_puller_that_dies_is_a_failed_pull_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(ImageError, match="failed to pull and unpack image") as caught:
        await ImagePulls(tmp_path / "file" / "store").pull("r.example/a:1", [])
    assert caught.value.reason == "ErrImagePull"
