"""Gets a container its image, as its pull policy says, and holds back what failed before.

Source: https://kubernetes.io/docs/concepts/containers/images/#imagepullbackoff
"""

from __future__ import annotations

from apiclient.clock import Clock
from apimachinery.meta import Object
from kubelet.backoff import Backoff, after_try, shown
from kubelet.failures import StartFailure
from kubelet.images import Image, ImageError, ImageStore
from kubelet.pod_events import PodEvents
from kubelet.pod_spec import Container

# How long a failed pull shows as ErrImagePull before it shows as ImagePullBackOff.
SHOWN_SECONDS = 5.0
RETRY_SECONDS = 10.0

_EVENTS = {"ErrImageNeverPull": "ErrImageNeverPull", "InvalidImageName": "InspectFailed"}


class ImagePuller:
    """Images for the containers of all pods; remembers the failures of each pod's images."""

    def __init__(self, images: ImageStore, events: PodEvents, clock: Clock) -> None:
        self._images = images
        self._events = events
        self._clock = clock
        self._failures: dict[tuple[str, str], tuple[Backoff, float, str]] = {}

    async def ensure(self, pod: Object, container: Container) -> Image:
        """The image, ready to run. Raises StartFailure, which says when to ask again."""
        name, reference = container["name"], container["image"]
        key = (pod["metadata"]["uid"], reference)
        try:
            image = self._images.find(reference)
            if image is not None:
                message = f'Container image "{reference}" already present on machine and can be accessed by the pod'
                self._events.normal(pod, "Pulled", message, container=name)
                self._failures.pop(key, None)
                return image
            self._hold_back(pod, name, reference)
            return await self._pull(pod, container)
        except ImageError as error:
            raise self._failed(pod, container, error) from error

    def forget(self, pod_uid: str) -> None:
        """The pod is gone."""
        for key in [key for key in self._failures if key[0] == pod_uid]:
            del self._failures[key]

    def _hold_back(self, pod: Object, name: str, reference: str) -> None:
        known = self._failures.get((pod["metadata"]["uid"], reference))
        if known is None:
            return
        delay, failed_at, cause = known
        due = failed_at + delay.seconds
        if due <= self._clock.now():
            return
        message = f'Back-off pulling image "{reference}"'
        self._events.normal(pod, "BackOff", message, container=name)
        self._events.warning(pod, "Failed", "Error: ImagePullBackOff", container=name)
        raise StartFailure("ImagePullBackOff", f"{message}: ErrImagePull: {cause}", retry_at=due)

    async def _pull(self, pod: Object, container: Container) -> Image:
        name, reference = container["name"], container["image"]
        policy = container.get("imagePullPolicy") or "IfNotPresent"
        if policy != "Never":
            self._events.normal(pod, "Pulling", f'Pulling image "{reference}"', container=name)
        began = self._clock.monotonic()
        image = await self._images.ensure(reference, policy)
        took = shown_duration(self._clock.monotonic() - began)
        message = f'Successfully pulled image "{reference}" in {took} ({took} including waiting).'
        self._events.normal(pod, "Pulled", f"{message} Image size: {image.size_bytes} bytes.", container=name)
        self._failures.pop((pod["metadata"]["uid"], reference), None)
        return image

    def _failed(self, pod: Object, container: Container, error: ImageError) -> StartFailure:
        name, reference, now = container["name"], container["image"], self._clock.now()
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


def shown_duration(seconds: float) -> str:
    """How long something took, as Go prints it: `640ms`, `2.35s`, `1m20s`."""
    if seconds < 1:
        return f"{int(seconds * 1000)}ms"
    return f"{seconds:.3f}".rstrip("0").rstrip(".") + "s" if seconds < 60 else shown(seconds)
