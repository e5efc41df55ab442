"""How static pods and their mirrors are told from other pods: by annotations. Pure."""

from __future__ import annotations

from apimachinery import meta
from apimachinery.meta import Object

SOURCE, HASH = "kubernetes.io/config.source", "kubernetes.io/config.hash"
SEEN, MIRROR = "kubernetes.io/config.seen", "kubernetes.io/config.mirror"
FILE = "file"


def is_static(pod: Object) -> bool:
    """True for a pod that this node has from a file; its mirror has the same source, but is one."""
    known = meta.annotations(pod)
    return known.get(SOURCE) == FILE and MIRROR not in known


def is_mirror(pod: Object) -> bool:
    """True for an object of the API that only shows a static pod."""
    return MIRROR in meta.annotations(pod)


def mirrors(mirror: Object, pod: Object) -> bool:
    """Whether a mirror shows this very version of a static pod."""
    return meta.annotations(mirror)[MIRROR] == meta.annotations(pod)[HASH]
