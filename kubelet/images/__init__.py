"""The node's images: a content-addressed store that is filled from registries, archives and Dockerfiles, and the node
itself as an image.

What is imported here is what the node agent needs all the time: the store as it is. Whatever talks to registries or
unpacks layers runs in processes of its own (`python -m kubelet.images`).
"""

from kubelet.images.store import Image, ImageError, ImageStore

__all__ = ["Image", "ImageError", "ImageStore"]
