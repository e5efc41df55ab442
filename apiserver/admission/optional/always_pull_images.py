"""AlwaysPullImages: images are pulled for every pod anew, so that only those get private ones who may pull them.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#alwayspullimages
"""

from __future__ import annotations

from collections.abc import Iterator

from apimachinery.field import not_supported
from apimachinery.meta import Object, get_path
from apimachinery.resources import PODS
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused
from apiserver.admission.served import Served
from apiserver.authorization import Authorizer

ALWAYS = "Always"


def plugin(authorizer: Authorizer, served: Served) -> Plugin:
    """The plugin."""
    return Plugin("AlwaysPullImages", (CREATE, UPDATE), mutate=_set, validate=_check, resources=(PODS.key,))


async def _set(attributes: Attributes, cluster: Cluster) -> None:
    if _is_concerned(attributes):
        for _, field, holder in _policies(attributes.obj):
            holder[field] = ALWAYS


async def _check(attributes: Attributes, cluster: Cluster) -> None:
    for path, field, holder in _policies(attributes.obj) if _is_concerned(attributes) else ():
        if holder.get(field) != ALWAYS:
            raise refused(attributes, not_supported(f"{path}.{field}", holder.get(field), [ALWAYS]).message())


def _is_concerned(attributes: Attributes) -> bool:
    """What runs already may be changed otherwise."""
    old = attributes.old
    return old is None or bool(set(_images(attributes.obj)) - set(_images(old)))


def _images(pod: Object | None) -> Iterator[str | None]:
    return (holder.get("image") for _, field, holder in _policies(pod) if field == "imagePullPolicy")


def _policies(pod: Object | None) -> Iterator[tuple[str, str, Object]]:
    """(path, field, holder) of everything that says when an image is pulled."""
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for number, container in enumerate(get_path(pod, "spec", key, default=())):
            yield f"spec.{key}[{number}]", "imagePullPolicy", container
    for number, volume in enumerate(get_path(pod, "spec", "volumes", default=())):
        if volume.get("image") is not None:
            yield f"spec.volumes[{number}].image", "pullPolicy", volume["image"]
