"""Starts one container: image, environment, files, config, process, postStart hook.

Each step that can fail has its own waiting reason; nothing is left behind that the next try could not use or
replace.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from apiclient.clock import Clock
from apimachinery import quantity
from apimachinery.meta import Object, get_path
from kubelet import paths
from kubelet.containers import container_config, image_files, security
from kubelet.containers.container_config import ConfigFailure, Ingredients, Mount
from kubelet.containers.environment import EnvironmentFailure, Objects, container_environment
from kubelet.containers.failures import PostStartFailure, StartFailure
from kubelet.containers.hooks import HookFailure, run_hook
from kubelet.containers.image_puller import ImagePuller
from kubelet.containers.image_volumes import ImageVolumes
from kubelet.containers.security import SecurityFailure, User
from kubelet.containers.service_links import Variables
from kubelet.containers.volume_mounts import volume_mounts
from kubelet.images import Image
from kubelet.pods import pod_files
from kubelet.pods.pod_events import PodEvents
from kubelet.pods.pod_files import PodFiles
from kubelet.pods.pod_spec import Container
from kubelet.runtime import ContainerSpec, Runtime, RuntimeFailure
from kubelet.static_pods.identity import is_static

CONFIG_ERROR = "CreateContainerConfigError"
RETRY_SECONDS = 10.0
START_TIMEOUT_SECONDS = 120.0
STATIC_POD_SECONDS = 0.5
IMAGES_REMEMBERED = 64
_LOG_NAME = re.compile(r"(\d+)\.log")


@dataclass(frozen=True, slots=True)
class PodPlace:
    """What a pod's containers find ready: their sandbox, its address, volumes and files."""

    pod_ip: str
    volumes: Mapping[str, Path]
    files: PodFiles


@dataclass(frozen=True, slots=True)
class Started:
    """A container that runs: its id, (image, imageID) as the status shows them, and its user."""

    container_id: str
    image: tuple[str, str]
    user: Mapping[str, Any]


