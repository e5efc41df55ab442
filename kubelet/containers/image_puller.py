"""Gets a container its image, as its pull policy says, and holds back what failed before.

An image that was pulled with a pod's secret is not every pod's: another pod gets it if it has one of the secrets that
it was pulled with, or if the registry lets it have it too (imagePullCredentialsVerificationPolicy
NeverVerifyPreloadedImages). What was imported or built on this node is everybody's.

Names of the registry `localhost` (without a port) are this node's own: nobody is ever asked for them.

Source: https://kubernetes.io/docs/concepts/containers/images/ (image pull policy, ImagePullBackOff, and how it is
ensured that a pod has the credentials of an image)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from apiclient.clock import Clock
from apiclient.logs import kv
from apimachinery.errors import ApiError
from apimachinery.meta import Object
from kubelet.containers.backoff import Backoff, after_try, shown
from kubelet.containers.failures import StartFailure
from kubelet.images import Image, ImageError, keyring
from kubelet.images.keyring import Key, KeyringError
from kubelet.images.pulls import PullResult
from kubelet.images.reference import parse
from kubelet.objects import Objects
from kubelet.pods.pod_events import PodEvents
from kubelet.pods.pod_spec import Container

logger = logging.getLogger(__name__)

# How long a failed pull shows as ErrImagePull before it shows as ImagePullBackOff.
SHOWN_SECONDS = 5.0
RETRY_SECONDS = 10.0
OWN_REGISTRY = "localhost"

_EVENTS = {"ErrImageNeverPull": "ErrImageNeverPull", "InvalidImageName": "InspectFailed"}


class Store(Protocol):
    """The images that are here."""

    def find(self, reference: str) -> Image | None:
        """The image of this name, digest or id. Raises ImageError."""

    def note_used(self, image_id: str) -> None:
        """The image is being used, or was until now."""


class Pulls(Protocol):
    """Whoever brings images here."""

    async def pull(self, reference: str, keys: Sequence[Key]) -> PullResult:
        """Pull an image with the first key that works. Raises ImageError."""


class Usage(Protocol):
    """Who uses which image, for whoever would remove one."""

    def use(self, pod_uid: str, image_id: str) -> None:
        """A pod is about to use an image. Raises OSError."""

    def release(self, pod_uid: str) -> None:
        """A pod is gone."""


class ImagePuller:
    """Images for the containers of all pods; remembers the failures of each pod's images."""

    def __init__(
        self,
        images: Store,
        events: PodEvents,
        clock: Clock,
        *,
        pulls: Pulls,
        objects: Objects,
        usage: Usage,
        credentials_file: Path | None = None,
        pulled: Callable[[], None] = lambda: None,
    ) -> None:
        """`credentials_file` holds what every pod of this node may show to registries, as Docker's config.json.

        `pulled` is called when an image has come.
        """
        self._images = images
        self._events = events
        self._clock = clock
        self._pulls = pulls
        self._objects = objects
        self._usage = usage
        self._credentials_file = credentials_file
        self._pulled = pulled
        self._failures: dict[tuple[str, str], tuple[Backoff, float, str]] = {}
        self._used: dict[str, set[str]] = {}

    async def ensure(self, pod: Object, container: Container) -> Image:
        """The image of a container, ready to run. Raises StartFailure, which says when to ask again."""
        policy = container.get("imagePullPolicy") or "IfNotPresent"
        return await self.get(pod, container["image"], policy, container=container["name"])

    async def get(self, pod: Object, reference: str, policy: str, *, container: str = "") -> Image:
        """An image for a pod (for its volume, if for no container). Raises StartFailure."""
        try:
            image = self._images.find(reference)
            if image is not None and await self._may_run(pod, image, reference, policy) and self._use(pod, image):
                words = "already present on machine and can be accessed by the pod"
                self._events.normal(pod, "Pulled", f'Container image "{reference}" {words}', container=container)
                self._failures.pop((pod["metadata"]["uid"], reference), None)
                return image
            if policy == "Never":
                message = f'Container image "{reference}" is not present with pull policy of Never'
                raise ImageError("ErrImageNeverPull", message)
            self._hold_back(pod, container, reference)
            return await self._pull(pod, container, reference)
        except ImageError as error:
            raise self._failed(pod, container, reference, error) from error

    def forget(self, pod_uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._failures if key[0] == pod_uid]:
            del self._failures[key]
        for image_id in self._used.pop(pod_uid, ()):
            self._images.note_used(image_id)
        try:
            self._usage.release(pod_uid)
        except OSError as error:
            # The disk is full: the images stay marked until it is looked through, and nothing else is lost.
            logger.warning(kv("images of a pod not released", pod_uid=pod_uid, error=str(error)))

    def _use(self, pod: Object, image: Image) -> bool:
        """Say that the pod uses the image; False if it was removed just before."""
        uid = pod["metadata"]["uid"]
        if image.id in self._used.get(uid, ()) or image.is_node:
            return True
        try:
            self._usage.use(uid, image.id)
        except OSError as error:
            raise ImageError("ImageInspectError", f"image {image.id} can't be marked as used: {error}") from error
        self._used.setdefault(uid, set()).add(image.id)
        self._images.note_used(image.id)
        # In this order: see usage.py for what would remove it meanwhile.
        return self._images.find(image.id) is not None

    async def _may_run(self, pod: Object, image: Image, reference: str, policy: str) -> bool:
        """Whether no registry needs to be asked: the image is everybody's, or the pod has a secret that fits it."""
        if policy == "Always" and not _is_own(reference):
            return False
        if not image.pulled:
            return True
        known = image.pulled.get(parse(reference).name)
        if known is None:
            return False
        if known.get("node"):
            return True
        secrets = known.get("secrets", [])
        origins = {tuple(secret[:3]) for secret in secrets}
        hashes = {secret[3] for secret in secrets}
        keys = await self._secret_keys(pod, reference)
        return any(key.hash in hashes or key.secret in origins for key in keys)

    def _hold_back(self, pod: Object, name: str, reference: str) -> None:
        known = self._failures.get((pod["metadata"]["uid"], reference))
        if known is None:
            return
        delay, failed_at, cause = known
        due = failed_at + delay.seconds
        if due <= self._clock.monotonic():
            return
        message = f'Back-off pulling image "{reference}"'
        self._events.normal(pod, "BackOff", message, container=name)
        self._events.warning(pod, "Failed", "Error: ImagePullBackOff", container=name)
        raise StartFailure("ImagePullBackOff", f"{message}: ErrImagePull: {cause}", retry_at=due)

    async def _pull(self, pod: Object, name: str, reference: str) -> Image:
        self._events.normal(pod, "Pulling", f'Pulling image "{reference}"', container=name)
        began = self._clock.monotonic()
        full = parse(reference)
        if full.registry == OWN_REGISTRY:
            words = "it is not in this node's store; import it with `kctl image import FILE` or build it there"
            raise ImageError("ErrImagePull", f'failed to pull and unpack image "{full}": {words}')
        keys = [*await self._secret_keys(pod, reference), *keyring.lookup(self._node_keys(), full)]
        result = await self._pulls.pull(str(full), keys)
        self._pulled()
        image = self._images.find(reference)
        if image is None or image.id != result.image_id or not self._use(pod, image):
            raise ImageError("ErrImagePull", f'image "{full}" was removed right after it had been pulled')
        total = shown_duration(self._clock.monotonic() - began)
        message = f'Successfully pulled image "{reference}" in {shown_duration(result.seconds)}'
        message += f" ({total} including waiting). Image size: {image.size_bytes} bytes."
        self._events.normal(pod, "Pulled", message, container=name)
        self._failures.pop((pod["metadata"]["uid"], reference), None)
        return image

    async def _secret_keys(self, pod: Object, reference: str) -> list[Key]:
        """What the pod's imagePullSecrets hold for an image. One that does not exist is told and passed over."""
        keys: list[Key] = []
        missing = []
        for entry in pod["spec"].get("imagePullSecrets") or ():
            name = entry.get("name") or ""
            try:
                secret = await self._objects.secret(pod["metadata"]["namespace"], name)
                if secret is None:
                    missing.append(name)
                else:
                    keys += keyring.of_secret(secret)
            except (ApiError, KeyringError) as error:
                raise ImageError("ErrImagePull", f'image pull secret "{name}" can\'t be used: {error}') from error
        if missing:
            message = f"Unable to retrieve some image pull secrets ({', '.join(missing)}); "
            message += "attempting to pull the image may not succeed."
            self._events.warning(pod, "FailedToRetrieveImagePullSecret", message)
        return keyring.lookup(keys, parse(reference))

    def _node_keys(self) -> list[Key]:
        path = self._credentials_file
        try:
            return keyring.of_config(path.read_bytes()) if path is not None else []
        except FileNotFoundError:
            return []
        except (OSError, KeyringError) as error:
            # As in Kubernetes the pods that need none of it run on.
            logger.warning(kv("credentials for registries not read", path=path, error=str(error)))
            return []

    def _failed(self, pod: Object, name: str, reference: str, error: ImageError) -> StartFailure:
        now = self._clock.monotonic()
        retry_at = now + RETRY_SECONDS
        if error.reason == "ErrImagePull":
            key = (pod["metadata"]["uid"], reference)
            known = self._failures.get(key)
            self._failures[key] = (after_try(known[0] if known else None, now, now), now, error.message)
            retry_at = now + SHOWN_SECONDS
            message = f'Failed to pull image "{reference}": {error.message}'
            self._events.warning(pod, "Failed", message, container=name)
        else:
            self._events.warning(pod, _EVENTS.get(error.reason, "Failed"), error.message, container=name)
        self._events.warning(pod, "Failed", f"Error: {error.reason}", container=name)
        return StartFailure(error.reason, error.message, retry_at=retry_at)


def _is_own(reference: str) -> bool:
    """Whether there is no registry that could be asked: the node itself, an id, or a name of this node's own."""
    return reference.startswith("sha256:") or parse(reference).registry == OWN_REGISTRY


def shown_duration(seconds: float) -> str:
    """How long something took, as Go prints it: `640ms`, `2.35s`, `1m20s`."""
    if seconds < 1:
        return f"{int(seconds * 1000)}ms"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s" if seconds < 60 else shown(seconds)