class ContainerStarter:
    """Starts containers of any pod of this node."""

    def __init__(
        self,
        *,
        root: Path,
        runtime: Runtime,
        puller: ImagePuller,
        objects: Objects,
        api_service: Callable[[], Awaitable[Variables]],
        service_links: Callable[[Object], Awaitable[Variables]],
        events: PodEvents,
        node: Callable[[], Object | None],
        host_ip: str,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._root = root
        self._runtime = runtime
        self._puller = puller
        self._objects = objects
        self._image_volumes = ImageVolumes(puller)
        self._api_service = api_service
        self._service_links = service_links
        self._events = events
        self._node = node
        self._host_ip = host_ip
        self._clock = clock
        self._rng = rng
        self._accounts: dict[tuple[str, str], str] = {}

    async def start(
        self, pod: Object, container: Container, *, attempt: int, place: PodPlace, running: Mapping[str, str]
    ) -> Started:
        """Start a container and return when it runs and its postStart hook is done. Raises StartFailure.

        `running` are the ids of the pod's containers that run, by name.
        """
        name = container["name"]
        image = await self._puller.ensure(pod, container)
        container_id = f"{self._rng.getrandbits(256):064x}"
        with ExitStack() as held:
            try:
                if pod["spec"].get("volumes"):
                    await self._image_volumes.provide(pod, container, place.volumes)
                environment = await self._environment(pod, container, place)
                user = self._user(pod, container, image)
                mounts = self._mounts(pod, container, place, environment, attempt, held)
                given = Ingredients(
                    image=image,
                    user=user,
                    environment=environment,
                    mounts=mounts,
                    seccomp=self._seccomp(pod, container),
                    node_memory_bytes=self._node_memory_bytes(),
                    target_id=_target(container, running),
                )
                spec = container_config.container_spec(
                    pod,
                    container,
                    given,
                    container_id=container_id,
                    attempt=attempt,
                    log_path=str(paths.container_log(self._root, pod, name, attempt)),
                )
            except (EnvironmentFailure, ConfigFailure) as error:
                raise self._failed(pod, name, error.reason, error.message) from error
            except (SecurityFailure, OSError, ValueError) as error:
                raise self._failed(pod, name, CONFIG_ERROR, str(error)) from error
            await self._run(pod, name, spec)
        self._events.normal(pod, "Started", "Container started", container=name)
        await self._post_start(pod, container, container_id, place)
        shown = {"uid": user.uid, "gid": user.gid, "supplementalGroups": [*user.groups] or [user.gid]}
        return Started(container_id, shown_image(image, container), {"linux": shown})

    async def _run(self, pod: Object, name: str, spec: ContainerSpec) -> None:
        try:
            async with asyncio.timeout(START_TIMEOUT_SECONDS):
                await self._runtime.start_container(pod["metadata"]["uid"], spec)
        except TimeoutError as error:
            message = f"the container did not start within {START_TIMEOUT_SECONDS:.0f} s"
            raise self._failed(pod, name, "CreateContainerError", message) from error
        except RuntimeFailure as error:
            if error.reason != "RunContainerError":
                raise self._failed(pod, name, error.reason, error.message) from error
            self._events.normal(pod, "Created", "Container created", container=name)
            self._events.warning(pod, "Failed", f"Error: {error.message}", container=name)
            raise StartFailure(error.reason, error.message) from error
        self._events.normal(pod, "Created", "Container created", container=name)

    async def _post_start(self, pod: Object, container: Container, container_id: str, place: PodPlace) -> None:
        hook = get_path(container, "lifecycle", "postStart")
        if not hook:
            return
        try:
            await run_hook(
                self._runtime,
                pod,
                container,
                container_id,
                hook,
                host=place.pod_ip,
                events=self._events,
                clock=self._clock,
            )
        except HookFailure as error:
            # The message may hold what the hook printed, which events must not give away.
            self._events.warning(pod, "FailedPostStartHook", "PostStartHook failed", container=container["name"])
            raise PostStartFailure(str(error), container_id) from error

    def _failed(self, pod: Object, name: str, reason: str, message: str) -> StartFailure:
        self._events.warning(pod, "Failed", f"Error: {message}", container=name)
        return StartFailure(reason, message, retry_at=self._clock.monotonic() + RETRY_SECONDS)

    async def _environment(self, pod: Object, container: Container, place: PodPlace) -> list[tuple[str, str]]:
        try:
            # A static pod may be what the API server waits for: it starts without what can't be had at once.
            async with asyncio.timeout(STATIC_POD_SECONDS if is_static(pod) else None):
                services = [*await self._api_service(), *await self._service_links(pod)]
        except TimeoutError as error:
            if not is_static(pod):
                why = "services have not yet been read at least once, cannot construct envvars"
                raise EnvironmentFailure(CONFIG_ERROR, why) from error
            services = []
        return await container_environment(
            pod,
            container,
            objects=self._objects,
            pod_ip=place.pod_ip,
            host_ip=self._host_ip,
            node=self._node(),
            services=services,
            volumes=place.volumes,
        )

    def _user(self, pod: Object, container: Container, image: Image) -> User:
        return security.user_of(
            pod, container, image.config.get("User") or "", lambda path: self._image_file(image, path)
        )

    def _image_file(self, image: Image, path: str) -> str:
        """A file of an image; kept, since an image never changes."""
        key = (image.id, path)
        if key not in self._accounts:
            if len(self._accounts) >= 2 * IMAGES_REMEMBERED:
                self._accounts.clear()
            self._accounts[key] = image_files.read(image.layers, path)
        return self._accounts[key]

    def _mounts(
        self,
        pod: Object,
        container: Container,
        place: PodPlace,
        environment: list[tuple[str, str]],
        attempt: int,
        held: ExitStack,
    ) -> list[Mount]:
        """The pod's files, the container's volumes and its termination log, later ones winning."""
        fixed = bool(get_path(container, "securityContext", "readOnlyRootFilesystem"))
        files = place.files.binds().items()
        mounts = [Mount(str(source), destination, read_only=fixed) for destination, source in files]
        mounts += volume_mounts(
            pod,
            container,
            volumes=place.volumes,
            environment=environment,
            root=self._root,
            held=held,
        )
        log = container.get("terminationMessagePath")
        if log:
            uid, name = pod["metadata"]["uid"], container["name"]
            mounts.append(Mount(str(pod_files.make_termination_log(self._root, uid, name, attempt)), log))
        return mounts

    def _seccomp(self, pod: Object, container: Container) -> Mapping[str, Any]:
        """The Localhost profile that the pod names, a JSON file below ROOT/seccomp."""
        kind, name = security.seccomp_profile(pod, container)
        if kind != "Localhost":
            return {}
        folder = paths.seccomp_dir(self._root)
        path = (folder / name).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise ConfigFailure(CONFIG_ERROR, f"seccomp profile {name!r} lies outside of {folder}")
        try:
            profile: dict[str, Any] = orjson.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigFailure(CONFIG_ERROR, f"cannot load seccomp profile {path}: {error}") from error
        return profile

    def _node_memory_bytes(self) -> int:
        return quantity.value(get_path(self._node(), "status", "capacity", "memory", default=0))


def _target(container: Container, running: Mapping[str, str]) -> str:
    """The id of the container whose processes an ephemeral one is to see. Raises ConfigFailure."""
    name = container.get("targetContainerName") or ""
    if name and name not in running:
        raise ConfigFailure(CONFIG_ERROR, f"unable to find target container {name}")
    return running.get(name, "")


def shown_image(image: Image, container: Container) -> tuple[str, str]:
    """(image, imageID) of a container's status: the full name, and the digest that says what exactly ran."""
    name = image.names[0] if image.names else container["image"]
    return name, image.digests[0] if image.digests else image.id


def attempts_logged(root: Path, pod: Object, container: str) -> int:
    """How many runs of a container have left a log here: what a node agent that knows nothing else counts on from."""
    folder = paths.container_log(root, pod, container, 0).parent
    try:
        numbers = [int(match[1]) for path in folder.iterdir() if (match := _LOG_NAME.match(path.name))]
    except FileNotFoundError:
        return 0
    return max(numbers, default=-1) + 1
